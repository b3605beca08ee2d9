/* unit_text.c -- what only C can ask of text.h; the rest is in tests/native/test_text.py. */
#include "check.h"
#include "text.h"

#include <string.h>

static void
nothing_becomes_nothing(void)
{
    bool is_cut = true;
    CHECK(op_text_to_utf8(NULL, 0, 1, NULL, 0, &is_cut) == 0 && !is_cut);
    CHECK(op_text_to_utf8(NULL, 0, 4, NULL, 0, NULL) == 0);
}

static void
who_does_not_ask_whether_it_was_cut_need_not(void)
{
    char out[2];
    CHECK(op_text_to_utf8("abc", 3, 1, out, sizeof(out), NULL) == 2);
    CHECK(memcmp(out, "ab", 2) == 0);
}

static void
no_character_is_read_that_has_no_room(void)
{
    /* The length is a lie after the first two; ASan would see the third being read far behind. */
    char *text = malloc(3);
    char out[2];
    bool is_cut = false;
    CHECK(text != NULL);
    memcpy(text, "abc", 3);
    CHECK(op_text_to_utf8(text, 1000000, 1, out, sizeof(out), &is_cut) == 2 && is_cut);
    free(text);
}

int
main(void)
{
    nothing_becomes_nothing();
    who_does_not_ask_whether_it_was_cut_need_not();
    no_character_is_read_that_has_no_room();
    return 0;
}
