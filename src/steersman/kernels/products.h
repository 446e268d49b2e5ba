/* Products of a block of weight rows with a few inputs, a dot product each; weights of int8 are widened. */

#ifndef STEERSMAN_PRODUCTS_H
#define STEERSMAN_PRODUCTS_H

#include "structs.h"

#define MOST 128     /* sequences */
#define BLOCK 32     /* weight rows at once, at most */
#define FEW_ROWS 16  /* where inputs are not packed: what int8 is widened to stays in the first cache */

/* What is read soon: into the second cache, since what comes into the first in between would drive it out. On AMD's
   processors that reads nearly twice as fast. */
static inline __attribute__((always_inline)) void fetch_soon(const void *at) { __builtin_prefetch(at, 0, 2); }

/* acc[r * MOST + i] = w[r] . x[i] for `rows` weight rows and n inputs; w [rows, k] and x [n, k] */
#ifdef __AVX512BF16__
static inline __attribute__((always_inline)) void tile(
    const bf16 *w, const bf16 *x, int64_t k, int rows, int n, int64_t soon, float *acc) {
    __m512 sum[4][4];
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int i = 0; i < n; i++) sum[r][i] = _mm512_setzero_ps();
    for (int64_t j = 0; j < k; j += 32) {
        __m512bh in[4];
#pragma GCC unroll 4
        for (int i = 0; i < n; i++) in[i] = (__m512bh)_mm512_loadu_si512(x + i * k + j);
#pragma GCC unroll 4
        for (int r = 0; r < rows; r++) {
            __m512bh weights = (__m512bh)_mm512_loadu_si512(w + r * k + j);
            if (soon) fetch_soon(w + r * k + j + soon);
#pragma GCC unroll 4
            for (int i = 0; i < n; i++) sum[r][i] = _mm512_dpbf16_ps(sum[r][i], weights, in[i]);
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int i = 0; i < n; i++) acc[r * MOST + i] = _mm512_reduce_add_ps(sum[r][i]);
}

static void products(const bf16 *w, const bf16 *x, int64_t k, int rows, int n, int64_t soon, float *acc) {
    int r = 0;
    for (; r + 4 <= rows; r += 4) {
        int i = 0;
        for (; i + 4 <= n; i += 4) tile(w + r * k, x + i * k, k, 4, 4, i ? 0 : soon, acc + r * MOST + i);
        for (; i + 2 <= n; i += 2) tile(w + r * k, x + i * k, k, 4, 2, i ? 0 : soon, acc + r * MOST + i);
        for (; i < n; i++) tile(w + r * k, x + i * k, k, 4, 1, i ? 0 : soon, acc + r * MOST + i);
    }
    for (; r < rows; r++)
        for (int i = 0; i < n; i++) tile(w + r * k, x + i * k, k, 1, 1, i ? 0 : soon, acc + r * MOST + i);
}
#else
static void products(const bf16 *w, const bf16 *x, int64_t k, int rows, int n, int64_t soon, float *acc) {
    (void)soon;
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < n; i++) {
            float sum = 0;
            for (int64_t j = 0; j < k; j++) sum += wide(w[r * k + j]) * wide(x[i * k + j]);
            acc[r * MOST + i] = sum;
        }
}
#endif

/* int8 to bfloat16, which is exact; count is a multiple of 32 */
static void widen(const int8_t *values, int64_t count, bf16 *out) {
#ifdef __AVX512BF16__
    for (int64_t j = 0; j < count; j += 32) {
        __m512 low = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(values + j))));
        __m512 high = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(values + j + 16))));
        fetch_soon(values + j + count);
        _mm512_storeu_si512(out + j, (__m512i)_mm512_cvtne2ps_pbh(high, low));
    }
#else
    for (int64_t j = 0; j < count; j++) {
        float exact = values[j];
        uint32_t bits;
        memcpy(&bits, &exact, sizeof bits);
        out[j] = (bf16)(bits >> 16);
    }
#endif
}

#endif
