/* Matrix products of bfloat16 with float32 sums, 32 x 32 results at once. What computes such a block, and how operands
   are laid out for it, is one of the headers included here; the rest is the same on every processor.

   Why so: decision 60 in docs/LOG.md. */

#ifndef STEERSMAN_MULTIPLY_H
#define STEERSMAN_MULTIPLY_H

#include "crew.h"
#include "machine.h"
#include "structs.h"
#include "tiles.h"

#define WIDE (2 * SIDE) /* rows and columns of a block of results, and terms of a step */

static inline int64_t blocks_of(int64_t n) { return (n + WIDE - 1) / WIDE; }
static inline int64_t up(int64_t n) { return blocks_of(n) * WIDE; }

/* A block of results that still has to be written, from row `next` on */
typedef struct { const Result *out; const float *block; int64_t row, column, rows, columns, next, at_once; } Waiting;

static inline __attribute__((always_inline)) void write_row(const Waiting *w, int64_t i);

static inline __attribute__((always_inline)) void write_some(Waiting *w, int64_t rows) {
    for (; rows > 0 && w->next < w->rows; rows--) write_row(w, w->next++);
}

/* c [32, 32], rows `stride` apart, = (`add`: what it is plus) the sum of the parts, in the first `rows` at least: a short
   prompt's last block is not computed to its end. Each of the two headers has one:
   void block_product(const Part *parts, int count, int64_t rows, float *c, int64_t stride, int add, Waiting *waiting) */
#ifdef __AVX512BF16__
#include "pairs.h"
#else
#include "plain.h"
#endif

/* `blocks` times 32 rows of an operand from `first` on -> each [ceil(k / 32)][2 tiles], `size` elements apart */
static inline void lay_out(const Side *s, int64_t n, int64_t k, int64_t first, int64_t blocks, int second, Laid *out, int64_t size) {
    if (s->across) {
        for (int64_t from = 0; from < k; from += WIDE, out += 2 * TILE) {
            for (int64_t i = from + WIDE; i < k && i < from + 2 * WIDE; i++) /* no processor foresees short rows far apart */
                for (int64_t b = 0; b < blocks; b++) __builtin_prefetch(s->at + i * s->stride + first + b * WIDE, 0, 2);
            for (int64_t b = 0; b < blocks; b++) lay_out_step(s, n, k, first + b * WIDE, from, second, out + b * size);
        }
        return;
    }
    for (int64_t b = 0; b < blocks; b++, first += WIDE, out += size) {
        const char *next = (const char *)(s->at + (first + WIDE) * s->stride);
        int64_t bytes = b + 1 < blocks && s->stride == k ? WIDE * k * (int64_t)sizeof(bf16) : 0;
        for (int64_t at = 0; at < bytes; at += 64) __builtin_prefetch(next + at, 0, 2);
        for (int64_t from = 0; from < k; from += WIDE) lay_out_step(s, n, k, first, from, second, out + from * WIDE);
    }
}
#endif
