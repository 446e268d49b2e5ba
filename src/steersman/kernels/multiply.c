/* Products of matrices as training and prefill need them: many rows, weights as transformers keep them.

   Each thread lays out as much of the second operand as stays in its second cache, and goes through rows of the first,
   as they lie or some laid out at a time. PyTorch's own bfloat16 products reach a fifth to a third of what the matrix
   units can do at such sizes. */

#include "multiply.h"

#ifdef __AMX_BF16__
#define NEAR (5 << 18) /* bytes of the second operand that shall stay in the second cache */
#define AT_ONCE 4     /* blocks of the first that are laid out together */

static inline int64_t smaller(int64_t x, int64_t y) { return x < y ? x : y; }
static inline int64_t at_least_1(int64_t x) { return x < 1 ? 1 : x; }

/* out [m, n] = the sum of the terms' products */
static int64_t multiply(const Term *terms, int count, int64_t m, int64_t n, const Result *out, int threads) {
    int64_t rows = blocks_of(m), panels = blocks_of(n), steps = 0;
    int lie = m % WIDE == 0; /* whether the first operands' tiles can be read as they lie */
    for (int t = 0; t < count; t++) {
        steps += blocks_of(terms[t].k);
        lie = lie && !terms[t].a.across && terms[t].k % WIDE == 0;
    }
    int64_t at_once = (WIDE + steps - 1) / steps; /* rows written in every step, to be done in time */
    int64_t panel_size = steps * 2 * TILE; /* elements of 32 rows, laid out */
    int64_t near = at_least_1(NEAR / (panel_size * (int64_t)sizeof(bf16)));
    int64_t parts = 1, shares = threads; /* of rows, and of columns */
    if (!lie && rows > panels) parts = threads, shares = 1; /* what is laid out more than once shall be the smaller */
    int64_t turns = (panels + shares * near - 1) / (shares * near); /* each thread's, all equal */
    int64_t group = (panels + shares * turns - 1) / (shares * turns), groups = (panels + group - 1) / group;
    if (groups < threads) parts = smaller(rows, (threads + groups - 1) / groups);
    int64_t part = (rows + parts - 1) / parts, failed = DONE;
#pragma omp parallel num_threads(threads)
    {
        bf16 *second = room(1, group * panel_size * sizeof(bf16));
        bf16 *first = lie ? NULL : room(0, AT_ONCE * panel_size * sizeof(bf16));
        float blocks[2 * WIDE * WIDE] __attribute__((aligned(64)));
        Waiting waiting = {0};
        int turn = 0;
        TileConfig before;
        int64_t tasks = all_have(lie || first ? second : NULL, &failed) ? groups * parts : 0;
        take_tiles(&before);
#pragma omp for schedule(dynamic)
        for (int64_t task = 0; task < tasks; task++) {
            int64_t left = task / parts * group, right = smaller(left + group, panels), done = 0;
            int64_t top = task % parts * part, bottom = smaller(top + part, rows);
            for (int t = 0; t < count; done += blocks_of(terms[t++].k) * 2 * TILE)
                lay_out(&terms[t].b, n, terms[t].k, left * WIDE, right - left, 1, second + done, panel_size);
            for (int64_t row = top; row < bottom; row++) {
                const bf16 *laid = first + (row - top) % AT_ONCE * panel_size;
                done = 0;
                if (!lie && (row - top) % AT_ONCE == 0)
                    for (int t = 0; t < count; done += blocks_of(terms[t++].k) * 2 * TILE)
                        lay_out(&terms[t].a, m, terms[t].k, row * WIDE, smaller(AT_ONCE, bottom - row), 0, first + done, panel_size);
                for (int64_t panel = left; panel < right; panel++) {
                    Waiting block = {out, blocks + turn * WIDE * WIDE, row * WIDE, panel * WIDE, .at_once = at_once};
                    block.rows = smaller(WIDE, m - block.row), block.columns = smaller(WIDE, n - block.column);
                    const bf16 *b = second + (panel - left) * panel_size;
                    zero_tiles();
                    if (!lie)
                        multiply_tiles(laid, TILE, WIDE, 2 * TILE, b, steps * WIDE, &waiting);
                    else
                        for (int t = 0; t < count; b += terms[t++].k * WIDE) {
                            const Side *s = &terms[t].a;
                            const bf16 *a = s->at + block.row * s->stride;
                            multiply_tiles(a, SIDE * s->stride, s->stride, WIDE, b, terms[t].k, &waiting);
                        }
                    write_some(&waiting, WIDE);
                    store_tiles(blocks + turn * WIDE * WIDE, WIDE);
                    waiting = block, turn = !turn;
                }
            }
        }
        write_some(&waiting, WIDE);
        give_tiles_back(&before);
    }
    return failed;
}
#endif

/* out [m, n] = a b^T (+ add) (+ bias): a [m, k], b [n, k] or, where `across`, [k, m], [k, n] */
int64_t steersman_multiply(const Term *terms, int64_t count, int64_t m, int64_t n, const Result *out, int64_t threads) {
    if (!has_tiles()) return NO_TILES;
    if (count < 1 || m < 1 || n < 1 || threads < 1 || !out->wide == !out->narrow) return BAD_SIZE;
    for (int64_t t = 0; t < count; t++)
        if (terms[t].k < 1) return BAD_SIZE;
#ifdef __AMX_BF16__
    return multiply(terms, (int)count, m, n, out, (int)threads);
#else
    return NO_TILES;
#endif
}
