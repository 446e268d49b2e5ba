/* Attention of one position over a sequence's cache; head sizes are multiples of 16. The query heads that share a
   key head are computed together, so that each key and value is read once for all of them. Keys and values are bfloat16,
   or int8 with a scale per row, which is taken into its score and into its chance. */

#ifndef STEERSMAN_ATTEND_H
#define STEERSMAN_ATTEND_H

#include "common.h"

#define TOGETHER (LANES / 4) /* query heads at once */
#define KEYS 4     /* keys at once: TOGETHER * KEYS scores are one vector, those of head g at g * KEYS */
#define CHUNK (2 * LANES)

/* Rows of d numbers, one after the other; `scales` where they are int8 */
typedef struct { const void *at; const float *scales; } Rows;

/* Into the second cache, a line for each that is read: memory is as busy as the arithmetic then */
static inline __attribute__((always_inline)) void fetch_line(const char **next, int eight) {
    __builtin_prefetch(*next, 0, 2);
    *next += eight ? CHUNK : 2 * CHUNK;
}

/* 2 * LANES numbers in bfloat16; the upper half is zero where only `left` <= LANES are there */
#ifdef __AVX512BF16__
typedef __m512i Pairs;
static inline __attribute__((always_inline)) Pairs load_pairs(const bf16 *x, int64_t left) {
    return _mm512_maskz_loadu_epi16(left > LANES ? 0xffffffff : 0xffff, x);
}
static inline __attribute__((always_inline)) Pairs load_eight(const int8_t *x, int64_t left) {
    __m256i all = _mm256_maskz_loadu_epi8(left > LANES ? 0xffffffff : 0xffff, x);
    __m512 low = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm256_castsi256_si128(all)));
    __m512 high = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm256_extracti128_si256(all, 1)));
    return (Pairs)_mm512_cvtne2ps_pbh(high, low);
}
/* sum[l] + x[2l] y[2l] + x[2l + 1] y[2l + 1] */
static inline __attribute__((always_inline)) floats add_dots(floats sum, Pairs x, Pairs y) {
    return (floats)_mm512_dpbf16_ps((__m512)sum, (__m512bh)x, (__m512bh)y);
}
static inline __attribute__((always_inline)) Pairs pair_everywhere(const bf16 *x) {
    int32_t pair;
    memcpy(&pair, x, sizeof pair);
    return _mm512_set1_epi32(pair);
}
/* The pairs (x[i], y[i]), in two halves of an order of their own that `in_order` turns into the usual one */
static inline __attribute__((always_inline)) void interleave(Pairs x, Pairs y, Pairs *out) {
    out[0] = _mm512_unpacklo_epi16(x, y), out[1] = _mm512_unpackhi_epi16(x, y);
}
static inline __attribute__((always_inline)) void in_order(const floats *x, floats *out) {
    out[0] = SHUFFLE(x[0], x[1], 0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
    out[1] = SHUFFLE(x[0], x[1], 8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31);
}
#else
typedef struct { floats even, odd; } Pairs;
typedef words words_at __attribute__((aligned(2), may_alias));
static inline __attribute__((always_inline)) Pairs load_pairs(const bf16 *x, int64_t left) {
    words both = {0}; /* little-endian: the first of a pair is below */
    if (left > LANES)
        both = *(const words_at *)x;
    else
        memcpy(&both, x, sizeof both / 2);
    return (Pairs){(floats)(both << 16), (floats)(both & 0xffff0000)};
}
static inline __attribute__((always_inline)) Pairs load_eight(const int8_t *x, int64_t left) {
    halves both = {0};
    if (left > LANES)
        both = *(const halves_at *)x;
    else
        memcpy(&both, x, sizeof both / 2);
    ints wide_ = (ints)__builtin_convertvector(both, words);
    return (Pairs){__builtin_convertvector((wide_ << 24) >> 24, floats), __builtin_convertvector((wide_ << 16) >> 24, floats)};
}
static inline __attribute__((always_inline)) floats add_dots(floats sum, Pairs x, Pairs y) { return sum + x.even * y.even + x.odd * y.odd; }
static inline __attribute__((always_inline)) Pairs pair_everywhere(const bf16 *x) { return (Pairs){(floats){0} + wide(x[0]), (floats){0} + wide(x[1])}; }
static inline __attribute__((always_inline)) void interleave(Pairs x, Pairs y, Pairs *out) {
    out[0] = (Pairs){x.even, y.even}, out[1] = (Pairs){x.odd, y.odd};
}
static inline __attribute__((always_inline)) void in_order(const floats *x, floats *out) {
#if LANES == 16
    out[0] = SHUFFLE(x[0], x[1], 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    out[1] = SHUFFLE(x[0], x[1], 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
#else
    out[0] = SHUFFLE(x[0], x[1], 0, 8, 1, 9, 2, 10, 3, 11);
    out[1] = SHUFFLE(x[0], x[1], 4, 12, 5, 13, 6, 14, 7, 15);
#endif
}
#endif

static inline __attribute__((always_inline)) Pairs load_row(Rows rows, int64_t at, int64_t left, int eight) {
    return eight ? load_eight((const int8_t *)rows.at + at, left) : load_pairs((const bf16 *)rows.at + at, left);
}
/* scales t.. of KEYS rows, for every head; zeros beyond `count` */
static inline __attribute__((always_inline)) floats scales_at(const float *scales, int64_t t, int64_t count) {
    floats four = {0};
    if (t + KEYS <= count)
        memcpy(&four, scales + t, KEYS * sizeof *scales);
    else
        memcpy(&four, scales + t, (count - t) * sizeof *scales);
#if LANES == 16
    return SHUFFLE(four, four, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3);
#else
    return SHUFFLE(four, four, 0, 1, 2, 3, 0, 1, 2, 3);
#endif
}

/* The first (0) or second (2) pair of every four lanes: of a and b in turns, lane by lane or pair by pair */
#if LANES == 16
#define QUADS(a, b, i, j, k, l) SHUFFLE(a, b, 4 * i, 4 * i + 1, 4 * i + 2, 4 * i + 3, 4 * j, 4 * j + 1, 4 * j + 2, \
    4 * j + 3, 4 * k, 4 * k + 1, 4 * k + 2, 4 * k + 3, 4 * l, 4 * l + 1, 4 * l + 2, 4 * l + 3)
#define LANES_IN_TURN(a, b, n) SHUFFLE(a, b, n, n + 16, n + 1, n + 17, n + 4, n + 20, n + 5, n + 21, n + 8, n + 24, \
    n + 9, n + 25, n + 12, n + 28, n + 13, n + 29)
#define PAIRS_IN_TURN(a, b, n) SHUFFLE(a, b, n, n + 1, n + 16, n + 17, n + 4, n + 5, n + 20, n + 21, n + 8, n + 9, \
    n + 24, n + 25, n + 12, n + 13, n + 28, n + 29)
#else
#define LANES_IN_TURN(a, b, n) SHUFFLE(a, b, n, n + 8, n + 1, n + 9, n + 4, n + 12, n + 5, n + 13)
#define PAIRS_IN_TURN(a, b, n) SHUFFLE(a, b, n, n + 1, n + 8, n + 9, n + 4, n + 5, n + 12, n + 13)
#endif

/* sums[g][t] -> the sum over lanes of each, at g * KEYS + t */
static inline __attribute__((always_inline)) floats sums_of(floats sums[TOGETHER][KEYS]) {
    floats quads[TOGETHER];
#pragma GCC unroll 4
    for (int g = 0; g < TOGETHER; g++) {
        floats *s = sums[g];
        floats a = LANES_IN_TURN(s[0], s[1], 0) + LANES_IN_TURN(s[0], s[1], 2);
        floats b = LANES_IN_TURN(s[2], s[3], 0) + LANES_IN_TURN(s[2], s[3], 2);
        quads[g] = PAIRS_IN_TURN(a, b, 0) + PAIRS_IN_TURN(a, b, 2);
    }
#if LANES == 16
    floats halves_[2];
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++) {
        floats a = quads[2 * i], b = quads[2 * i + 1];
        halves_[i] = QUADS(a, b, 0, 1, 4, 5) + QUADS(a, b, 2, 3, 6, 7);
    }
    return QUADS(halves_[0], halves_[1], 0, 2, 4, 6) + QUADS(halves_[0], halves_[1], 1, 3, 5, 7);
#else
    floats a = quads[0], b = quads[1];
    return SHUFFLE(a, b, 0, 1, 2, 3, 8, 9, 10, 11) + SHUFFLE(a, b, 4, 5, 6, 7, 12, 13, 14, 15);
#endif
}

/* scores [count / KEYS][TOGETHER][KEYS] = q . keys * scale, -inf beyond `count`; q and keys are rows of d. Returns the
   largest of each lane. */
static inline __attribute__((always_inline)) floats dot_keys(const bf16 *q, Rows keys, int64_t d, int64_t count,
                                                             int heads, float scale, float *scores, const char **next,
                                                             int eight) {
    floats most = (floats){0} - INFINITY;
    for (int64_t t = 0; t < count; t += KEYS, scores += LANES) {
        floats sums[TOGETHER][KEYS] = {0};
        for (int64_t j = 0; j < d; j += CHUNK) {
            Pairs key[KEYS];
#pragma GCC unroll 4
            for (int i = 0; i < KEYS; i++) {
                key[i] = load_row(keys, (t + i < count ? t + i : t) * d + j, d - j, eight);
                fetch_line(next, eight);
            }
#pragma GCC unroll 4
            for (int g = 0; g < heads; g++) {
                Pairs query = load_pairs(q + g * d + j, d - j);
#pragma GCC unroll 4
                for (int i = 0; i < KEYS; i++) sums[g][i] = add_dots(sums[g][i], query, key[i]);
            }
        }
        floats all = sums_of(sums) * scale;
        if (eight) all *= scales_at(keys.scales, t, count);
        for (int l = 0; t + KEYS > count && l < LANES; l++)
            if (t + l % KEYS >= count) all[l] = -INFINITY;
        most = larger(most, all);
        memcpy(scores, &all, sizeof all);
    }
    return most;
}

/* Every lane of a head -> its largest, or its sum */
static inline __attribute__((always_inline)) floats over_head(floats x, int sum) {
#if LANES == 16
    floats y = SHUFFLE(x, x, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
    x = sum ? x + y : larger(x, y);
    y = SHUFFLE(x, x, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
#else
    floats y = SHUFFLE(x, x, 1, 0, 3, 2, 5, 4, 7, 6);
    x = sum ? x + y : larger(x, y);
    y = SHUFFLE(x, x, 2, 3, 0, 1, 6, 7, 4, 5);
#endif
    return sum ? x + y : larger(x, y);
}

/* out[g] = sum of the chances of head g * values over t, in the columns j.. of a chunk */
static inline __attribute__((always_inline)) void mix_values(const bf16 *chances, Rows values, int64_t d,
                                                             int64_t count, int heads, int64_t j, int chunks,
                                                             const float *inverse, float *out, const char **next,
                                                             int eight) {
    floats sums[TOGETHER][2][2] = {0};
    for (int64_t t = 0; t < count; t += 2) {
        const bf16 *pair = chances + t / KEYS * LANES + t % KEYS;
        int64_t one = t * d, two = t + 1 < count ? one + d : one;
#pragma GCC unroll 2
        for (int c = 0; c < chunks; c++) {
            int64_t at = j + c * CHUNK;
            Pairs both[2];
            fetch_line(next, eight), fetch_line(next, eight);
            interleave(load_row(values, one + at, d - at, eight), load_row(values, two + at, d - at, eight), both);
#pragma GCC unroll 4
            for (int g = 0; g < heads; g++) {
                Pairs chance = pair_everywhere(pair + g * KEYS);
                sums[g][c][0] = add_dots(sums[g][c][0], both[0], chance);
                sums[g][c][1] = add_dots(sums[g][c][1], both[1], chance);
            }
        }
    }
#pragma GCC unroll 4
    for (int g = 0; g < heads; g++)
#pragma GCC unroll 2
        for (int c = 0; c < chunks; c++) {
            floats mixed[2];
            int64_t at = j + c * CHUNK;
            in_order(sums[g][c], mixed);
            mixed[0] *= inverse[g * KEYS], mixed[1] *= inverse[g * KEYS];
            memcpy(out + g * d + at, mixed, d - at > LANES ? sizeof mixed : sizeof mixed[0]);
        }
}

static inline __attribute__((always_inline)) void attend_heads(const bf16 *q, Rows keys, Rows values, int64_t d,
                                                               int64_t count, int heads, float scale, float *scores,
                                                               float *out, const char **next, int eight) {
    const char *here = values.at;
    floats most = over_head(dot_keys(q, keys, d, count, heads, scale, scores, &here, eight), 0), total = {0};
    bf16 *chances = (bf16 *)scores; /* in place: written behind what is read */
    for (int64_t t = 0; t < count; t += KEYS) {
        floats x = exp_lanes(load(scores + t * LANES / KEYS) - most);
        total += x;
        if (eight) x *= scales_at(values.scales, t, count);
        store_narrow(chances + t * LANES / KEYS, x);
    }
    floats inverse = 1.0f / over_head(total, 1);
    int64_t j = 0;
    for (; j + CHUNK < d; j += 2 * CHUNK)
        mix_values(chances, values, d, count, heads, j, 2, (float *)&inverse, out, next, eight);
    if (j < d) mix_values(chances, values, d, count, heads, j, 1, (float *)&inverse, out, next, eight);
}

static inline __attribute__((always_inline)) void attend_group(const bf16 *q, Rows keys, Rows values, int64_t d,
                                                               int64_t count, int heads, float scale, float *scores,
                                                               float *out, const char *next, int eight) {
    for (; heads >= TOGETHER; heads -= TOGETHER, q += TOGETHER * d, out += TOGETHER * d)
        attend_heads(q, keys, values, d, count, TOGETHER, scale, scores, out, &next, eight);
#if LANES == 16
    if (heads == 3) attend_heads(q, keys, values, d, count, 3, scale, scores, out, &next, eight);
    if (heads == 2) attend_heads(q, keys, values, d, count, 2, scale, scores, out, &next, eight);
#endif
    if (heads == 1) attend_heads(q, keys, values, d, count, 1, scale, scores, out, &next, eight);
}

/* q [heads, d] against keys and values [count, d] -> out [heads, d]; scores has room for LANES * (count / KEYS + 1).
   Meanwhile what comes next is fetched. */
static void attend(const bf16 *q, Rows keys, Rows values, int64_t d, int64_t count, int heads, float scale,
                   float *scores, float *out, const char *next) {
    if (keys.scales)
        attend_group(q, keys, values, d, count, heads, scale, scores, out, next, 1);
    else
        attend_group(q, keys, values, d, count, heads, scale, scores, out, next, 0);
}

#endif
