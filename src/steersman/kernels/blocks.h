/* What attention over rows (rows.c) and over a cache (cached.c) share: operands of a head, blocks of 32 x 32. */

#ifndef STEERSMAN_BLOCKS_H
#define STEERSMAN_BLOCKS_H

#include "multiply.h"

static inline void *cut(char **from, int64_t bytes) {
    char *at = *from;
    *from += (bytes + 63) / 64 * 64;
    return at;
}

/* 32 rows of a times b laid out -> c [32, 32] */
static inline __attribute__((always_inline)) void product(First a, const Laid *b, int64_t k, float *c, int64_t stride) {
    Waiting none = {0};
    Part part = {a, b, k};
    block_product(&part, 1, WIDE, c, stride, 0, &none);
}

static inline void lay_out_all(const Side *s, int64_t n, int64_t k, int second, Laid *to) {
    lay_out(s, n, k, 0, up(n) / WIDE, second, to, up(k) * WIDE);
}

/* `rows` rows of c [32, 32], each times its factor, rounded to 32 or 16 columns of `to` */
static inline void write_block(const float *c, const float *factors, int64_t rows, int64_t columns, bf16 *to, int64_t stride) {
    for (int64_t i = 0; i < rows; i++) {
        float factor = factors ? factors[i] : 1.0f;
        for (int64_t j = 0; j < (columns > SIDE ? WIDE : SIDE); j += LANES)
            store_narrow(to + i * stride + j, load(c + i * WIDE + j) * factor);
    }
}

#endif
