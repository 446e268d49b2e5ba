/* Blocks of products for processors that multiply pairs of bfloat16: in matrix tiles (AMX) or, with the same layout,
   in vectors (AVX512-BF16). An operand's 32 rows are tiles of 1 KiB: of a first operand 16 rows of 32 terms, of a second
   16 pairs of terms of 16 columns. */

#ifndef STEERSMAN_PAIRS_H
#define STEERSMAN_PAIRS_H

typedef bf16 Laid; /* what operands are laid out in */
#define LIES 1     /* whether a first operand can be read as it lies */

/* 32 rows of a first operand: from one row, the second tile of rows and the next 32 terms to the next */
typedef struct { const Laid *at; int64_t stride, half, step; } First;

/* 32 rows of a first operand times 32 columns of a second, over k terms rounded up to 32 */
typedef struct { First a; const Laid *b; int64_t k; } Part;

static inline First first_laid_out(const Laid *at, int64_t across) {
    (void)across; /* the layout is the same */
    return (First){at, WIDE, TILE, 2 * TILE};
}

/* Rows `stride` apart; k is a multiple of 32 */
static inline First first_as_it_lies(const bf16 *at, int64_t stride, int64_t k, Laid *space) {
    (void)k, (void)space;
    return (First){at, stride, SIDE * stride, WIDE};
}

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
    const Side *s, int64_t n, int64_t k, int64_t first, int64_t from, int second, Laid *out) {
    __m512i words[2][SIDE];
    fetch(s, n, k, first, from, words);
    for (int h = 0; h < 2; h++)
        if (s->across == second)
            for (int i = 0; i < SIDE; i++) _mm512_store_si512(out + h * TILE + i * WIDE, words[h][i]);
        else
            transpose(words[h], (__m512i *)(out + h * TILE));
}

#ifdef __AMX_BF16__
/* Between the steps some rows of earlier results are written: that costs as much as the products, if it has to be
   waited for */
static inline __attribute__((always_inline)) void add_part(const Part *p, Waiting *waiting) {
    const bf16 *a = p->a.at, *b = p->b;
    for (int64_t from = 0; from < p->k; from += WIDE, a += p->a.step, b += 2 * TILE) {
        _tile_loadd(4, a, 2 * p->a.stride);
        _tile_loadd(5, a + p->a.half, 2 * p->a.stride);
        _tile_loadd(6, b, 64);
        _tile_loadd(7, b + TILE, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 5, 6);
        _tile_dpbf16ps(2, 4, 7);
        _tile_dpbf16ps(3, 5, 7);
        write_some(waiting, waiting->at_once);
    }
}

static inline __attribute__((always_inline)) void block_product(
    const Part *parts, int count, int64_t rows, float *c, int64_t stride, int add, Waiting *waiting) {
    (void)rows; /* tiles are of 32 */
    float *below = c + SIDE * stride;
    if (add) {
        _tile_loadd(0, c, 4 * stride);
        _tile_loadd(1, below, 4 * stride);
        _tile_loadd(2, c + SIDE, 4 * stride);
        _tile_loadd(3, below + SIDE, 4 * stride);
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    for (int p = 0; p < count; p++) add_part(parts + p, waiting);
    write_some(waiting, WIDE);
    _tile_stored(0, c, 4 * stride);
    _tile_stored(1, below, 4 * stride);
    _tile_stored(2, c + SIDE, 4 * stride);
    _tile_stored(3, below + SIDE, 4 * stride);
}
#else
#define GROUP 8 /* rows whose sums, 32 columns each, are held in registers */
#define NEXT 256 /* terms at a time: a second operand's stay in the first cache for all groups of rows */

static inline __attribute__((always_inline)) void add_rows(
    const bf16 *a, const First *how, const bf16 *b, int64_t k, float *c, int64_t stride, int add) {
    __m512 sums[GROUP][2];
    UNROLL
    for (int r = 0; r < GROUP; r++)
        for (int h = 0; h < 2; h++)
            sums[r][h] = add ? _mm512_loadu_ps(c + r * stride + h * SIDE) : _mm512_setzero_ps();
    for (int64_t from = 0; from < k; from += WIDE, a += how->step, b += 2 * TILE)
        for (int i = 0; i < SIDE; i++) {
            __m512bh left = (__m512bh)_mm512_load_si512(b + i * WIDE);
            __m512bh right = (__m512bh)_mm512_load_si512(b + i * WIDE + TILE);
            UNROLL
            for (int r = 0; r < GROUP; r++) {
                int32_t pair;
                memcpy(&pair, a + r * how->stride + 2 * i, sizeof pair);
                __m512bh both = (__m512bh)_mm512_set1_epi32(pair);
                sums[r][0] = _mm512_dpbf16_ps(sums[r][0], both, left);
                sums[r][1] = _mm512_dpbf16_ps(sums[r][1], both, right);
            }
        }
    UNROLL
    for (int r = 0; r < GROUP; r++)
        for (int h = 0; h < 2; h++) _mm512_storeu_ps(c + r * stride + h * SIDE, sums[r][h]);
}

static inline __attribute__((always_inline)) void block_product(
    const Part *parts, int count, int64_t rows, float *c, int64_t stride, int add, Waiting *waiting) {
    for (int p = 0; p < count; p++) {
        const First *how = &parts[p].a;
        for (int64_t from = 0; from < parts[p].k; from += NEXT, add = 1) {
            int64_t k = parts[p].k - from < NEXT ? parts[p].k - from : NEXT;
            for (int row = 0; row < rows; row += GROUP) {
                const bf16 *a = how->at + from / WIDE * how->step + row / SIDE * how->half + row % SIDE * how->stride;
                add_rows(a, how, parts[p].b + from * WIDE, k, c + row * stride, stride, add);
                write_some(waiting, GROUP);
            }
        }
    }
    write_some(waiting, WIDE);
}
#endif
#endif
