/* Attention of one position over a sequence's cache; head sizes are multiples of LANES. The query heads that share a key head are computed together, so
   that each key and value is read and widened once for all of them. */

#ifndef STEERSMAN_ATTEND_H
#define STEERSMAN_ATTEND_H

#include "common.h"

#define TOGETHER 4 /* query heads at once */
#define AHEAD 12 /* keys fetched before they are needed */

/* scores[g * room + t] = q[g] . keys[t] * scale; q [heads, d], keys and values [count, d]. The values are fetched
   into the cache meanwhile. */
static inline __attribute__((always_inline)) void dot_keys(const float *q, const bf16 *keys, const bf16 *values,
                                                           int64_t d, int64_t count, int64_t room, int heads,
                                                           float scale, float *scores) {
    for (int64_t t = 0; t < count; t++) {
        floats sums[TOGETHER] = {0};
        for (int64_t j = 0; j < d; j += LANES) {
            if (j % (2 * LANES) == 0) {
                __builtin_prefetch(keys + (t + AHEAD) * d + j);
                __builtin_prefetch(values + t * d + j);
            }
            floats key = load_wide(keys + t * d + j);
#pragma GCC unroll 4
            for (int g = 0; g < heads; g++) sums[g] += load(q + g * d + j) * key;
        }
#pragma GCC unroll 4
        for (int g = 0; g < heads; g++) scores[g * room + t] = sum_of(sums[g]) * scale;
    }
}

/* scores [count] -> their softmax, in place; room up to the next multiple of LANES is overwritten */
static inline void softmax(float *scores, int64_t count) {
    for (int64_t t = count; t % LANES; t++) scores[t] = -INFINITY;
    floats most = load(scores), total = {0};
    for (int64_t t = LANES; t < count; t += LANES) most = larger(most, load(scores + t));
    float top = most[0];
    for (int l = 1; l < LANES; l++) top = most[l] > top ? most[l] : top;
    for (int64_t t = 0; t < count; t += LANES) {
        floats x = exp_lanes(load(scores + t) - top);
        total += x;
        memcpy(scores + t, &x, sizeof x);
    }
    float inverse = 1.0f / sum_of(total);
    for (int64_t t = 0; t < count; t += LANES) {
        floats x = load(scores + t) * inverse;
        memcpy(scores + t, &x, sizeof x);
    }
}

/* out[g] = sum of scores[g * room + t] * values[t] over t, in columns j.. j + LANES * parts */
static inline __attribute__((always_inline)) void mix_values(const float *scores, const bf16 *values, int64_t d,
                                                             int64_t count, int64_t room, int heads, int parts,
                                                             int64_t j, float *out) {
    floats sums[TOGETHER][4] = {0};
    for (int64_t t = 0; t < count; t++)
#pragma GCC unroll 4
        for (int c = 0; c < parts; c++) {
            floats value = load_wide(values + t * d + j + c * LANES);
#pragma GCC unroll 4
            for (int g = 0; g < heads; g++) sums[g][c] += scores[g * room + t] * value;
        }
#pragma GCC unroll 4
    for (int g = 0; g < heads; g++)
#pragma GCC unroll 4
        for (int c = 0; c < parts; c++) memcpy(out + g * d + j + c * LANES, &sums[g][c], sizeof(floats));
}

static inline __attribute__((always_inline)) void attend_heads(const float *q, const bf16 *keys, const bf16 *values,
                                                               int64_t d, int64_t count, int heads, float scale,
                                                               float *scores, float *out) {
    int64_t room = (count + LANES - 1) / LANES * LANES;
    dot_keys(q, keys, values, d, count, room, heads, scale, scores);
    for (int g = 0; g < heads; g++) softmax(scores + g * room, count);
    int64_t j = 0;
    for (; j + 4 * LANES <= d; j += 4 * LANES) mix_values(scores, values, d, count, room, heads, 4, j, out);
    for (; j < d; j += LANES) mix_values(scores, values, d, count, room, heads, 1, j, out);
}

/* q [heads, d] against keys and values [count, d] -> out [heads, d]; scores has room for TOGETHER * (count + LANES) */
static void attend(const float *q, const bf16 *keys, const bf16 *values, int64_t d, int64_t count, int heads,
                   float scale, float *scores, float *out) {
    for (; heads >= TOGETHER; heads -= TOGETHER, q += TOGETHER * d, out += TOGETHER * d)
        attend_heads(q, keys, values, d, count, TOGETHER, scale, scores, out);
    if (heads == 3) attend_heads(q, keys, values, d, count, 3, scale, scores, out);
    if (heads == 2) attend_heads(q, keys, values, d, count, 2, scale, scores, out);
    if (heads == 1) attend_heads(q, keys, values, d, count, 1, scale, scores, out);
}

#endif
