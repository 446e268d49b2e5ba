/* What packed.h is for processors that do not multiply bfloat16: inputs and weight rows are widened to float32 and
   multiplied by plain.h. Inputs are panels of 32 sequences, [k][32 sequences]. A row's products are added up from left
   to right, so a sum does not depend on how many sequences there are. Why so: decision 113 in docs/LOG.md. */

#ifndef STEERSMAN_PANELS_H
#define STEERSMAN_PANELS_H

#include "multiply.h"
#include "products.h"

typedef float Packed; /* what inputs are packed as */

static inline int64_t groups_of(int64_t n) { return (n + SIDE - 1) / SIDE; }

/* Sequences SIDE * group.. of x [n, k] -> half a panel; sequences beyond n are zeros */
static void pack(const bf16 *x, int64_t k, int n, int group, Packed *packed) {
    Packed *to = packed + group / 2 * k * WIDE + group % 2 * SIDE;
    const bf16 *from = x + group * SIDE * k;
    int there = n - group * SIDE < SIDE ? n - group * SIDE : SIDE, i = 0;
    for (; i + 4 <= there; i += 4)
        for (int64_t j = 0; j < k; j += 4) turn(from + i * k + j, k, to + j * WIDE + i);
    for (; i < SIDE; i++)
        for (int64_t j = 0; j < k; j++) to[j * WIDE + i] = i < there ? wide(from[i * k + j]) : 0.0f;
}

/* Rows r.. of a product, rows[o * MOST + i] -> the input of the next one of k terms, packed as `pack` does */
static void pack_rows(const float *rows, int64_t r, int64_t k, int n, Packed *packed) {
    for (int64_t i = 0; i < n; i += LANES)
        for (int64_t o = 0; o < BLOCK; o++) {
            words bits = (words)load(rows + o * MOST + i); /* as `narrow` */
            bits = (bits + 0x7fff + ((bits >> 16) & 1)) & 0xffff0000;
            store(packed + i / WIDE * k * WIDE + (r + o) * WIDE + i % WIDE, (floats)bits);
        }
}

/* Up to 32 weight rows of k terms, bfloat16 or int8, as a first operand: [k / 32][32 rows][32 terms] */
static inline void widen_rows(const bf16 *w, int64_t k, int rows, float *to) {
    for (int64_t j = 0; j < k; j += WIDE)
        for (int64_t r = 0; r < rows; r++) widen_step(w + r * k + j, to + j * WIDE + r * WIDE);
}
static inline void widen_int8_rows(const int8_t *w, int64_t k, int rows, float *to) {
    for (int64_t j = 0; j < k; j += WIDE)
        for (int64_t r = 0; r < rows; r++) widen_int8_step(w + r * k + j, to + j * WIDE + r * WIDE);
}

/* acc[r * MOST + i] for `rows` weight rows that were widened */
static inline void block_of_panels(const float *w, const Packed *packed, int64_t k, int rows, int n, Soon soon, float *acc) {
    for (int64_t i = 0; i < n; i += WIDE, packed += k * WIDE, soon.rows = 0)
        add_products(w, 0, packed, k, rows, n - i < WIDE ? n - i : WIDE, acc + i, MOST, 0, soon);
}
#endif
