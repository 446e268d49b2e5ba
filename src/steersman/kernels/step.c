/* One decode step of a decoder-only transformer for a few sequences: every layer, from token ids to logits.

   Compiled when an engine is loaded (native.py). Few sequences at a time are bounded by reading the weights, so each
   weight is read once for all of them, and the whole step is one parallel region: threads share each
   loop (meet.h), and what is cheap is computed by each thread for itself instead. Weights are bfloat16, or int8 with a
   scale per row, which is widened to bfloat16 exactly. Sums and the residual stream are float32. A row of a product
   does not depend on how many rows there are within one kind of kernel. */

#include "attend.h"
#include "crew.h"
#include "meet.h"
#ifdef __AVX512BF16__
#include "packed.h"
#else
#include "panels.h"
#endif

/* x [d] -> out [d], normalised by its root mean square and weighted */
static void norm(const Model *m, const float *x, const bf16 *weight, int64_t d, float *out) {
    float sum = 0;
    for (int64_t i = 0; i < d; i++) sum += x[i] * x[i];
    float inverse = 1.0f / sqrtf(sum / d + m->eps);
    for (int64_t i = 0; i < d; i++) out[i] = x[i] * inverse * (m->norm_offset + wide(weight[i]));
}
/* What a product reads: x [n, k] in bfloat16, each thread its own, and packed where `packs`. Few sequences are packed by
   each thread for itself; of more, each packs some for all. */
typedef struct { bf16 *x; Packed *packed, *widened; int n, packs, together, block; Place *at; } Input;

/* Sequences SIDE * group..: x [n, k], normalised where `weight` is given; row has room for k */
static void take_group(const Model *m, Input *in, const float *x, int64_t k, const bf16 *weight, int group, float *row) {
    int end = (group + 1) * SIDE < in->n ? (group + 1) * SIDE : in->n;
    for (int i = group * SIDE; i < end; i++) {
        const float *from = x + i * k;
        if (weight) norm(m, from, weight, k, row), from = row;
        for (int64_t j = 0; j < k; j++) in->x[i * k + j] = narrow(from[j]);
    }
    if (in->packs) pack(in->x, k, in->n, group, in->packed);
}

static void take(const Model *m, Input *in, const float *x, int64_t k, const bf16 *weight, float *row) {
    int groups = (int)groups_of(in->n);
    if (in->together) {
        EACH(in->at, group, groups) take_group(m, in, x, k, weight, (int)group, row);
        meet(in->at);
    } else if (!is_over(in->at))
        for (int group = 0; group < groups; group++) take_group(m, in, x, k, weight, group, row);
}

/* acc[r * MOST + i] for weight rows row.. row + rows */
static void block(const Matrix *w, int64_t row, int rows, const Input *in, float *acc) {
    int64_t k = w->columns;
    const bf16 *weights = (const bf16 *)w->values + row * k;
    const int8_t *values = w->scales ? (const int8_t *)w->values + row * k : NULL;
#ifndef __AVX512BF16__
    if (in->packs) {
        const char *next = values ? (const char *)(values + rows * k) : (const char *)(weights + rows * k);
        int64_t bytes = values ? sizeof *values : sizeof *weights;
        if (values) widen_int8_rows(values, k, rows, in->widened);
        else widen_rows(weights, k, rows, in->widened);
        block_of_panels(in->widened, in->packed, k, rows, in->n, (Soon){next, rows, k * bytes, bytes}, acc);
    } else
#endif
    {
        if (values) widen(values, rows * k, (bf16 *)in->widened), weights = (bf16 *)in->widened;
        int64_t soon = values ? 0 : BLOCK * k; /* what was widened, is near */
#if defined(__AMX_BF16__)
        if (in->packs && rows == BLOCK) block_in_tiles(weights, in->packed, k, in->n, acc);
        else
#elif defined(__AVX512BF16__)
        if (in->packs) block_in_vectors(weights, k, in->packed, k, rows, in->n, soon, acc);
        else
#endif
            products(weights, in->x, k, rows, in->n, soon, acc);
    }
    if (w->scales)
        for (int r = 0; r < rows; r++)
            for (int i = 0; i < in->n; i++) acc[r * MOST + i] *= w->scales[row + r];
}

static inline int64_t blocks_in(const Input *in, int64_t rows) { return (rows + in->block - 1) / in->block; }

static inline int rows_at(const Input *in, int64_t row, int64_t total) {
    return total - row < in->block ? (int)(total - row) : in->block;
}

/* One head of one sequence: normalised where the model does that, rotated to its position, in bfloat16 */
static void place(const Model *m, const float *x, const bf16 *weight, const bf16 *cos, const bf16 *sin, float *row, bf16 *out) {
    int64_t d = m->head_dim, half = d / 2;
    if (weight) norm(m, x, weight, d, row), x = row;
    for (int64_t j = 0; j < half; j++) {
        out[j] = narrow(x[j] * wide(cos[j]) + x[j + half] * wide(sin[j]));
        out[j + half] = narrow(x[j + half] * wide(cos[j + half]) + x[j] * wide(sin[j + half]));
    }
}

/* Row `at` of keys or values [places, d]: as it is, or as the nearest 127ths of its largest number */
static void keep(const bf16 *x, int64_t d, int64_t at, void *rows, float *scales) {
    if (!scales) {
        memcpy((bf16 *)rows + at * d, x, d * sizeof *x);
        return;
    }
    uint16_t bits = 0; /* sizes are ordered as their bits are; on `fmaxf` here gcc 12 for ARM breaks down */
    for (int64_t j = 0; j < d; j++) bits = (x[j] & 0x7fff) > bits ? x[j] & 0x7fff : bits;
    float most = wide(bits), inverse = most > 0 ? 127.0f / most : 0.0f;
    scales[at] = most / 127.0f;
    int8_t *to = (int8_t *)rows + at * d;
    for (int64_t j = 0; j < d; j++) to[j] = (int8_t)rintf(wide(x[j]) * inverse);
}

/* Keys or values of a sequence's head, row `first` of `places` a head */
static inline Rows rows_from(void *at, float *scales, int64_t first, int64_t d) {
    return (Rows){(char *)at + first * d * (scales ? 1 : 2), scales ? scales + first : 0};
}

#ifndef __AVX512F__
/* `put` for four rows and up to four sequences */
static inline __attribute__((always_inline)) void put_square(
    const float *acc, int add, const bf16 *bias, int n, float *out, int64_t stride) {
    quad rows[4], turned[4];
    UNROLL
    for (int r = 0; r < 4; r++) memcpy(rows + r, acc + r * MOST, sizeof *rows);
    turn_quads(rows, turned);
    for (int i = 0; i < n && i < 4; i++) {
        quad x = turned[i], there;
        if (bias) x += (quad){wide(bias[0]), wide(bias[1]), wide(bias[2]), wide(bias[3])};
        memcpy(&there, out + i * stride, sizeof there);
        if (add) x += there;
        memcpy(out + i * stride, &x, sizeof x);
    }
}
#endif

/* Rows of a product, acc[r * MOST + i] -> out[i * stride + r], added to what is there, or with a bias */
static void put(const float *acc, int rows, int n, int add, const bf16 *bias, float *out, int64_t stride) {
    int r = 0;
#ifdef __AVX512F__
    for (; r + LANES <= rows; r += LANES) {
        floats more = {0};
        if (bias) more = load_wide(bias + r);
        for (int first = 0; first < n; first += LANES) {
            __m512i in[LANES], turned[LANES];
            for (int i = 0; i < LANES; i++) in[i] = _mm512_loadu_si512(acc + (r + i) * MOST + first);
            transpose(in, turned);
            for (int i = 0; i < LANES && first + i < n; i++) {
                float *to = out + (first + i) * stride + r;
                floats x = (floats)turned[i] + more;
                if (add) x += load(to);
                memcpy(to, &x, sizeof x);
            }
        }
    }
#else
    for (; r + 4 <= rows; r += 4)
        for (int i = 0; i < n; i += 4) put_square(acc + r * MOST + i, add, bias ? bias + r : 0, n - i, out + i * stride + r, stride);
#endif
    for (; r < rows; r++)
        for (int i = 0; i < n; i++)
            out[i * stride + r] = acc[r * MOST + i] + (bias ? wide(bias[r]) : 0.0f) + (add ? out[i * stride + r] : 0.0f);
}

static inline floats activate(const Model *m, floats x) {
    if (!m->gelu) return x / (1.0f + exp_lanes(-x));
    floats inner = 0.7978845608f * (x + 0.044715f * x * x * x); /* 0.5 x (1 + tanh) = x / (1 + exp(-2 inner)) */
    return x / (1.0f + exp_lanes(-2.0f * inner));
}

/* The buffers that all threads share */
typedef struct { float *x, *qkv, *attended, *y, *mid; bf16 *input; Packed *packed, *packed_mid; } Shared;

/* The first position that one at `last` attends to */
static inline int64_t first_seen(const Layer *l, int64_t last) {
    return l->window && last >= l->window ? last - l->window + 1 : 0;
}

static void attention(const Model *m, const Layer *l, const int64_t *positions, int n, Shared *s, Input *in,
                      float *row, float *scores) {
    int64_t d = m->head_dim, heads = m->heads, kv = m->kv_heads, all = heads + 2 * kv, group = heads / kv;
    float acc[BLOCK * MOST] __attribute__((aligned(64)));
    take(m, in, s->x, m->hidden, l->input_norm, row);
    EACH(in->at, b, blocks_in(in, l->qkv.rows)) {
        int64_t r = b * in->block;
        int rows = rows_at(in, r, l->qkv.rows);
        block(&l->qkv, r, rows, in, acc);
        put(acc, rows, n, 0, l->bias ? l->bias + r : 0, s->qkv + r, all * d);
    }
    meet(in->at);
    EACH(in->at, u, n * kv) {
        int64_t i = u / kv, which = u % kv, last = positions[i], first = first_seen(l, last);
        float *of = s->qkv + i * all * d;
        const bf16 *cos = l->cos + (last + m->turns[i]) * d, *sin = l->sin + (last + m->turns[i]) * d;
        int64_t begin = u * m->capacity;
        bf16 *queries = (bf16 *)in->widened, *one = queries + group * d;
        float *value = of + (heads + kv + which) * d;
        for (int64_t g = 0; g < group; g++)
            place(m, of + (which * group + g) * d, l->q_norm, cos, sin, row, queries + g * d);
        place(m, of + (heads + which) * d, l->k_norm, cos, sin, row, one);
        keep(one, d, begin + last, l->keys, l->key_scales);
        for (int64_t j = 0; j < d; j++) one[j] = narrow(value[j]);
        keep(one, d, begin + last, l->values, l->value_scales);
        int64_t after = u + 1 < n * kv ? first_seen(l, positions[(u + 1) / kv]) : 0;
        attend(queries, rows_from(l->keys, l->key_scales, begin + first, d),
               rows_from(l->values, l->value_scales, begin + first, d), d, last - first + 1, (int)group, m->scale, scores,
               s->attended + (i * heads + which * group) * d,
               rows_from(l->keys, l->key_scales, begin + m->capacity + after, d).at);
    }
    meet(in->at);
}

/* x += w . input, normalised first where `weight` is given */
static void project(const Model *m, const Matrix *w, const bf16 *weight, int n, Shared *s, Input *in, float *row) {
    int64_t d = m->hidden;
    float acc[BLOCK * MOST] __attribute__((aligned(64)));
    EACH(in->at, b, blocks_in(in, d)) {
        int64_t r = b * in->block;
        int rows = rows_at(in, r, d);
        block(w, r, rows, in, acc);
        put(acc, rows, n, !weight, 0, (weight ? s->y : s->x) + r, d);
    }
    meet(in->at);
    if (!weight) return;
    EACH(in->at, i, n) {
        norm(m, s->y + i * d, weight, d, row);
        for (int64_t j = 0; j < d; j++) s->x[i * d + j] += row[j];
    }
    meet(in->at);
}

static void mlp(const Model *m, const Layer *l, int n, Shared *s, Input *in, float *row) {
    int64_t wide_ = m->intermediate;
    float gate[BLOCK * MOST] __attribute__((aligned(64))), up[BLOCK * MOST] __attribute__((aligned(64)));
    take(m, in, s->x, m->hidden, m->sandwich ? l->pre_mlp_norm : l->post_norm, row);
    EACH(in->at, b, blocks_in(in, wide_)) {
        int64_t r = b * in->block;
        int rows = rows_at(in, r, wide_);
        block(&l->gate_up, r, rows, in, gate);
        block(&l->gate_up, wide_ + r, rows, in, up);
        for (int o = 0; o < rows; o++)
            for (int i = 0; i < n; i += LANES) { /* lanes beyond n hold anything */
                floats y = activate(m, load(gate + o * MOST + i)) * load(up + o * MOST + i);
                memcpy(gate + o * MOST + i, &y, sizeof y);
            }
        if (in->packs) pack_rows(gate, r, wide_, n, s->packed_mid);
        else put(gate, rows, n, 0, 0, s->mid + r, wide_);
    }
    meet(in->at);
    Input middle = *in;
    middle.packed = s->packed_mid;
    if (!in->packs) take(m, in, s->mid, wide_, 0, row);
    in = &middle;
    project(m, &l->down, m->sandwich ? l->post_mlp_norm : 0, n, s, in, row);
}

int64_t steersman_most(void) { return MOST; }

static int64_t widest(const Model *m) {
    int64_t k = m->hidden > m->intermediate ? m->hidden : m->intermediate;
    return m->heads * m->head_dim > k ? m->heads * m->head_dim : k;
}

/* Bytes of scratch for `threads` threads and sequences of up to `longest` tokens. */
static int64_t thread_bytes(const Model *m, int64_t longest) {
    int64_t k = widest(m);
    int64_t bytes = MOST * k * 2 + (MOST + BLOCK) * k * sizeof(Packed) + 4 * (k + TOGETHER * (longest + LANES));
    return (bytes + 4095) / 4096 * 4096;
}

static int64_t shared_bytes(const Model *m) {
    int64_t d = m->head_dim, k = widest(m);
    int64_t floats_ = 2 * m->hidden + (2 * m->heads + 2 * m->kv_heads) * d + m->intermediate;
    return (MOST * (4 * floats_ + 2 * k + sizeof(Packed) * (k + m->intermediate)) + 4095) / 4096 * 4096;
}

int64_t steersman_scratch(const Model *m, int64_t threads) {
    return shared_bytes(m) + 4096 + threads * thread_bytes(m, m->capacity);
}

typedef struct {
    const Model *m;
    const int64_t *ids, *positions;
    int n, threads;
    Shared s;
    char *own; /* of the first thread */
    float *logits;
    Meeting meeting;
} Step;

static void step_together(void *all, int who) {
    Step *job = all;
    const Model *m = job->m;
    const int64_t *ids = job->ids, *positions = job->positions;
    int n = job->n;
    Shared s = job->s;
    float *logits = job->logits;
    int64_t d = m->hidden, vocabulary = m->head.rows, longest = m->capacity, k = widest(m);
    Place place = come_to(&job->meeting, who, job->threads);
    Input in = {.at = &place};
    in.n = n;
    in.packs = m->packed_from && n >= m->packed_from;
    in.block = in.packs ? BLOCK : FEW_ROWS;
    in.together = in.packs && n > SIDE;
    in.x = (bf16 *)(job->own + who * thread_bytes(m, longest));
    in.packed = (Packed *)(in.x + k * MOST);
    in.widened = in.packed + k * MOST;
    float *row = (float *)(in.widened + BLOCK * k), *scores = row + k;
    if (in.together) in.x = s.input, in.packed = s.packed;
    float acc[BLOCK * MOST] __attribute__((aligned(64)));
#ifdef __AMX_BF16__
    TileConfig before;
    if (in.packs) take_tiles(&before);
#endif
    EACH(&place, i, n)
        for (int64_t j = 0; j < d; j++) s.x[i * d + j] = wide(m->embed[ids[i] * d + j]) * m->embed_scale;
    meet(&place);
    for (int64_t layer = 0; layer < m->layers; layer++) {
        const Layer *l = m->layer + layer;
        attention(m, l, positions, n, &s, &in, row, scores);
        take(m, &in, s.attended, m->heads * m->head_dim, 0, row);
        project(m, &l->out, m->sandwich ? l->post_norm : 0, n, &s, &in, row);
        mlp(m, l, n, &s, &in, row);
    }
    take(m, &in, s.x, d, m->final_norm, row);
    EACH(&place, b, blocks_in(&in, vocabulary)) {
        int64_t r = b * in.block;
        int rows = rows_at(&in, r, vocabulary);
        block(&m->head, r, rows, &in, acc);
        put(acc, rows, n, 0, 0, logits + r, vocabulary);
    }
    meet(&place);
#ifdef __AMX_BF16__
    if (in.packs) give_tiles_back(&before);
#endif
}

/* ids, positions [n], n <= MOST; logits [n, vocabulary] float32; scratch of `bytes` */
int64_t steersman_step(const Model *m, const int64_t *ids, const int64_t *positions, int64_t n, char *scratch,
                       int64_t bytes, float *logits, int64_t threads) {
    Shared s;
    int64_t d = m->hidden, vocabulary = m->head.rows, longest = m->capacity;
#ifdef __AMX_BF16__
    if (m->packed_from && !has_tiles()) return NO_TILES;
#endif
    if (n < 1 || n > MOST || n > m->slots || threads < 1 || bytes < steersman_scratch(m, threads)) return BAD_SIZE;
    for (int64_t i = 0; i < n; i++) {
        if (ids[i] < 0 || ids[i] >= vocabulary) return BAD_TOKEN;
        if (positions[i] < 0 || positions[i] >= longest) return BAD_POSITION;
    }
    s.x = (float *)scratch;
    s.y = s.x + MOST * d;
    s.qkv = s.y + MOST * d;
    s.attended = s.qkv + MOST * (m->heads + 2 * m->kv_heads) * m->head_dim;
    s.mid = s.attended + MOST * m->heads * m->head_dim;
    int64_t k = widest(m);
    s.input = (bf16 *)(s.mid + MOST * m->intermediate);
    s.packed = (Packed *)(s.input + MOST * k);
    s.packed_mid = s.packed + MOST * k;
    char *own = scratch + shared_bytes(m);
    Share shares[threads];
    memset(shares, 0, sizeof shares);
    Step job = {m, ids, positions, (int)n, (int)threads, s, own, logits, {.share = shares}};
    together(threads, step_together, &job);
    return DONE;
}
