/* fuzz_text.c -- T18: any bytes as the characters of a string. Input: u8 kind, u16 capacity, the characters. */
#include "check.h"
#include "input.h"
#include "text.h"

/* Decode one character of valid UTF-8 as RFC 3629 has it (no long forms, no surrogates), else fail. */
static size_t
decode(const unsigned char *bytes, size_t size, uint32_t *character)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned first = bytes[0];
    const size_t length = first < 0x80 ? 1 : first < 0xC0 ? 0 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
    CHECK(length > 0 && length <= size && first < 0xF8);
    *character = length == 1 ? first : first & (0x7Fu >> length);
    for (size_t i = 1; i < length; i++) {
        CHECK((bytes[i] & 0xC0) == 0x80);
        *character = *character << 6 | (bytes[i] & 0x3F);
    }
    CHECK(*character >= least[length] && *character <= 0x10FFFF);
    CHECK(*character < 0xD800 || *character > 0xDFFF);
    return length;
}

static uint32_t
expected(const uint8_t *text, size_t index, unsigned kind)
{
    uint32_t character = 0; /* little endian, as all machines that we know */
    memcpy(&character, text + index * kind, kind);
    const int is_surrogate = character >= 0xD800 && character <= 0xDFFF;
    return is_surrogate || character > 0x10FFFF ? 0xFFFD : character;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    input from = {data, size};
    uint8_t kind;
    uint16_t capacity;
    input_take(&from, &kind, sizeof(kind));
    input_take(&from, &capacity, sizeof(capacity));
    kind %= 6;
    const int is_known = kind == 1 || kind == 2 || kind == 4;
    const size_t length = is_known ? from.size / kind : from.size;

    unsigned char *out = malloc(capacity); /* exactly, so that ASan sees a byte too many */
    CHECK(out != NULL || capacity == 0);
    bool is_cut;
    const size_t written = op_text_to_utf8(from.bytes, length, kind, (char *)out, capacity, &is_cut);
    CHECK(written <= capacity);
    CHECK(is_known || written == 0);

    size_t count = 0;
    for (size_t at = 0; at < written; count++) {
        uint32_t character;
        at += decode(out + at, written - at, &character);
        CHECK(count < length && character == expected(from.bytes, count, kind));
    }
    CHECK(is_cut == (count < length));
    CHECK(!is_known || !is_cut || capacity - written < 4);
    free(out);
    return 0;
}
