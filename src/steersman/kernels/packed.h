/* Products of a block of weight rows with packed inputs, 16 sequences side by side, for processors that multiply pairs
   of bfloat16: in matrix tiles, or in vectors whose lanes are sequences. A vector adds up a row's products pair by pair
   from left to right, so a sum does not depend on how many sequences there are, and there is no sum over lanes. Other
   processors have panels.h. */

#ifndef STEERSMAN_PACKED_H
#define STEERSMAN_PACKED_H

#include "products.h"
#include "tiles.h"

#define STEP (2 * SIDE)             /* columns of a step */
#define PACKED (SIDE * STEP)        /* numbers of a step's 16 sequences */

typedef bf16 Packed; /* what inputs are packed as */

static inline int64_t groups_of(int64_t n) { return (n + SIDE - 1) / SIDE; }

/* Sequences SIDE * group.. of x [n, k] -> packed, [k / 32, groups][16 pairs of columns, 16 sequences, 2]; sequences
   beyond n are zeros */
static void pack(const bf16 *x, int64_t k, int n, int group, Packed *packed) {
    int64_t groups = groups_of(n);
    const bf16 *from = x + group * SIDE * k;
    int there = n - group * SIDE < SIDE ? n - group * SIDE : SIDE;
    for (int64_t j = 0; j < k; j += STEP, packed += groups * PACKED) {
        bf16 *to = packed + group * PACKED;
        __m512i rows[SIDE];
        for (int i = 0; i < SIDE; i++) rows[i] = i < there ? _mm512_loadu_si512(from + i * k + j) : _mm512_setzero_si512();
        transpose(rows, (__m512i *)to);
    }
}

#ifdef __AMX_BF16__
/* Products of 32 weight rows [.., k] with `columns` (1 or 2) tiles of sequences; a tile of weights serves both */
static inline __attribute__((always_inline)) void tile_pair(
    const bf16 *w, const bf16 *packed, int64_t k, int64_t groups, int columns, float *acc, const char *soon, int lines) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int64_t j = 0; j < k; j += 2 * SIDE) {
        const bf16 *in = packed + j / (2 * SIDE) * groups * PACKED;
        _tile_loadd(4, w + j, 2 * k);
        _tile_loadd(5, w + SIDE * k + j, 2 * k);
        _tile_loadd(6, in, 64);
        for (int r = 0; r < lines; r++) _mm_prefetch(soon + (r * k + j) * 2, _MM_HINT_T0);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 5, 6);
        if (columns > 1) {
            _tile_loadd(7, in + PACKED, 64);
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

static void block_in_tiles(const bf16 *w, const bf16 *packed, int64_t k, int n, float *acc) {
    int64_t groups = groups_of(n), g = 0, pairs = (groups + 1) / 2;
    int lines = (int)((BLOCK + pairs - 1) / pairs);
    const char *soon = (const char *)(w + BLOCK * k);
    int64_t step = (int64_t)lines * k * 2; /* bytes prefetched by one pair */
    for (; g + 2 <= groups; g += 2, soon += step) tile_pair(w, packed + g * PACKED, k, groups, 2, acc + g * SIDE, soon, lines);
    if (g < groups) tile_pair(w, packed + g * PACKED, k, groups, 1, acc + g * SIDE, soon, lines);
}
#else
/* One pair of terms of as many sequences as a vector holds, or of half as many */
static inline __attribute__((always_inline)) Terms pairs_at(const bf16 *packed, int half) {
    if (half) return (Terms)_mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)packed));
    return terms_at(packed);
}
static inline __attribute__((always_inline)) Terms pair_of(const bf16 *w, int half) {
    int32_t pair;
    memcpy(&pair, w, sizeof pair);
    return (Terms)(half ? _mm512_castsi256_si512(_mm256_set1_epi32(pair)) : _mm512_set1_epi32(pair));
}
static inline __attribute__((always_inline)) Sums add_pair(Sums sum, Terms in, Terms weights, int half) {
    if (!half) return add_terms(sum, in, weights);
    __m256i x = _mm512_castsi512_si256((__m512i)in), y = _mm512_castsi512_si256((__m512i)weights);
    return _mm512_castps256_ps512(_mm256_dpbf16_ps(_mm512_castps512_ps256(sum), (__m256bh)x, (__m256bh)y));
}

/* `rows` weight rows, `apart` numbers apart, with `vectors` vectors of sequences from the one at `packed` on: registers
   hold all sums. Meanwhile the lines at `soon` + what is read are fetched. */
static inline __attribute__((always_inline)) void sums_across(
    const bf16 *w, int64_t apart, const bf16 *packed, int64_t k, int64_t groups, int rows, int vectors, int half, int64_t soon,
    float *acc) {
    Sums sums[16][4];
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) sums[r][v] = (Sums){0};
    for (int64_t j = 0; j < k; j += STEP, packed += groups * PACKED) {
        if (soon)
#pragma GCC unroll 16
            for (int r = 0; r < rows; r++) fetch_soon(w + r * apart + j + soon);
#pragma GCC unroll 2
        for (int p = 0; p < SIDE; p++) {
            Terms in[4];
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++)
                in[v] = pairs_at(packed + p * STEP + v * ACROSS / SIDE * PACKED + v * ACROSS % SIDE * 2, half);
#pragma GCC unroll 16
            for (int r = 0; r < rows; r++) {
                Terms weights = pair_of(w + r * apart + j + 2 * p, half);
#pragma GCC unroll 4
                for (int v = 0; v < vectors; v++) sums[r][v] = add_pair(sums[r][v], in[v], weights, half);
            }
        }
    }
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) memcpy(acc + r * MOST + v * ACROSS, &sums[r][v], sizeof(Sums));
}

/* Registers for sums: some rows with some vectors, or more rows with one */
#define SOME_VECTORS 2
#define SOME_ROWS 8
#define MORE_ROWS 16

/* `rows` weight rows with the sequences from `packed` on */
static inline __attribute__((always_inline)) void rows_across(
    const bf16 *w, int64_t apart, const bf16 *packed, int64_t k, int64_t groups, int rows, int at_once, int vectors, int half,
    int64_t soon, float *acc) {
    int r = 0;
    for (; r + at_once <= rows; r += at_once)
        sums_across(w + r * apart, apart, packed, k, groups, at_once, vectors, half, soon, acc + r * MOST);
    for (; r < rows; r++) sums_across(w + r * apart, apart, packed, k, groups, 1, vectors, half, soon, acc + r * MOST);
}

static void block_in_vectors(const bf16 *w, int64_t apart, const bf16 *packed, int64_t k, int rows, int n, int64_t soon, float *acc) {
    int64_t vectors = (n + ACROSS - 1) / ACROSS, groups = groups_of(n), v = 0;
    for (; v + SOME_VECTORS <= vectors; v += SOME_VECTORS, soon = 0)
        rows_across(w, apart, packed + v * ACROSS / SIDE * PACKED, k, groups, rows, SOME_ROWS, SOME_VECTORS, 0, soon, acc + v * ACROSS);
    for (; v < vectors; v++, soon = 0) {
        const bf16 *in = packed + v * ACROSS / SIDE * PACKED + v * ACROSS % SIDE * 2;
        if (2 * (n - v * ACROSS) <= ACROSS)
            rows_across(w, apart, in, k, groups, rows, MORE_ROWS, 1, 1, soon, acc + v * ACROSS);
        else
            rows_across(w, apart, in, k, groups, rows, MORE_ROWS, 1, 0, soon, acc + v * ACROSS);
    }
}
#endif

/* Rows r.. of a product, rows[o * MOST + i] -> the input of the next one, packed as `pack` does */
static void pack_rows(const float *rows, int64_t r, int64_t k, int n, Packed *packed) {
    (void)k;
    int64_t groups = groups_of(n);
    for (int64_t g = 0; g < groups; g++)
        for (int o = 0; o < BLOCK; o += 2) {
            words low, high;
            memcpy(&low, rows + o * MOST + g * SIDE, sizeof low);
            memcpy(&high, rows + (o + 1) * MOST + g * SIDE, sizeof high);
            low = (low + 0x7fff + ((low >> 16) & 1)) >> 16; /* as `narrow` */
            high = (high + 0x7fff + ((high >> 16) & 1)) & 0xffff0000;
            low |= high;
            memcpy(packed + (r / BLOCK * groups + g) * PACKED + o * SIDE, &low, sizeof low);
        }
}

#endif
