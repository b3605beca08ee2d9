/* fuzz_walk.c -- T18: a thread whose stack is walked while it changes. Input: u8 shape, u8 clock, changes. */
#include "compat.h"

#include "check.h"
#include "foreign.h"
#include "walk.h"

enum { THREAD_AT = 0, CFRAME_AT = 0x800, TOP_AT = 0x1000, BOTTOM_AT = 0x3000, GENERATOR_AT = 0x5000,
       ROOT_AT = 0x5400, CONTEXT_AT = 0x6000, CHUNK_BYTES = 0x1000, VAR = 0x7000000, CODE = 0x7800000,
       THREAD_ID = 77, FRAME_STRIDE = 0x80, ROUNDS = 8 };

/* Where the fields are: each word of a copy is marked in turn, and compat.h asked in which field it shows. */
typedef struct {
    size_t id, context, link, chunk, chunk_top, cframe_top, code, previous, ip, owner;
    size_t running; /* an int that is -1 in a frame that runs; 0: there is none */
} layout;

static struct {
    size_t runs;
    uint64_t ns;
    uint8_t steps; /* in which of eight readings it moves */
} cpu_clock;

/* walk.c is compiled with this name for clock_gettime. */
int
foreign_clock_gettime(clockid_t clock, struct timespec *now)
{
    (void)clock;
    cpu_clock.ns += cpu_clock.steps >> (cpu_clock.runs++ % 8) & 1;
    *now = (struct timespec){.tv_sec = 0, .tv_nsec = (long)cpu_clock.ns};
    return 0;
}

static const layout *
learn(void)
{
    static layout at;
    static _Alignas(16) uint8_t copy[sizeof(PyThreadState) + sizeof(_PyInterpreterFrame)];
    const uintptr_t mark = 0x1234560;
    for (size_t i = 0; i < OP_THREAD_BYTES && at.chunk_top == 0; i += sizeof mark) {
        op_thread_view thread;
        memset(copy, 0, sizeof copy);
        memcpy(copy + i, &mark, sizeof mark);
        op_thread_parse_tick(copy, &thread);
        at.id = thread.id == mark ? i : at.id;
        at.context = thread.context == mark ? i : at.context;
        at.link = thread.link == mark ? i : at.link;
        at.chunk = thread.chunk == mark ? i : at.chunk;
        at.chunk_top = thread.chunk_top == mark ? i : at.chunk_top;
    }
    for (size_t i = 0; i < OP_FRAME_BYTES; i++) {
        op_frame_view frame;
        memset(copy, 0, sizeof copy);
        copy[i] = 0x40;
        op_frame_parse_tick(copy, &frame);
        at.code = frame.code == 0x40 ? i : at.code;
        at.previous = frame.previous == 0x40 ? i : at.previous;
        at.ip = frame.ip == 0x40 ? i : at.ip;
        at.owner = frame.owner == 0x40 ? i : at.owner;
    }
    for (size_t i = 0; i < OP_FRAME_BYTES; i += sizeof(int32_t)) {
        op_frame_view frame;
        memset(copy, 0, sizeof copy);
        memcpy(copy + at.code, &mark, sizeof mark);
        memset(copy + i, i == at.code ? 0x10 : 0xff, sizeof(int32_t));
        op_frame_parse_tick(copy, &frame);
        at.running = frame.may_be_leaf && i > at.code ? i : at.running;
    }
    for (size_t i = 0; i < OP_CFRAME_BYTES; i += sizeof mark) {
        memset(copy, 0, sizeof copy);
        memcpy(copy + i, &mark, sizeof mark);
        at.cframe_top = op_cframe_top_tick(copy) == mark ? i : at.cframe_top;
    }
    return &at;
}

static void
lay_frame(const layout *at, size_t frame, size_t previous, uint8_t owner)
{
    foreign_put(frame + at->code, CODE);
    foreign_put(frame + at->ip, CODE + 2 * frame);
    foreign_put(frame + at->previous, previous == 0 ? 0 : foreign_address(previous));
    foreign_memory[frame + at->owner] = owner;
}

static void
lay_chunk(size_t chunk, size_t previous, size_t used)
{
    _PyStackChunk *header = (_PyStackChunk *)(void *)(foreign_memory + chunk);
    header->previous = previous == 0 ? NULL : (_PyStackChunk *)foreign_address(previous);
    header->size = CHUNK_BYTES;
    header->top = used / sizeof(void *);
}

/* From the root: its frame, some in the first chunk, perhaps a generator's, some in the top chunk. Returns
 * how many frames there are. */
static uint32_t
lay_out(const layout *at, uint8_t shape)
{
    const uint32_t in_bottom = 1 + shape % 4u;
    const uint32_t in_top = 1 + shape / 4u % 4u;
    const bool has_generator = (shape & 0x40) != 0;
    size_t below = ROOT_AT;
    /* 3.11 has no frame of C's at the root, and 3.15 a special one: there, walks do not end well here. */
    lay_frame(at, ROOT_AT, 0, OP_OWNER_SHIM);
    for (uint32_t i = 0; i < in_bottom; i++) {
        const size_t frame = BOTTOM_AT + OP_CHUNK_HEADER_BYTES + (size_t)i * FRAME_STRIDE;
        lay_frame(at, frame, below, 0);
        below = frame;
    }
    if (has_generator) {
        lay_frame(at, GENERATOR_AT, below, OP_OWNER_GENERATOR);
        below = GENERATOR_AT;
    }
    for (uint32_t i = 0; i < in_top; i++) {
        const size_t frame = TOP_AT + OP_CHUNK_HEADER_BYTES + (size_t)i * FRAME_STRIDE;
        lay_frame(at, frame, below, 0);
        below = frame;
    }
    if (at->running != 0) {
        memset(foreign_memory + below + at->running, 0xff, sizeof(int32_t));
    }
    lay_chunk(BOTTOM_AT, 0, (size_t)in_bottom * FRAME_STRIDE);
    lay_chunk(TOP_AT, BOTTOM_AT, 0);
    foreign_put(THREAD_AT + at->id, THREAD_ID);
    foreign_put(THREAD_AT + at->chunk, foreign_address(TOP_AT));
    foreign_put(THREAD_AT + at->chunk_top,
                foreign_address(TOP_AT + OP_CHUNK_HEADER_BYTES + (size_t)in_top * FRAME_STRIDE));
    foreign_put(THREAD_AT + at->link, foreign_address(OP_THREAD_HAS_CFRAME ? (size_t)CFRAME_AT : below));
    foreign_put(CFRAME_AT + at->cframe_top, foreign_address(below));
    foreign_put(THREAD_AT + at->context, (shape & 0x80) != 0 ? foreign_address(CONTEXT_AT) : 0);
    return 1 + in_bottom + in_top + has_generator;
}

static void
check(const op_walk *walk, const op_prediction *prediction)
{
    CHECK(walk->first <= walk->count && walk->count <= OP_FRAMES_MOST);
    CHECK(prediction->chunk_count <= OP_CHUNKS_MOST && prediction->top_count <= prediction->chunk_count);
    CHECK(prediction->heap_count <= OP_HEAP_FRAMES_MOST + OP_RECENT_FRAMES);
    CHECK(prediction->cframe_count <= OP_CFRAMES_MOST);
    CHECK(walk->status != OP_WALK_PROVED || walk->ends_at_root);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static op_walker walker;
    static op_prediction prediction;
    input from = {data, size};
    uint8_t shape;
    const layout *at = learn();
    input_take(&from, &shape, sizeof shape);
    input_take(&from, &cpu_clock.steps, sizeof cpu_clock.steps);
    cpu_clock.ns = 0;
    cpu_clock.runs = 0;
    if (walker.batch == NULL) {
        void *memory = calloc(1, op_walker_memory_bytes());
        CHECK(memory != NULL);
        op_walker_init(&walker, memory);
    }
    walker.reader = *foreign_begin();
    walker.labels = (op_label_env){.var = VAR, .context_type = (uintptr_t)&PyContext_Type, .hamt_type = 1,
                                   .bitmap_type = 2, .array_type = 3, .collision_type = 4, .label_type = 5};
    prediction = (op_prediction){0};
    const uint32_t count = lay_out(at, shape);
    const uintptr_t words[] = {0, 1, 3, VAR, CODE, THREAD_ID, UINTPTR_MAX, (uintptr_t)&PyContext_Type,
                               foreign_address(ROOT_AT), foreign_address(GENERATOR_AT),
                               foreign_address(TOP_AT), foreign_address(BOTTOM_AT)};
    const bool is_whole = foreign_expect(&from, words, sizeof words / sizeof words[0]) == 0;
    op_walk walk = {.status = OP_WALK_GONE};
    for (unsigned round = 0; round < ROUNDS; round++) {
        op_walk_tick(&walker, foreign_address(THREAD_AT), THREAD_ID, 1, cpu_clock.ns, &prediction, &walk);
        check(&walk, &prediction);
    }
    if (is_whole && (shape & 0x80) == 0) {
        CHECK(walk.count == count && walker.frames[0].code == CODE);
        CHECK(!walk.ends_at_root || (walk.status == OP_WALK_PROVED && walk.first == 0));
    }
    return 0;
}
