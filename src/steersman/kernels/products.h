/* Products of a block of weight rows with a few inputs, a dot product each; weights of int8 are widened.

   Why so: decision 102 in docs/LOG.md. */

#ifndef STEERSMAN_PRODUCTS_H
#define STEERSMAN_PRODUCTS_H

#include "structs.h"

#define MOST 128     /* sequences */
#define BLOCK 32     /* weight rows at once, at most */
#define FEW_ROWS 16  /* where inputs are not packed: what int8 is widened to stays in the first cache */

/* What is read soon: into the second cache, since what comes into the first in between would drive it out. On AMD's
   processors that reads nearly twice as fast. */
static inline __attribute__((always_inline)) void fetch_soon(const void *at) { __builtin_prefetch(at, 0, 2); }

/* Numbers side by side, in vectors as long as the machine's: `Sums` in float32, `Terms` two of bfloat16 to each sum */
#if defined(__AVX512F__)
#define ACROSS 16
#elif defined(__AVX__)
#define ACROSS 8
#else
#define ACROSS 4
#endif
#define INPUTS (ACROSS == 16 ? 4 : 2) /* that registers hold beside the sums of four rows */
#ifdef __AVX512BF16__
typedef __m512 Sums;
typedef __m512bh Terms;
static inline __attribute__((always_inline)) Terms terms_at(const bf16 *x) { return (Terms)_mm512_loadu_si512(x); }
static inline __attribute__((always_inline)) Sums add_terms(Sums sum, Terms x, Terms y) { return _mm512_dpbf16_ps(sum, x, y); }
#else
typedef float Sums __attribute__((vector_size(4 * ACROSS)));
typedef uint32_t Words __attribute__((vector_size(4 * ACROSS)));
typedef struct { Sums even, odd; } Terms;
static inline __attribute__((always_inline)) Terms halves_of(Words x) { /* little-endian: the first is below */
    return (Terms){(Sums)(x << 16), (Sums)(x & 0xffff0000)};
}
static inline __attribute__((always_inline)) Terms terms_at(const bf16 *x) {
    Words both;
    memcpy(&both, x, sizeof both);
    return halves_of(both);
}
static inline __attribute__((always_inline)) Sums add_terms(Sums sum, Terms x, Terms y) {
    sum += x.even * y.even;
    return sum + x.odd * y.odd;
}
#endif

static inline __attribute__((always_inline)) float total(Sums sums) {
    float all[ACROSS];
    memcpy(all, &sums, sizeof all);
    for (int half = ACROSS / 2; half; half /= 2)
        for (int l = 0; l < half; l++) all[l] += all[l + half];
    return all[0];
}

/* acc[r * MOST + i] = w[r] . x[i] for `rows` weight rows and n inputs; w [rows, k] and x [n, k] */
static inline __attribute__((always_inline)) void tile(
    const bf16 *w, const bf16 *x, int64_t k, int rows, int n, int64_t soon, float *acc) {
    Sums sum[4][4];
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int i = 0; i < n; i++) sum[r][i] = (Sums){0};
    for (int64_t j = 0; j < k; j += 2 * ACROSS) {
        Terms in[4];
#pragma GCC unroll 4
        for (int i = 0; i < n; i++) in[i] = terms_at(x + i * k + j);
#pragma GCC unroll 4
        for (int r = 0; r < rows; r++) {
            Terms weights = terms_at(w + r * k + j);
            if (soon) fetch_soon(w + r * k + j + soon);
#pragma GCC unroll 4
            for (int i = 0; i < n; i++) sum[r][i] = add_terms(sum[r][i], weights, in[i]);
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int i = 0; i < n; i++) acc[r * MOST + i] = total(sum[r][i]);
}

static void products(const bf16 *w, const bf16 *x, int64_t k, int rows, int n, int64_t soon, float *acc) {
    int r = 0;
    for (; r + 4 <= rows; r += 4) {
        int i = 0;
        for (; i + INPUTS <= n; i += INPUTS) tile(w + r * k, x + i * k, k, 4, INPUTS, i ? 0 : soon, acc + r * MOST + i);
        for (; i + 2 <= n; i += 2) tile(w + r * k, x + i * k, k, 4, 2, i ? 0 : soon, acc + r * MOST + i);
        for (; i < n; i++) tile(w + r * k, x + i * k, k, 4, 1, i ? 0 : soon, acc + r * MOST + i);
    }
    for (; r < rows; r++)
        for (int i = 0; i < n; i++) tile(w + r * k, x + i * k, k, 1, 1, i ? 0 : soon, acc + r * MOST + i);
}

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
