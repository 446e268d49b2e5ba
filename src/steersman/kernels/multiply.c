/* Products of matrices as training and prefill need them: many rows, weights as transformers keep them.

   Each thread lays out as much of the second operand as stays in its second cache, and goes through rows of the first,
   as they lie or some laid out at a time. PyTorch's own bfloat16 products reach a fifth to a third of what the matrix
   units can do at such sizes. */

#include "multiply.h"

#ifdef __AMX_BF16__
#define NEAR (5 << 18) /* bytes of the second operand that shall stay in the second cache */
#elif defined(__AVX512BF16__)
#define NEAR (1 << 19)
#else
#define NEAR (1 << 21) /* of float32: better from the third cache than to lay out the first operand more often */
#endif
#define FEW 16    /* blocks of rows in a task, at least, for which a part of the second operand is laid out */
#define AT_ONCE 4 /* blocks of the first that are laid out together */

static inline int64_t smaller(int64_t x, int64_t y) { return x < y ? x : y; }
static inline int64_t at_least_1(int64_t x) { return x < 1 ? 1 : x; }

/* How the results are dealt: tasks are `groups` of panels, 32 columns each, times `parts` of blocks, 32 rows each */
typedef struct { int64_t rows, panels, steps, panel_size, group, groups, part, parts; int lie; } Deal;

static Deal deal(const Term *terms, int count, int64_t m, int64_t n, int threads) {
    Deal d = {.rows = blocks_of(m), .panels = blocks_of(n), .lie = LIES && m % WIDE == 0};
    for (int t = 0; t < count; t++) {
        d.steps += blocks_of(terms[t].k);
        d.lie = d.lie && !terms[t].a.across && terms[t].k % WIDE == 0;
    }
    d.panel_size = d.steps * 2 * TILE; /* elements of 32 rows, laid out */
    int64_t near = at_least_1(NEAR / (d.panel_size * (int64_t)sizeof(Laid)));
    int64_t shares = threads; /* of columns */
    d.parts = 1;
    if (!d.lie && d.rows > d.panels) d.parts = threads, shares = 1; /* what is laid out more than once shall be the smaller */
    int64_t turns = (d.panels + shares * near - 1) / (shares * near); /* each thread's, all equal */
    d.group = (d.panels + shares * turns - 1) / (shares * turns), d.groups = (d.panels + d.group - 1) / d.group;
    if (d.groups < threads) d.parts = smaller(d.rows, (threads + d.groups - 1) / d.groups);
    while (d.groups * d.parts < FINE * threads && d.rows / (2 * d.parts) >= FEW) d.parts *= 2;
    d.part = (d.rows + d.parts - 1) / d.parts;
    return d;
}

/* Each term's operand from `first` on, one after another */
static void lay_out_terms(const Term *terms, int count, int64_t n, int64_t first, int64_t blocks, int second, Laid *to, int64_t size) {
    for (int t = 0; t < count; to += blocks_of(terms[t++].k) * 2 * TILE)
        lay_out(second ? &terms[t].b : &terms[t].a, n, terms[t].k, first, blocks, second, to, size);
}

/* Each term's 32 rows from `row` on, times a panel of the second operand; `laid`: the rows, where they do not lie */
static inline void parts_of(const Term *terms, int count, int64_t row, const Laid *laid, const Laid *b, Part *parts) {
    for (int t = 0; t < count; t++) {
        const Side *s = &terms[t].a;
        int64_t size = blocks_of(terms[t].k) * 2 * TILE;
        First a = laid ? first_laid_out(laid, s->across) : first_as_it_lies(s->at + row * s->stride, s->stride, terms[t].k, NULL);
        parts[t] = (Part){a, b, terms[t].k};
        laid = laid ? laid + size : NULL, b += size;
    }
}

typedef struct { Deal d; const Term *terms; const Result *out; int64_t m, n, failed; int count; Tasks tasks; } Product;

static void multiply_some(void *job, int who) {
    Product *p = job;
    const Deal d = p->d;
    const Term *terms = p->terms;
    int count = p->count;
    int64_t at_once = (WIDE + d.steps - 1) / d.steps; /* rows written in every step, to be done in time */
    Laid *second = room(1, d.group * d.panel_size * sizeof(Laid));
    Laid *first = d.lie ? NULL : room(0, AT_ONCE * d.panel_size * sizeof(Laid));
    if (no_room(d.lie || first ? second : NULL, who, &p->failed)) return;
    float blocks[2 * WIDE * WIDE] __attribute__((aligned(64)));
    Part parts[count];
    Waiting waiting = {0};
    int turn = 0;
    TileConfig before;
    take_tiles(&before);
    TAKE(&p->tasks, task) {
        int64_t left = task / d.parts * d.group, right = smaller(left + d.group, d.panels);
        int64_t top = task % d.parts * d.part, bottom = smaller(top + d.part, d.rows);
        lay_out_terms(terms, count, p->n, left * WIDE, right - left, 1, second, d.panel_size);
        for (int64_t row = top; row < bottom; row++) {
            int64_t slot = (row - top) % AT_ONCE;
            if (first && slot == 0)
                lay_out_terms(terms, count, p->m, row * WIDE, smaller(AT_ONCE, bottom - row), 0, first, d.panel_size);
            for (int64_t panel = left; panel < right; panel++) {
                float *c = blocks + turn * WIDE * WIDE;
                Waiting block = {p->out, c, row * WIDE, panel * WIDE, .at_once = at_once};
                block.rows = smaller(WIDE, p->m - block.row), block.columns = smaller(WIDE, p->n - block.column);
                const Laid *laid = first ? first + slot * d.panel_size : NULL;
                parts_of(terms, count, block.row, laid, second + (panel - left) * d.panel_size, parts);
                block_product(parts, count, block.rows, c, WIDE, 0, &waiting);
                waiting = block, turn = !turn;
            }
        }
    }
    write_some(&waiting, WIDE);
    give_tiles_back(&before);
}

/* out [m, n] = the sum of the terms' products */
static int64_t multiply(const Term *terms, int count, int64_t m, int64_t n, const Result *out, int64_t threads) {
    Product p = {deal(terms, count, m, n, (int)threads), terms, out, m, n, DONE, count, {.each = 1}};
    p.tasks.total = p.d.groups * p.d.parts;
    together(threads, multiply_some, &p);
    return p.failed;
}

/* out [m, n] = a b^T (+ add) (+ bias): a [m, k], b [n, k] or, where `across`, [k, m], [k, n] */
int64_t steersman_multiply(const Term *terms, int64_t count, int64_t m, int64_t n, const Result *out, int64_t threads) {
    if (!has_products()) return NO_TILES;
    if (count < 1 || m < 1 || n < 1 || threads < 1 || !out->wide == !out->narrow) return BAD_SIZE;
    for (int64_t t = 0; t < count; t++)
        if (terms[t].k < 1) return BAD_SIZE;
    return multiply(terms, (int)count, m, n, out, threads);
}
