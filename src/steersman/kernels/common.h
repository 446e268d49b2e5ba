/* What all kernels share: bfloat16, vectors of 16 floats, an exponential. */

#ifndef STEERSMAN_COMMON_H
#define STEERSMAN_COMMON_H

#include <math.h>
#include <stdint.h>
#include <string.h>
#ifndef __AVX512BF16__
#undef __AMX_BF16__ /* its kernels round in vectors */
#endif
#ifdef __AVX512F__
#include <immintrin.h>
#endif

typedef uint16_t bf16;

static inline float wide(bf16 x) {
    uint32_t bits = (uint32_t)x << 16;
    float y;
    memcpy(&y, &bits, 4);
    return y;
}

static inline bf16 narrow(float x) { /* round to nearest even */
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return (bf16)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

static inline float exp_(float x) { /* 2^k times a polynomial */
    x = x < -87.0f ? -87.0f : x > 88.0f ? 88.0f : x;
    float t = x * 1.44269504f, k = (float)(int)(t + (t < 0 ? -0.5f : 0.5f));
    float r = x - k * 0.693359375f + k * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    int32_t bits = ((int32_t)k + 127) << 23;
    float scale;
    memcpy(&scale, &bits, 4);
    return p * scale;
}

/* Before a loop of constant length whose variables shall stay in registers */
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

#define UNIT 16 /* sizes are multiples of it */

/* Numbers side by side. gcc keeps sums in vectors longer than the processor's on the stack: decision 113 in docs/LOG.md */
#if defined(__AVX2__) && !defined(__AVX512F__)
#define LANES 8
#define IN_TURN {0, 1, 2, 3, 4, 5, 6, 7}
#else
#define LANES 16
#define IN_TURN {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
#endif

typedef float floats __attribute__((vector_size(4 * LANES)));
typedef int32_t ints __attribute__((vector_size(4 * LANES)));
typedef uint32_t words __attribute__((vector_size(4 * LANES)));
typedef uint16_t halves __attribute__((vector_size(2 * LANES)));
/* Where they lie in memory. Of vectors longer than the processor's, gcc copies a memcpy in pieces through the stack */
typedef floats floats_at __attribute__((aligned(4), may_alias));
typedef halves halves_at __attribute__((aligned(2), may_alias));

/* Lanes of a, then of b, by their numbers, which are constants */
#ifdef __clang__
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else /* which knows the other name only since gcc 12 */
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (words){__VA_ARGS__})
#endif

static inline __attribute__((always_inline)) floats load(const float *x) {
    return *(const floats_at *)x;
}

static inline __attribute__((always_inline)) void store(float *to, floats x) { *(floats_at *)to = x; }

static inline __attribute__((always_inline)) floats load_wide(const bf16 *x) {
    return (floats)(__builtin_convertvector(*(const halves_at *)x, words) << 16);
}

/* The lanes rounded to bfloat16 */
static inline __attribute__((always_inline)) void store_narrow(bf16 *to, floats x) {
#ifdef __AVX512BF16__
    _mm256_storeu_si256((__m256i *)to, (__m256i)_mm512_cvtneps_pbh((__m512)x));
#else
    words bits = (words)x;
    *(halves_at *)to = __builtin_convertvector((bits + 0x7fff + ((bits >> 16) & 1)) >> 16, halves);
#endif
}

static inline __attribute__((always_inline)) float sum_of(floats x) {
#if LANES == 16
    x += SHUFFLE(x, x, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
    x += SHUFFLE(x, x, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11);
    x += SHUFFLE(x, x, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
#else
    x += SHUFFLE(x, x, 4, 5, 6, 7, 0, 1, 2, 3);
    x += SHUFFLE(x, x, 2, 3, 0, 1, 6, 7, 4, 5);
#endif
    return x[0] + x[1];
}

static inline __attribute__((always_inline)) floats larger(floats x, floats y) {
    ints first = x > y;
    return (floats)(((ints)x & first) | ((ints)y & ~first));
}

static inline __attribute__((always_inline)) float largest(floats x) {
#if LANES == 16
    x = larger(x, SHUFFLE(x, x, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7));
    x = larger(x, SHUFFLE(x, x, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11));
    x = larger(x, SHUFFLE(x, x, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13));
#else
    x = larger(x, SHUFFLE(x, x, 4, 5, 6, 7, 0, 1, 2, 3));
    x = larger(x, SHUFFLE(x, x, 2, 3, 0, 1, 6, 7, 4, 5));
#endif
    return x[0] > x[1] ? x[0] : x[1];
}

/* x where a lane of `chosen` is all ones, y where it is zero */
static inline __attribute__((always_inline)) floats either(ints chosen, floats x, floats y) {
    return (floats)(((ints)x & chosen) | ((ints)y & ~chosen));
}

/* exp_ in every lane */
static inline __attribute__((always_inline)) floats exp_lanes(floats x) {
    x = larger(x, (floats){0} - 87.0f);
    x = -larger(-x, (floats){0} - 88.0f);
    floats t = x * 1.44269504f, half = (floats)(((ints)t & INT32_MIN) | 0x3f000000); /* with the sign of t */
    ints k = __builtin_convertvector(t + half, ints);
    floats whole = __builtin_convertvector(k, floats);
    floats r = x - whole * 0.693359375f + whole * 2.12194440e-4f;
    floats p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    return p * (floats)((k + 127) << 23);
}

#endif
