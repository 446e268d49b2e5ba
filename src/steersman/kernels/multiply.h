/* Matrix products in bfloat16 with float32 sums, by matrix tiles (AMX): 32 x 32 results at once, both operands laid
   out so that every tile is a run of 1 KiB. */

#ifndef STEERSMAN_MULTIPLY_H
#define STEERSMAN_MULTIPLY_H

#include "machine.h"
#include "structs.h"
#include "tiles.h"

#define WIDE (2 * SIDE) /* rows and columns of a block of results, and what a tile is long */

#ifdef __AMX_BF16__

static inline int64_t blocks_of(int64_t n) { return (n + WIDE - 1) / WIDE; }
static inline int64_t up(int64_t n) { return blocks_of(n) * WIDE; }

/* In a parallel region, when each thread has asked for its room: whether all have got theirs */
static inline int all_have(const void *mine, int64_t *failed) {
    if (!mine) {
#pragma omp atomic write
        *failed = NO_MEMORY;
    }
#pragma omp barrier
    return *failed == DONE;
}

/* A block of results that still has to be written, from row `next` on */
typedef struct { const Result *out; const float *block; int64_t row, column, rows, columns, next, at_once; } Waiting;

static inline __attribute__((always_inline)) __m512 widened(__m256i x) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
}

static inline __attribute__((always_inline)) void write_row(const Waiting *w, int64_t i) {
    const Result *out = w->out;
    int64_t start = (w->row + i) * out->stride + w->column;
    const float *from = w->block + i * WIDE;
    __mmask32 mask = w->columns >= WIDE ? 0xffffffff : (1u << w->columns) - 1;
    __m512 low = _mm512_load_ps(from), high = _mm512_load_ps(from + SIDE);
    if (out->wide) {
        float *to = out->wide + start;
        __mmask16 left = (__mmask16)mask, right = (__mmask16)(mask >> SIDE);
        _mm512_mask_storeu_ps(to, left, low + _mm512_maskz_loadu_ps(left, to));
        _mm512_mask_storeu_ps(to + SIDE, right, high + _mm512_maskz_loadu_ps(right, to + SIDE));
        return;
    }
    if (out->add) {
        __m512i more = _mm512_maskz_loadu_epi16(mask, out->add + start);
        low += widened(_mm512_castsi512_si256(more));
        high += widened(_mm512_extracti64x4_epi64(more, 1));
    }
    if (out->bias) {
        __m512i more = _mm512_maskz_loadu_epi16(mask, out->bias + w->column);
        low += widened(_mm512_castsi512_si256(more));
        high += widened(_mm512_extracti64x4_epi64(more, 1));
    }
    __m512i both = (__m512i)_mm512_cvtne2ps_pbh(high, low);
    bf16 *to = out->narrow + start;
    if (mask == 0xffffffff && (uintptr_t)to % 64 == 0)
        _mm512_stream_si512((__m512i *)to, both); /* fetching first what is then overwritten would cost as much again */
    else
        _mm512_mask_storeu_epi16(to, mask, both);
}

static inline __attribute__((always_inline)) void write_some(Waiting *w, int64_t rows) {
    for (; rows > 0 && w->next < w->rows; rows--) write_row(w, w->next++);
}

/* 32 of n from `first`, 32 of k from `from`; beyond `n` and `k` are zeros. words[h][i]: of an
   operand that lies across, terms 2i and 2i + 1 of 16 rows; of another, the 32 terms of row 16h + i */
static inline __attribute__((always_inline)) void fetch(
    const Side *s, int64_t n, int64_t k, int64_t first, int64_t from, __m512i words[2][SIDE]) {
    int64_t rows = n - first < WIDE ? n - first : WIDE, terms = k - from < WIDE ? k - from : WIDE;
    if (s->across) {
        const __m512i low = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8, 39, 7, 38, 6,
                                             37, 5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
        const __m512i high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
        __mmask32 mask = rows == WIDE ? 0xffffffff : (1u << rows) - 1;
        const bf16 *at = s->at + from * s->stride + first;
        for (int i = 0; i < SIDE; i++) {
            __m512i one = _mm512_setzero_si512(), two = one;
            if (2 * i < terms) one = _mm512_maskz_loadu_epi16(mask, at + 2 * i * s->stride);
            if (2 * i + 1 < terms) two = _mm512_maskz_loadu_epi16(mask, at + (2 * i + 1) * s->stride);
            words[0][i] = _mm512_permutex2var_epi16(one, low, two);
            words[1][i] = _mm512_permutex2var_epi16(one, high, two);
        }
        return;
    }
    __mmask32 mask = terms == WIDE ? 0xffffffff : (1u << terms) - 1;
    const bf16 *at = s->at + first * s->stride + from;
    for (int h = 0; h < 2; h++)
        for (int i = 0; i < SIDE; i++)
            words[h][i] = h * SIDE + i < rows ? _mm512_maskz_loadu_epi16(mask, at + (h * SIDE + i) * s->stride)
                                              : _mm512_setzero_si512();
}

/* 32 of n from `first`, 32 of k from `from`, as one of the tiles of a first or a `second` operand */
static inline __attribute__((always_inline)) void lay_out_step(
    const Side *s, int64_t n, int64_t k, int64_t first, int64_t from, int second, bf16 *out) {
    __m512i words[2][SIDE];
    fetch(s, n, k, first, from, words);
    for (int h = 0; h < 2; h++)
        if (s->across == second)
            for (int i = 0; i < SIDE; i++) _mm512_store_si512(out + h * TILE + i * WIDE, words[h][i]);
        else
            transpose(words[h], (__m512i *)(out + h * TILE));
}

/* `blocks` times 32 rows of an operand from `first` on -> each [ceil(k / 32)][2 tiles], `size` elements apart */
static inline void lay_out(const Side *s, int64_t n, int64_t k, int64_t first, int64_t blocks, int second, bf16 *out, int64_t size) {
    if (s->across) {
        for (int64_t from = 0; from < k; from += WIDE, out += 2 * TILE)
            for (int64_t b = 0; b < blocks; b++) lay_out_step(s, n, k, first + b * WIDE, from, second, out + b * size);
        return;
    }
    for (int64_t b = 0; b < blocks; b++, first += WIDE, out += size) {
        const char *next = (const char *)(s->at + (first + WIDE) * s->stride);
        int64_t bytes = b + 1 < blocks && s->stride == k ? WIDE * k * (int64_t)sizeof(bf16) : 0;
        for (int64_t at = 0; at < bytes; at += 64) _mm_prefetch(next + at, _MM_HINT_T1);
        for (int64_t from = 0; from < k; from += WIDE) lay_out_step(s, n, k, first, from, second, out + from * WIDE);
    }
}

/* Tiles 0 to 3 += 32 rows of a, laid out or as they lie (then `stride` elements apart), times a laid out b. Between
   the steps some rows of earlier results are written: that costs as much as the products, if it has to be waited for */
static inline __attribute__((always_inline)) void multiply_tiles(
    const bf16 *a, int64_t half, int64_t stride, int64_t step, const bf16 *b, int64_t k, Waiting *waiting) {
    for (int64_t from = 0; from < k; from += WIDE, a += step, b += 2 * TILE) {
        _tile_loadd(4, a, 2 * stride);
        _tile_loadd(5, a + half, 2 * stride);
        _tile_loadd(6, b, 64);
        _tile_loadd(7, b + TILE, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 5, 6);
        _tile_dpbf16ps(2, 4, 7);
        _tile_dpbf16ps(3, 5, 7);
        write_some(waiting, waiting->at_once);
    }
}

static inline void zero_tiles(void) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
}

static inline void load_tiles(const float *c, int64_t stride) {
    _tile_loadd(0, c, 4 * stride);
    _tile_loadd(1, c + SIDE * stride, 4 * stride);
    _tile_loadd(2, c + SIDE, 4 * stride);
    _tile_loadd(3, c + SIDE * stride + SIDE, 4 * stride);
}

static inline void store_tiles(float *c, int64_t stride) {
    _tile_stored(0, c, 4 * stride);
    _tile_stored(1, c + SIDE * stride, 4 * stride);
    _tile_stored(2, c + SIDE, 4 * stride);
    _tile_stored(3, c + SIDE * stride + SIDE, 4 * stride);
}
#endif
#endif
