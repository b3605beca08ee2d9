/* random_inputs.c -- stands in for libFuzzer where clang is missing: seeds, damaged at random, no coverage.
 *
 * Takes libFuzzer's command line as far as the Makefile uses it: -max_total_time=, -seed=, -artifact_prefix=,
 * folders of seeds; a file is run once, to see a finding again.
 */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <dirent.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MAX_SIZE 4096u
#define MAX_SEEDS 4096u
#define HANGS_AFTER_S 10u
#define INPUTS_BETWEEN_CLOCKS 256u

typedef struct {
    uint8_t *bytes;
    size_t size;
} seed;

extern int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
extern void __sanitizer_set_death_callback(void (*callback)(void));

static seed seeds[MAX_SEEDS];
static size_t seed_count;
static uint64_t state;
static uint8_t current[MAX_SIZE];
static size_t current_size;
static const char *prefix = "./";

/* xorshift64* (Vigna, 2016). */
static uint64_t
chance(uint64_t below)
{
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (state * UINT64_C(0x2545F4914F6CDD1D) >> 16) % below;
}

/* On the way out of a sanitizer's report, an abort or a hang. */
static void
save_current(void)
{
    char path[4096];
    snprintf(path, sizeof(path), "%scrash-%ld", prefix, (long)getpid());
    FILE *file = fopen(path, "wb");
    if (file != NULL) {
        fwrite(current, 1, current_size, file);
        fclose(file);
        fprintf(stderr, "wrote %s\n", path);
    }
}

static void
read_seed(const char *path)
{
    uint8_t bytes[MAX_SIZE];
    FILE *file = fopen(path, "rb");
    if (file == NULL || seed_count == MAX_SEEDS) {
        return;
    }
    const size_t size = fread(bytes, 1, sizeof(bytes), file);
    fclose(file);
    seeds[seed_count].bytes = malloc(size + 1);
    CHECK(seeds[seed_count].bytes != NULL);
    memcpy(seeds[seed_count].bytes, bytes, size);
    seeds[seed_count++].size = size;
}

static void
read_seeds(const char *folder)
{
    DIR *entries = opendir(folder);
    CHECK(entries != NULL);
    for (struct dirent *entry; (entry = readdir(entries)) != NULL;) {
        char path[4096];
        if (entry->d_name[0] != '.') {
            snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
            read_seed(path);
        }
    }
    closedir(entries);
}

static void
damage(void)
{
    const size_t at = current_size == 0 ? 0 : chance(current_size);
    const size_t rest = current_size - at;
    switch (chance(6)) {
    case 0: /* one byte more */
        if (current_size < MAX_SIZE) {
            memmove(current + at + 1, current + at, rest);
            current[at] = (uint8_t)chance(256);
            current_size++;
        }
        break;
    case 1: /* one less */
        if (rest > 0) {
            memmove(current + at, current + at + 1, rest - 1);
            current_size--;
        }
        break;
    case 2: /* cut */
        current_size = at;
        break;
    case 3: /* a bit */
        current[at] ^= (uint8_t)(1u << chance(8));
        break;
    case 4: /* an end of the range */
        current[at] = chance(2) == 0 ? 0 : 0xff;
        break;
    default:
        current[at] = (uint8_t)chance(256);
    }
}

static void
use_seed(const seed *from)
{
    memcpy(current, from->bytes, from->size);
    current_size = from->size;
}

static void
next_input(void)
{
    current_size = 0;
    if (seed_count > 0 && chance(8) > 0) {
        use_seed(&seeds[chance(seed_count)]);
    }
    else {
        current_size = chance(chance(2) == 0 ? 32 : MAX_SIZE);
        for (size_t i = 0; i < current_size; i++) {
            current[i] = (uint8_t)chance(256);
        }
    }
    for (uint64_t count = chance(8); count > 0; count--) {
        damage();
    }
}

/* On the heap and of its own size, so that ASan sees a byte too many. */
static void
run_current(void)
{
    uint8_t *exact = malloc(current_size);
    CHECK(exact != NULL || current_size == 0);
    memcpy(exact, current, current_size);
    LLVMFuzzerTestOneInput(exact, current_size);
    free(exact);
}

static int
run_for(time_t seconds)
{
    uint64_t count = 0;
    const time_t end = time(NULL) + seconds;
    for (size_t i = 0; i < seed_count; i++) {
        use_seed(&seeds[i]);
        run_current();
    }
    while (count % INPUTS_BETWEEN_CLOCKS != 0 || time(NULL) < end) {
        if (count++ % INPUTS_BETWEEN_CLOCKS == 0) {
            alarm(HANGS_AFTER_S);
        }
        next_input();
        run_current();
    }
    printf("stat::number_of_executed_units: %llu\n", (unsigned long long)count);
    return 0;
}

static void
on_signal(int number)
{
    save_current();
    fprintf(stderr, "signal %d\n", number);
    _exit(1);
}

int
main(int argc, char **argv)
{
    time_t seconds = 60;
    state = (uint64_t)time(NULL) << 20 ^ (uint64_t)getpid();
    for (int i = 1; i < argc; i++) {
        struct stat about;
        if (strncmp(argv[i], "-max_total_time=", 16) == 0) {
            seconds = atol(argv[i] + 16);
        }
        else if (strncmp(argv[i], "-seed=", 6) == 0) {
            state = strtoull(argv[i] + 6, NULL, 10) | 1;
        }
        else if (strncmp(argv[i], "-artifact_prefix=", 17) == 0) {
            prefix = argv[i] + 17;
        }
        else if (stat(argv[i], &about) == 0 && S_ISDIR(about.st_mode)) {
            read_seeds(argv[i]);
        }
        else if (argv[i][0] != '-') {
            read_seed(argv[i]);
            CHECK(seed_count == 1);
            use_seed(&seeds[0]);
            run_current();
            return 0;
        }
    }
    printf("seed %llu, %zu files\n", (unsigned long long)state, seed_count);
    fflush(stdout);
    __sanitizer_set_death_callback(save_current);
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGABRT, &action, NULL);
    sigaction(SIGALRM, &action, NULL);
    return run_for(seconds);
}
