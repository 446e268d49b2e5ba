/* Products of a block of weight rows with a few inputs: in matrix tiles, in vector products, or plainly. */

#ifndef STEERSMAN_PRODUCTS_H
#define STEERSMAN_PRODUCTS_H

#include "structs.h"
#include "tiles.h"

#define MOST 128     /* sequences */
#define BLOCK 32     /* weight rows at once, at most */
#define FEW_ROWS 16  /* where no tiles are used: what int8 is widened to stays in the first cache */

static inline int64_t groups_of(int64_t n) { return (n + SIDE - 1) / SIDE; }

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
/* Sequences SIDE * group.. of x [n, k] -> packed, tiles [k / 32, groups][16 pairs of columns, 16 sequences, 2];
   sequences beyond n are zeros */
static void pack(const bf16 *x, int64_t k, int n, int group, bf16 *packed) {
    int64_t half = k / 2, groups = groups_of(n);
    int first = group * SIDE, left = n - first;
    __m512i rows = _mm512_mullo_epi32(_mm512_set1_epi32((int)half), _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0));
    __mmask16 mask = left >= SIDE ? 0xffff : (__mmask16)((1 << left) - 1);
    const int32_t *pairs = (const int32_t *)x + first * half;
    for (int64_t j = 0; j < half; j++) {
        __m512i column = _mm512_mask_i32gather_epi32(_mm512_setzero_si512(), mask, rows, pairs + j, 4);
        _mm512_storeu_si512(packed + (j / SIDE * groups + group) * TILE + j % SIDE * 2 * SIDE, column);
    }
}

/* Products of 32 weight rows [.., k] with `columns` (1 or 2) tiles of sequences; a tile of weights serves both */
static inline __attribute__((always_inline)) void tile_pair(
    const bf16 *w, const bf16 *packed, int64_t k, int64_t groups, int columns, float *acc, const char *soon, int lines) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int64_t j = 0; j < k; j += 2 * SIDE) {
        const bf16 *in = packed + j / (2 * SIDE) * groups * TILE;
        _tile_loadd(4, w + j, 2 * k);
        _tile_loadd(5, w + SIDE * k + j, 2 * k);
        _tile_loadd(6, in, 64);
        for (int r = 0; r < lines; r++) _mm_prefetch(soon + (r * k + j) * 2, _MM_HINT_T0);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 5, 6);
        if (columns > 1) {
            _tile_loadd(7, in + TILE, 64);
            _tile_dpbf16ps(2, 4, 7);
            _tile_dpbf16ps(3, 5, 7);
        }
    }
    _tile_stored(0, acc, 4 * MOST);
    _tile_stored(1, acc + SIDE * MOST, 4 * MOST);
    if (columns > 1) {
        _tile_stored(2, acc + SIDE, 4 * MOST);
        _tile_stored(3, acc + SIDE * MOST + SIDE, 4 * MOST);
    }
}

static void tile_products(const bf16 *w, const bf16 *packed, int64_t k, int n, float *acc) {
    int64_t groups = groups_of(n), g = 0, pairs = (groups + 1) / 2;
    int lines = (int)((BLOCK + pairs - 1) / pairs);
    const char *soon = (const char *)(w + BLOCK * k);
    int64_t step = (int64_t)lines * k * 2; /* bytes prefetched by one pair */
    for (; g + 2 <= groups; g += 2, soon += step) tile_pair(w, packed + g * TILE, k, groups, 2, acc + g * SIDE, soon, lines);
    if (g < groups) tile_pair(w, packed + g * TILE, k, groups, 1, acc + g * SIDE, soon, lines);
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
