/* Products of a block of weight rows with a few inputs: in matrix tiles, in vector products, or plainly. */

#ifndef STEERSMAN_PRODUCTS_H
#define STEERSMAN_PRODUCTS_H

#include "common.h"

#define MOST 128  /* sequences */
#define BLOCK 16  /* weight rows */

typedef struct { const void *values; const float *scales; int64_t rows, columns; } Matrix;

/* acc[r * MOST + i] = w[r] . x[i] for `rows` weight rows and n inputs; w [rows, k] and x [n, k] */
#ifdef __AVX512BF16__
static inline __attribute__((always_inline)) void tile(
    const bf16 *w, const bf16 *x, int64_t k, int rows, int n, float *acc) {
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
            _mm_prefetch((const char *)(w + r * k + j) + 4096, _MM_HINT_T0);
#pragma GCC unroll 4
            for (int i = 0; i < n; i++) sum[r][i] = _mm512_dpbf16_ps(sum[r][i], weights, in[i]);
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int i = 0; i < n; i++) acc[r * MOST + i] = _mm512_reduce_add_ps(sum[r][i]);
}

static void products(const bf16 *w, const bf16 *x, int64_t k, int rows, int n, float *acc) {
    int r = 0;
    for (; r + 4 <= rows; r += 4) {
        int i = 0;
        for (; i + 4 <= n; i += 4) tile(w + r * k, x + i * k, k, 4, 4, acc + r * MOST + i);
        for (; i + 2 <= n; i += 2) tile(w + r * k, x + i * k, k, 4, 2, acc + r * MOST + i);
        for (; i < n; i++) tile(w + r * k, x + i * k, k, 4, 1, acc + r * MOST + i);
    }
    for (; r < rows; r++)
        for (int i = 0; i < n; i++) tile(w + r * k, x + i * k, k, 1, 1, acc + r * MOST + i);
}
#else
static void products(const bf16 *w, const bf16 *x, int64_t k, int rows, int n, float *acc) {
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < n; i++) {
            float sum = 0;
            for (int64_t j = 0; j < k; j++) sum += wide(w[r * k + j]) * wide(x[i * k + j]);
            acc[r * MOST + i] = sum;
        }
}
#endif

#ifdef __AMX_BF16__
typedef struct { uint8_t palette, start, reserved[14]; uint16_t bytes[16]; uint8_t rows[16]; } TileConfig;

#define COLUMNS 64 /* sequences that one pass over a block of weights serves: four tiles of sums */

static inline int padded(int n) { return (n + 15) / 16 * 16; }

/* packed: x as pairs of columns, [k / 2, padded(n), 2], so that 16 pairs are a row of a tile; padding is zeros */
static void pack(const bf16 *x, int64_t k, int n, bf16 *packed) {
    int64_t half = k / 2, width = padded(n);
    __m512i rows = _mm512_mullo_epi32(_mm512_set1_epi32((int)half), _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0));
    for (int i = 0; i < n; i += 16) {
        __mmask16 mask = n - i >= 16 ? 0xffff : (__mmask16)((1 << (n - i)) - 1);
        const int32_t *pairs = (const int32_t *)x + i * half;
        for (int64_t j = 0; j < half; j++) {
            __m512i column = _mm512_mask_i32gather_epi32(_mm512_setzero_si512(), mask, rows, pairs + j, 4);
            _mm512_storeu_si512((int32_t *)packed + j * width + i, column);
        }
    }
}

static inline __attribute__((always_inline)) void tile_columns(
    const bf16 *w, const bf16 *packed, int64_t k, int64_t width, int tiles, float *acc) {
    _tile_zero(0);
    if (tiles > 1) _tile_zero(1);
    if (tiles > 2) _tile_zero(2);
    if (tiles > 3) _tile_zero(3);
    for (int64_t j = 0; j < k; j += 32) {
        const bf16 *columns = packed + j * width;
        _tile_loadd(4, w + j, 2 * k);
        for (int r = 0; r < BLOCK; r++) _mm_prefetch((const char *)(w + r * k + j) + 32 * k, _MM_HINT_T0);
        _tile_loadd(5, columns, 4 * width);
        _tile_dpbf16ps(0, 4, 5);
        if (tiles > 1) {
            _tile_loadd(6, columns + 32, 4 * width);
            _tile_dpbf16ps(1, 4, 6);
        }
        if (tiles > 2) {
            _tile_loadd(5, columns + 64, 4 * width);
            _tile_dpbf16ps(2, 4, 5);
        }
        if (tiles > 3) {
            _tile_loadd(6, columns + 96, 4 * width);
            _tile_dpbf16ps(3, 4, 6);
        }
    }
    _tile_stored(0, acc, 4 * MOST);
    if (tiles > 1) _tile_stored(1, acc + 16, 4 * MOST);
    if (tiles > 2) _tile_stored(2, acc + 32, 4 * MOST);
    if (tiles > 3) _tile_stored(3, acc + 48, 4 * MOST);
}

static void tile_products(const bf16 *w, const bf16 *packed, int64_t k, int n, float *acc) {
    int64_t width = padded(n);
    for (int i = 0; i < n; i += COLUMNS) {
        int tiles = (padded(n) - i) / 16;
        if (tiles >= 4) tile_columns(w, packed + 2 * i, k, width, 4, acc + i);
        else if (tiles == 3) tile_columns(w, packed + 2 * i, k, width, 3, acc + i);
        else if (tiles == 2) tile_columns(w, packed + 2 * i, k, width, 2, acc + i);
        else tile_columns(w, packed + 2 * i, k, width, 1, acc + i);
    }
}
#endif

/* int8 to bfloat16, which is exact; count is a multiple of 32 */
static void widen(const int8_t *values, int64_t count, bf16 *out) {
#ifdef __AVX512BF16__
    for (int64_t j = 0; j < count; j += 32) {
        __m512 low = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(values + j))));
        __m512 high = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(values + j + 16))));
        _mm_prefetch((const char *)(values + j) + 8192, _MM_HINT_T0);
        _mm512_storeu_si512(out + j, (__m512i)_mm512_cvtne2ps_pbh(high, low));
    }
#else
    for (int64_t j = 0; j < count; j++) out[j] = narrow((float)values[j]);
#endif
}

#endif
