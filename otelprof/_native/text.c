/* text.c -- see text.h. */
#include "text.h"

#include <stdint.h>
#include <string.h>

#define REPLACEMENT 0xFFFDu
#define LAST_CODE_POINT 0x10FFFFu

/* memcpy: the copy in which a string was found is not aligned for its kind. */
static uint32_t
character_at(const unsigned char *text, size_t index, unsigned kind)
{
    uint16_t two;
    uint32_t four;
    switch (kind) {
    case 1:
        return text[index];
    case 2:
        memcpy(&two, text + 2 * index, sizeof two);
        return two;
    default:
        memcpy(&four, text + 4 * index, sizeof four);
        return four;
    }
}

static size_t
encode(uint32_t character, unsigned char bytes[4])
{
    if (character < 0x80) {
        bytes[0] = (unsigned char)character;
        return 1;
    }
    if (character < 0x800) {
        bytes[0] = (unsigned char)(0xC0 | character >> 6);
        bytes[1] = (unsigned char)(0x80 | (character & 0x3F));
        return 2;
    }
    if (character > LAST_CODE_POINT || (character >= 0xD800 && character <= 0xDFFF)) {
        character = REPLACEMENT;
    }
    if (character < 0x10000) {
        bytes[0] = (unsigned char)(0xE0 | character >> 12);
        bytes[1] = (unsigned char)(0x80 | (character >> 6 & 0x3F));
        bytes[2] = (unsigned char)(0x80 | (character & 0x3F));
        return 3;
    }
    bytes[0] = (unsigned char)(0xF0 | character >> 18);
    bytes[1] = (unsigned char)(0x80 | (character >> 12 & 0x3F));
    bytes[2] = (unsigned char)(0x80 | (character >> 6 & 0x3F));
    bytes[3] = (unsigned char)(0x80 | (character & 0x3F));
    return 4;
}

size_t
op_text_to_utf8(const void *text, size_t length_chars, unsigned kind, char *out, size_t capacity,
                bool *is_cut)
{
    const bool is_known = kind == 1 || kind == 2 || kind == 4;
    size_t written = 0;
    size_t index = 0;
    for (; is_known && index < length_chars; index++) {
        unsigned char bytes[4];
        const size_t size = encode(character_at(text, index, kind), bytes);
        if (size > capacity - written) {
            break;
        }
        memcpy(out + written, bytes, size);
        written += size;
    }
    if (is_cut != NULL) {
        *is_cut = index < length_chars;
    }
    return written;
}
