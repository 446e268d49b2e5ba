/* What Python hands over in memory. `kernels/entries.py` mirrors these structs; `steersman_layout` tells it
   where their fields are, so that a library which sees them otherwise is not used. */

#ifndef STEERSMAN_STRUCTS_H
#define STEERSMAN_STRUCTS_H

#include "common.h"

/* An operand [n, k]: the row (or column) of each result along n, its terms along k. As it lies in memory either k is
   contiguous, or n is (`across`). */
typedef struct { const bf16 *at; int64_t stride; int64_t across; } Side;
/* One product of a sum of products with the same result: a [m, k] times b [n, k] */
typedef struct { Side a, b; int64_t k; } Term;
/* Where results go: to float32, added to what is there, or to bfloat16 with what `add` [m, n] and `bias` [n] hold */
typedef struct { float *wide; bf16 *narrow; const bf16 *add, *bias; int64_t stride; } Result;

/* Documents of a row of `tokens`, [start, end) in `bounds`; key j is seen from i if it is not later, not in another
   branch (-1: trunk) and less than `window` positions away (0: any). q, out [T, heads, d]; k, v [T, kv_heads, d]; lse
   [T, heads] float32, the logarithm of each softmax's denominator. */
typedef struct {
    const bf16 *q, *k, *v;
    bf16 *out;
    float *lse;
    const int32_t *branch, *position;
    const int64_t *bounds;
    int64_t tokens, documents, heads, kv_heads, d, window;
    float scale;
} Attention;
typedef struct { const bf16 *grad; bf16 *q, *k, *v; } Gradients;

typedef struct { const void *values; const float *scales; int64_t rows, columns; } Matrix;
typedef struct {
    Matrix qkv, out, gate_up, down;
    const bf16 *bias, *input_norm, *post_norm, *pre_mlp_norm, *post_mlp_norm, *q_norm, *k_norm, *cos, *sin;
    void *keys, *values; /* bfloat16, or int8 where scales are given */
    float *key_scales, *value_scales;
    int64_t window;
} Layer;
typedef struct {
    int64_t layers, hidden, intermediate, heads, kv_heads, head_dim, gelu, sandwich, slots, capacity, packed_from;
    float eps, scale, embed_scale, norm_offset;
    const bf16 *embed, *final_norm;
    Matrix head;
    const Layer *layer;
    const int64_t *turns; /* [slots]: rows of cos and sin before those of a sequence's positions */
} Model;

#endif
