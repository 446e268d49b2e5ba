/* Attention over packed rows, forward and backward, in matrix tiles: each document by itself, in blocks of 32 queries
   and 32 keys. A block of queries has its scores against all its keys at hand, so the softmax is the plain one. */

#include "multiply.h"

#ifdef __AMX_BF16__

static void *cut(char **from, int64_t bytes) {
    char *at = *from;
    *from += (bytes + 63) / 64 * 64;
    return at;
}

/* 32 rows of a, as they lie or laid out, times b laid out -> c [32, 32] */
static inline __attribute__((always_inline)) void product(
    const bf16 *a, int64_t half, int64_t stride, int64_t step, const bf16 *b, int64_t k, float *c, int64_t c_stride) {
    Waiting none = {0};
    zero_tiles();
    multiply_tiles(a, half, stride, step, b, k, &none);
    store_tiles(c, c_stride);
}

/* Which of 16 keys from j on query i sees; both count within the document */
static inline __attribute__((always_inline)) __mmask16 seen(const Attention *a, int64_t start, int64_t i, int64_t j) {
    int64_t ahead = i - j;
    __mmask16 mask = ahead >= 15 ? 0xffff : ahead < 0 ? 0 : (__mmask16)((2u << ahead) - 1);
    if (a->branch) {
        __m512i branch = _mm512_maskz_loadu_epi32(mask, a->branch + start + j);
        __mmask16 trunk = _mm512_mask_cmplt_epi32_mask(mask, branch, _mm512_setzero_si512());
        mask = trunk | _mm512_mask_cmpeq_epi32_mask(mask, branch, _mm512_set1_epi32(a->branch[start + i]));
    }
    if (a->window) {
        __m512i position = _mm512_maskz_loadu_epi32(mask, a->position + start + j);
        __m512i last = _mm512_set1_epi32(a->position[start + i] - (int32_t)a->window);
        mask = _mm512_mask_cmpgt_epi32_mask(mask, position, last);
    }
    return mask;
}

/* Operands of one document's key head, laid out */
typedef struct { bf16 *k, *v, *k_across, *v_across; } Keys;

static inline Side head_of(const bf16 *x, int64_t start, int64_t heads, int64_t head, int64_t d, int across) {
    return (Side){x + (start * heads + head) * d, heads * d, across};
}

static void lay_out_all(const Side *s, int64_t n, int64_t k, int second, bf16 *to) {
    lay_out(s, n, k, 0, up(n) / WIDE, second, to, up(k) * WIDE);
}

/* scores [32, up(count)] of 32 queries from `first` with keys 0 to count */
static void scores_of(const Side *q, int64_t length, int64_t d, int64_t first, const bf16 *k, int64_t count, bf16 *laid, float *scores) {
    lay_out(q, length, d, first, 1, 0, laid, 0);
    for (int64_t j = 0; j < count; j += WIDE)
        product(laid, TILE, WIDE, 2 * TILE, k + j * d, d, scores + j, up(count));
}

static void forward_block(const Attention *a, int64_t start, int64_t length, int64_t head, int64_t first, const Keys *keys, char *space) {
    int64_t d = a->d, rows = length - first < WIDE ? length - first : WIDE, count = first + rows, wide_ = up(count);
    bf16 *laid = cut(&space, WIDE * d * sizeof(bf16)), *p = cut(&space, WIDE * wide_ * sizeof(bf16));
    float *scores = cut(&space, WIDE * wide_ * sizeof(float)), *out = cut(&space, WIDE * WIDE * sizeof(float));
    float inverse[WIDE];
    Side q = head_of(a->q, start, a->heads, head, d, 0);
    scores_of(&q, length, d, first, keys->k, count, laid, scores);
    memset(p, 0, WIDE * wide_ * sizeof(bf16));
    for (int64_t i = 0; i < rows; i++) {
        float *row = scores + i * wide_;
        floats most = (floats){0} - INFINITY, total = {0};
        for (int64_t j = 0; j < count; j += LANES) {
            floats x = (floats)_mm512_mask_mov_ps(_mm512_set1_ps(-INFINITY), seen(a, start, first + i, j), (__m512)(load(row + j) * a->scale));
            most = larger(most, x);
            memcpy(row + j, &x, sizeof x);
        }
        float top = _mm512_reduce_max_ps((__m512)most);
        for (int64_t j = 0; j < count; j += LANES) {
            __m512 x = (__m512)load(row + j);
            __mmask16 mask = _mm512_cmp_ps_mask(x, _mm512_set1_ps(-INFINITY), _CMP_NEQ_OQ);
            x = _mm512_maskz_mov_ps(mask, (__m512)exp_lanes((floats)x - top));
            total += (floats)x;
            _mm256_storeu_si256((__m256i *)(p + i * wide_ + j), (__m256i)_mm512_cvtneps_pbh(x));
        }
        float sum = sum_of(total);
        inverse[i] = 1 / sum;
        a->lse[(start + first + i) * a->heads + head] = top + logf(sum);
    }
    bf16 *to = a->out + ((start + first) * a->heads + head) * d;
    for (int64_t column = 0; column < d; column += WIDE) {
        product(p, SIDE * wide_, wide_, WIDE, keys->v_across + column * up(length), wide_, out, WIDE);
        for (int64_t i = 0; i < rows; i++) {
            __m512 low = (__m512)(load(out + i * WIDE) * inverse[i]), high = (__m512)(load(out + i * WIDE + SIDE) * inverse[i]);
            _mm512_storeu_si512(to + i * a->heads * d + column, (__m512i)_mm512_cvtne2ps_pbh(high, low));
        }
    }
}

static int64_t longest(const Attention *a) {
    int64_t most = 0;
    for (int64_t n = 0; n < a->documents; n++) {
        int64_t length = a->bounds[2 * n + 1] - a->bounds[2 * n];
        if (length > most) most = length;
    }
    return most;
}

/* A document's key head at a time: its keys and values laid out, then all blocks of queries of the heads that share it */
static int64_t forward(const Attention *a, int threads) {
    int64_t most = up(longest(a)), size = most * a->d * sizeof(bf16), failed = DONE;
#pragma omp parallel num_threads(threads)
    {
        char *space = room(0, 2 * size + WIDE * (a->d * 2 + most * 6 + WIDE * 4) + 1024);
        Keys keys = {cut(&space, size), NULL, NULL, cut(&space, size)};
        TileConfig before;
        int64_t documents = all_have(space, &failed) ? a->documents : 0;
        take_tiles(&before);
#pragma omp for schedule(dynamic) collapse(2)
        for (int64_t n = 0; n < documents; n++)
            for (int64_t group = 0; group < a->kv_heads; group++) {
                int64_t start = a->bounds[2 * n], length = a->bounds[2 * n + 1] - start, shared = a->heads / a->kv_heads;
                Side k = head_of(a->k, start, a->kv_heads, group, a->d, 0), v = head_of(a->v, start, a->kv_heads, group, a->d, 1);
                lay_out_all(&k, length, a->d, 1, keys.k);
                lay_out_all(&v, a->d, length, 1, keys.v_across);
                for (int64_t head = group * shared; head < (group + 1) * shared; head++)
                    for (int64_t first = 0; first < length; first += WIDE)
                        forward_block(a, start, length, head, first, &keys, space);
            }
        give_tiles_back(&before);
    }
    return failed;
}

/* sums [count, d] float32 += x^T y over 32 queries of each of `shared` heads: x [shared][32, stride] bfloat16 */
static void add_transposed(const bf16 *x, int64_t shared, int64_t stride, const bf16 *y, int64_t count, int64_t d, bf16 *laid, float *sums) {
    for (int64_t j = 0; j < count; j += WIDE) {
        for (int64_t h = 0; h < shared; h++) {
            Side s = {x + h * WIDE * stride, stride, 1};
            lay_out(&s, stride, WIDE, j, 1, 0, laid + h * 2 * TILE, 0);
        }
        for (int64_t column = 0; column < d; column += WIDE) {
            Waiting none = {0};
                    load_tiles(sums + j * d + column, d);
            multiply_tiles(laid, TILE, WIDE, 2 * TILE, y + column * shared * WIDE, shared * WIDE, &none);
            store_tiles(sums + j * d + column, d);
        }
    }
}

/* 32 queries from `first` of all heads that share a key head: their gradient, and what they add to that of keys and values */
static void backward_block(const Attention *a, const Gradients *g, int64_t start, int64_t length, int64_t group, int64_t first,
                           const Keys *keys, float *grad_k, float *grad_v, char *space) {
    int64_t d = a->d, shared = a->heads / a->kv_heads, rows = length - first < WIDE ? length - first : WIDE;
    int64_t count = first + rows, wide_ = up(count), whole = up(length);
    bf16 *p = cut(&space, shared * WIDE * wide_ * sizeof(bf16)), *grad_s = cut(&space, shared * WIDE * wide_ * sizeof(bf16));
    float *scores = cut(&space, WIDE * wide_ * sizeof(float)), *grad_p = cut(&space, WIDE * wide_ * sizeof(float));
    bf16 *laid = cut(&space, (d > shared * WIDE ? d : shared * WIDE) * WIDE * sizeof(bf16));
    bf16 *q_across = cut(&space, shared * WIDE * d * sizeof(bf16)), *grad_across = cut(&space, shared * WIDE * d * sizeof(bf16));
    float *block = cut(&space, WIDE * WIDE * sizeof(float));
    memset(p, 0, shared * WIDE * wide_ * sizeof(bf16));
    memset(grad_s, 0, shared * WIDE * wide_ * sizeof(bf16));
    for (int64_t h = 0; h < shared; h++) {
        int64_t head = group * shared + h;
        Side q = head_of(a->q, start, a->heads, head, d, 0), grad = head_of(g->grad, start, a->heads, head, d, 0);
        const bf16 *out = head_of(a->out, start, a->heads, head, d, 0).at;
        scores_of(&q, length, d, first, keys->k, count, laid, scores);
        scores_of(&grad, length, d, first, keys->v, count, laid, grad_p);
        for (int64_t i = 0; i < rows; i++) {
            floats dots = {0};
            for (int64_t j = 0; j < d; j += LANES)
                dots += load_wide(out + (first + i) * q.stride + j) * load_wide(grad.at + (first + i) * grad.stride + j);
            float dot = sum_of(dots), lse = a->lse[(start + first + i) * a->heads + head];
            bf16 *to_p = p + (h * WIDE + i) * wide_, *to_s = grad_s + (h * WIDE + i) * wide_;
            for (int64_t j = 0; j < count; j += LANES) {
                floats x = exp_lanes(load(scores + i * wide_ + j) * a->scale - lse);
                x = (floats)_mm512_maskz_mov_ps(seen(a, start, first + i, j), (__m512)x);
                floats y = x * (load(grad_p + i * wide_ + j) - dot) * a->scale;
                _mm256_storeu_si256((__m256i *)(to_p + j), (__m256i)_mm512_cvtneps_pbh((__m512)x));
                _mm256_storeu_si256((__m256i *)(to_s + j), (__m256i)_mm512_cvtneps_pbh((__m512)y));
            }
        }
        bf16 *to = g->q + ((start + first) * a->heads + head) * d;
        for (int64_t column = 0; column < d; column += WIDE) {
            product(grad_s + h * WIDE * wide_, SIDE * wide_, wide_, WIDE, keys->k_across + column * whole, wide_, block, WIDE);
            for (int64_t i = 0; i < rows; i++) {
                __m512 low = _mm512_load_ps(block + i * WIDE), high = _mm512_load_ps(block + i * WIDE + SIDE);
                _mm512_storeu_si512(to + i * q.stride + column, (__m512i)_mm512_cvtne2ps_pbh(high, low));
            }
            Side q_rows = {q.at + first * q.stride, q.stride, 1}, grad_rows = {grad.at + first * grad.stride, grad.stride, 1};
            lay_out(&q_rows, d, rows, column, 1, 1, q_across + (column * shared + h * WIDE) * WIDE, 0);
            lay_out(&grad_rows, d, rows, column, 1, 1, grad_across + (column * shared + h * WIDE) * WIDE, 0);
        }
    }
    add_transposed(grad_s, shared, wide_, q_across, count, d, laid, grad_k);
    add_transposed(p, shared, wide_, grad_across, count, d, laid, grad_v);
}

static int64_t backward(const Attention *a, const Gradients *g, int threads) {
    int64_t d = a->d, most = up(longest(a)), shared = a->heads / a->kv_heads, size = most * d * sizeof(bf16), failed = DONE;
    int64_t block = WIDE * (shared * most * 4 + most * 8 + (d > shared * WIDE ? d : shared * WIDE) * 2 + shared * d * 4 + WIDE * 4);
#pragma omp parallel num_threads(threads)
    {
        char *space = room(0, 7 * size + block + 2048);
        Keys keys = {cut(&space, size), cut(&space, size), cut(&space, size), NULL};
        float *sums[2] = {cut(&space, 2 * size), cut(&space, 2 * size)};
        TileConfig before;
        int64_t documents = all_have(space, &failed) ? a->documents : 0;
        take_tiles(&before);
#pragma omp for schedule(dynamic) collapse(2)
        for (int64_t n = 0; n < documents; n++)
            for (int64_t group = 0; group < a->kv_heads; group++) {
                int64_t start = a->bounds[2 * n], length = a->bounds[2 * n + 1] - start;
                Side k = head_of(a->k, start, a->kv_heads, group, d, 0), v = head_of(a->v, start, a->kv_heads, group, d, 0);
                lay_out_all(&k, length, d, 1, keys.k);
                lay_out_all(&v, length, d, 1, keys.v);
                k.across = 1;
                lay_out_all(&k, d, length, 1, keys.k_across);
                memset(sums[0], 0, 2 * size);
                memset(sums[1], 0, 2 * size);
                for (int64_t first = 0; first < length; first += WIDE)
                    backward_block(a, g, start, length, group, first, &keys, sums[0], sums[1], space);
                for (int which = 0; which < 2; which++) {
                    bf16 *to = (which ? g->v : g->k) + (start * a->kv_heads + group) * d;
                    for (int64_t i = 0; i < length; i++)
                        for (int64_t j = 0; j < d; j += LANES) {
                            __m512 x = _mm512_loadu_ps(sums[which] + i * d + j);
                            _mm256_storeu_si256((__m256i *)(to + i * k.stride + j), (__m256i)_mm512_cvtneps_pbh(x));
                        }
                }
            }
        give_tiles_back(&before);
    }
    return failed;
}
#endif

static int64_t examine(const Attention *a, int64_t threads) {
    if (!has_tiles()) return NO_TILES;
    if (threads < 1 || a->d < 1 || a->d % 32 || a->kv_heads < 1 || a->heads % a->kv_heads) return BAD_SIZE;
    for (int64_t n = 0; n < a->documents; n++) {
        int64_t start = a->bounds[2 * n], end = a->bounds[2 * n + 1];
        if (start < 0 || end < start || end > a->tokens) return BAD_DOCUMENT;
    }
    return DONE;
}

/* Fills out and lse */
int64_t steersman_attend(const Attention *a, int64_t threads) {
    int64_t code = examine(a, threads);
#ifdef __AMX_BF16__
    if (code == DONE) code = forward(a, (int)threads);
#endif
    return code;
}

/* From g->grad, that of a->out: those of q, k and v */
int64_t steersman_attend_backward(const Attention *a, const Gradients *g, int64_t threads) {
    int64_t code = examine(a, threads);
    if (!g->grad || !g->q || !g->k || !g->v) return BAD_SIZE;
#ifdef __AMX_BF16__
    if (code == DONE) code = backward(a, g, (int)threads);
#endif
    return code;
}
