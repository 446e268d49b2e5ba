/* Attention over packed rows, forward and backward: each document by itself, in blocks of 32 queries and 32 keys.
   A block of queries has its scores against all its keys at hand, so the softmax is the plain one. */

#include "blocks.h"

/* LANES numbers of which `left` are there */
static inline __attribute__((always_inline)) ints load_some(const int32_t *x, int64_t left) {
    ints y = {0};
    if (left >= LANES)
        memcpy(&y, x, sizeof y);
    else
        for (int64_t l = 0; l < left; l++) y[l] = x[l];
    return y;
}

/* Which of LANES keys from j on query i sees, all ones; both count within the document */
static inline __attribute__((always_inline)) ints seen(const Attention *a, int64_t start, int64_t i, int64_t j) {
    int64_t left = a->tokens - start - j;
    ints mask = (ints)IN_TURN <= (int32_t)(i - j);
    if (a->branch) {
        ints branch = load_some(a->branch + start + j, left);
        mask &= (branch < 0) | (branch == a->branch[start + i]);
    }
    if (a->window) mask &= load_some(a->position + start + j, left) > a->position[start + i] - (int32_t)a->window;
    return mask;
}

/* Operands of one document's key head, laid out */
typedef struct { Laid *k, *v, *k_across, *v_across; } Keys;

static inline Side head_of(const bf16 *x, int64_t start, int64_t heads, int64_t head, int64_t d, int across) {
    return (Side){x + (start * heads + head) * d, heads * d, across};
}

/* scores [32, up(count)] of 32 queries from `first` with keys 0 to count */
static void scores_of(const Side *q, int64_t length, int64_t d, int64_t first, const Laid *k, int64_t count, Laid *laid, float *scores) {
    lay_out(q, length, d, first, 1, 0, laid, 0);
    for (int64_t j = 0; j < count; j += WIDE) product(first_laid_out(laid, 0), k + j * up(d), d, scores + j, up(count));
}

/* A block of queries' scores -> p, exp(score - largest) in bfloat16, what each row's sum is divided by, and lse */
static void softmax_rows(const Attention *a, int64_t start, int64_t head, int64_t first, int64_t rows, float *scores, bf16 *p, float *inverse) {
    int64_t count = first + rows, wide_ = up(count);
    for (int64_t i = 0; i < rows; i++) {
        float *row = scores + i * wide_;
        const floats none = (floats){0} - INFINITY;
        floats most = none, total = {0};
        for (int64_t j = 0; j < count; j += LANES) {
            floats x = either(seen(a, start, first + i, j), load(row + j) * a->scale, none);
            most = larger(most, x);
            store(row + j, x);
        }
        float top = largest(most);
        for (int64_t j = 0; j < count; j += LANES) {
            floats x = load(row + j);
            x = either(x > none, exp_lanes(x - top), (floats){0});
            total += x;
            store_narrow(p + i * wide_ + j, x);
        }
        float sum = sum_of(total);
        inverse[i] = 1 / sum;
        a->lse[(start + first + i) * a->heads + head] = top + logf(sum);
    }
}

static void forward_block(const Attention *a, int64_t start, int64_t length, int64_t head, int64_t first, const Keys *keys, char *space) {
    int64_t d = a->d, rows = length - first < WIDE ? length - first : WIDE, count = first + rows, wide_ = up(count);
    Laid *laid = cut(&space, WIDE * up(d) * sizeof(Laid)), *p_laid = LIES ? NULL : cut(&space, WIDE * wide_ * sizeof(Laid));
    bf16 *p = cut(&space, WIDE * wide_ * sizeof(bf16)), *to = a->out + ((start + first) * a->heads + head) * d;
    float *scores = cut(&space, WIDE * wide_ * sizeof(float)), *out = cut(&space, WIDE * WIDE * sizeof(float));
    float inverse[WIDE];
    Side q = head_of(a->q, start, a->heads, head, d, 0);
    scores_of(&q, length, d, first, keys->k, count, laid, scores);
    memset(p, 0, WIDE * wide_ * sizeof(bf16));
    softmax_rows(a, start, head, first, rows, scores, p, inverse);
    First weights = first_as_it_lies(p, wide_, wide_, p_laid);
    for (int64_t column = 0; column < d; column += WIDE) {
        product(weights, keys->v_across + column * up(length), wide_, out, WIDE);
        write_block(out, inverse, rows, d - column, to + column, a->heads * d);
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

/* Tasks: each document's key heads */
typedef struct { const Attention *a; const Gradients *g; int64_t failed; Tasks heads; } Heads;

/* A document's key head at a time: its keys and values laid out, then all blocks of queries of the heads that share it */
static void forward_some(void *job, int who) {
    Heads *all = job;
    const Attention *a = all->a;
    int64_t most = up(longest(a)), across = up(a->d), size = most * across * sizeof(Laid), shared = a->heads / a->kv_heads;
    char *space = room(0, 2 * size + WIDE * ((across + most) * sizeof(Laid) + most * 6 + WIDE * 4) + 1024);
    if (no_room(space, who, &all->failed)) return;
    Keys keys = {cut(&space, size), NULL, NULL, cut(&space, size)};
    TileConfig before;
    take_tiles(&before);
    TAKE(&all->heads, task) {
        int64_t n = task / a->kv_heads, group = task % a->kv_heads;
        int64_t start = a->bounds[2 * n], length = a->bounds[2 * n + 1] - start;
        Side k = head_of(a->k, start, a->kv_heads, group, a->d, 0), v = head_of(a->v, start, a->kv_heads, group, a->d, 1);
        lay_out_all(&k, length, a->d, 1, keys.k);
        lay_out_all(&v, a->d, length, 1, keys.v_across);
        for (int64_t head = group * shared; head < (group + 1) * shared; head++)
            for (int64_t first = 0; first < length; first += WIDE)
                forward_block(a, start, length, head, first, &keys, space);
    }
    give_tiles_back(&before);
}

/* sums [count, up(d)] float32 += x^T y over 32 queries of each of `shared` heads: x [shared][32, stride] bfloat16 */
static void add_transposed(const bf16 *x, int64_t shared, int64_t stride, const Laid *y, int64_t count, int64_t d, Laid *laid, float *sums) {
    for (int64_t j = 0; j < count; j += WIDE) {
        for (int64_t h = 0; h < shared; h++) {
            Side s = {x + h * WIDE * stride, stride, 1};
            lay_out(&s, stride, WIDE, j, 1, 0, laid + h * 2 * TILE, 0);
        }
        for (int64_t column = 0; column < d; column += WIDE) {
            Waiting none = {0};
            Part part = {first_laid_out(laid, 1), y + column * shared * WIDE, shared * WIDE};
            block_product(&part, 1, WIDE, sums + j * up(d) + column, up(d), 1, &none);
        }
    }
}

/* What a thread needs for a block of queries of all heads that share a key head, on its way backward */
typedef struct { bf16 *p, *grad_s; float *scores, *grad_p, *block; Laid *laid, *q_across, *grad_across, *s_laid; } Space;

/* Cut from `at`; from NULL, where it ends tells how many bytes it takes */
static Space space_of(char **at, int64_t d, int64_t shared, int64_t most) {
    Space s;
    int64_t across = up(d);
    s.p = cut(at, shared * WIDE * most * sizeof(bf16)), s.grad_s = cut(at, shared * WIDE * most * sizeof(bf16));
    s.scores = cut(at, WIDE * most * sizeof(float)), s.grad_p = cut(at, WIDE * most * sizeof(float));
    s.laid = cut(at, (across > shared * WIDE ? across : shared * WIDE) * WIDE * sizeof(Laid));
    s.q_across = cut(at, shared * WIDE * across * sizeof(Laid)), s.grad_across = cut(at, shared * WIDE * across * sizeof(Laid));
    s.s_laid = cut(at, LIES ? 0 : WIDE * most * sizeof(Laid));
    s.block = cut(at, WIDE * WIDE * sizeof(float));
    return s;
}

/* Scores and gradients of 32 rows' chances of one head -> chances, and gradients of scores, in bfloat16 */
static void backward_rows(const Attention *a, const Side *grad, int64_t start, int64_t head, int64_t first, int64_t rows,
                          const Space *s, bf16 *p, bf16 *grad_s) {
    int64_t d = a->d, count = first + rows, wide_ = up(count);
    const bf16 *out = head_of(a->out, start, a->heads, head, d, 0).at;
    for (int64_t i = 0; i < rows; i++) {
        floats dots = {0};
        for (int64_t j = 0; j < d; j += LANES)
            dots += load_wide(out + (first + i) * grad->stride + j) * load_wide(grad->at + (first + i) * grad->stride + j);
        float dot = sum_of(dots), lse = a->lse[(start + first + i) * a->heads + head];
        for (int64_t j = 0; j < count; j += LANES) {
            floats x = exp_lanes(load(s->scores + i * wide_ + j) * a->scale - lse);
            x = either(seen(a, start, first + i, j), x, (floats){0});
            floats y = x * (load(s->grad_p + i * wide_ + j) - dot) * a->scale;
            store_narrow(p + i * wide_ + j, x);
            store_narrow(grad_s + i * wide_ + j, y);
        }
    }
}

/* 32 queries from `first` of all heads that share a key head: their gradient, and what they add to that of keys and values */
static void backward_block(const Attention *a, const Gradients *g, int64_t start, int64_t length, int64_t group, int64_t first,
                           const Keys *keys, float *grad_k, float *grad_v, const Space *s) {
    int64_t d = a->d, shared = a->heads / a->kv_heads, rows = length - first < WIDE ? length - first : WIDE;
    int64_t count = first + rows, wide_ = up(count), whole = up(length), stride = a->heads * d;
    memset(s->p, 0, shared * WIDE * wide_ * sizeof(bf16));
    memset(s->grad_s, 0, shared * WIDE * wide_ * sizeof(bf16));
    for (int64_t h = 0; h < shared; h++) {
        int64_t head = group * shared + h;
        Side q = head_of(a->q, start, a->heads, head, d, 0), grad = head_of(g->grad, start, a->heads, head, d, 0);
        bf16 *grad_s = s->grad_s + h * WIDE * wide_;
        scores_of(&q, length, d, first, keys->k, count, s->laid, s->scores);
        scores_of(&grad, length, d, first, keys->v, count, s->laid, s->grad_p);
        backward_rows(a, &grad, start, head, first, rows, s, s->p + h * WIDE * wide_, grad_s);
        bf16 *to = g->q + ((start + first) * a->heads + head) * d;
        Side q_rows = {q.at + first * stride, stride, 1}, grad_rows = {grad.at + first * stride, stride, 1};
        First pulled = first_as_it_lies(grad_s, wide_, wide_, s->s_laid);
        for (int64_t column = 0; column < d; column += WIDE) {
            product(pulled, keys->k_across + column * whole, wide_, s->block, WIDE);
            write_block(s->block, NULL, rows, d - column, to + column, stride);
            lay_out(&q_rows, d, rows, column, 1, 1, s->q_across + (column * shared + h * WIDE) * WIDE, 0);
            lay_out(&grad_rows, d, rows, column, 1, 1, s->grad_across + (column * shared + h * WIDE) * WIDE, 0);
        }
    }
    add_transposed(s->grad_s, shared, wide_, s->q_across, count, d, s->laid, grad_k);
    add_transposed(s->p, shared, wide_, s->grad_across, count, d, s->laid, grad_v);
}

/* A document's key head: all its blocks of queries, and the gradients of its keys and values */
static void backward_head(const Attention *a, const Gradients *g, int64_t start, int64_t length, int64_t group,
                          const Keys *keys, float *const sums[2], const Space *space) {
    int64_t d = a->d, across = up(d);
    Side k = head_of(a->k, start, a->kv_heads, group, d, 0), v = head_of(a->v, start, a->kv_heads, group, d, 0);
    lay_out_all(&k, length, d, 1, keys->k);
    lay_out_all(&v, length, d, 1, keys->v);
    k.across = 1;
    lay_out_all(&k, d, length, 1, keys->k_across);
    memset(sums[0], 0, up(length) * across * sizeof(float));
    memset(sums[1], 0, up(length) * across * sizeof(float));
    for (int64_t first = 0; first < length; first += WIDE)
        backward_block(a, g, start, length, group, first, keys, sums[0], sums[1], space);
    for (int which = 0; which < 2; which++) {
        bf16 *to = (which ? g->v : g->k) + (start * a->kv_heads + group) * d;
        for (int64_t i = 0; i < length; i++)
            for (int64_t j = 0; j < d; j += LANES) store_narrow(to + i * k.stride + j, load(sums[which] + i * across + j));
    }
}

static void backward_some(void *job, int who) {
    Heads *all = job;
    const Attention *a = all->a;
    int64_t d = a->d, most = up(longest(a)), shared = a->heads / a->kv_heads, size = most * up(d);
    char *end = NULL;
    space_of(&end, d, shared, most);
    char *at = room(0, (int64_t)(uintptr_t)end + size * (3 * sizeof(Laid) + 2 * sizeof(float)) + 1024);
    if (no_room(at, who, &all->failed)) return;
    Keys keys = {cut(&at, size * sizeof(Laid)), cut(&at, size * sizeof(Laid)), cut(&at, size * sizeof(Laid)), NULL};
    float *sums[2] = {cut(&at, size * sizeof(float)), cut(&at, size * sizeof(float))};
    Space space = space_of(&at, d, shared, most);
    TileConfig before;
    take_tiles(&before);
    TAKE(&all->heads, task) {
        int64_t n = task / a->kv_heads, start = a->bounds[2 * n], length = a->bounds[2 * n + 1] - start;
        backward_head(a, all->g, start, length, task % a->kv_heads, &keys, sums, &space);
    }
    give_tiles_back(&before);
}

static int64_t all_heads(const Attention *a, const Gradients *g, Work work, int64_t threads) {
    Heads all = {a, g, DONE, {.total = a->documents * a->kv_heads, .each = 1}};
    together(threads, work, &all);
    return all.failed;
}

static int64_t examine(const Attention *a, int64_t threads) {
    if (!has_products()) return NO_TILES;
    if (threads < 1 || a->d < 1 || a->d % UNIT || a->kv_heads < 1 || a->heads % a->kv_heads) return BAD_SIZE;
    for (int64_t n = 0; n < a->documents; n++) {
        int64_t start = a->bounds[2 * n], end = a->bounds[2 * n + 1];
        if (start < 0 || end < start || end > a->tokens) return BAD_DOCUMENT;
    }
    return DONE;
}

/* Fills out and lse */
int64_t steersman_attend(const Attention *a, int64_t threads) {
    int64_t code = examine(a, threads);
    return code == DONE ? all_heads(a, NULL, forward_some, threads) : code;
}

/* From g->grad, that of a->out: those of q, k and v */
int64_t steersman_attend_backward(const Attention *a, const Gradients *g, int64_t threads) {
    int64_t code = examine(a, threads);
    if (!g->grad || !g->q || !g->k || !g->v) return BAD_SIZE;
    return code == DONE ? all_heads(a, g, backward_some, threads) : code;
}
