/* Attention of a chunk of a prompt over a sequence's cache, its own keys and values among them. The query heads that
   share a key head are rows of one operand, so that each key is laid out once for all of them; keys come in blocks, and a
   row's softmax goes on from block to block by its largest score so far (Milakov and Gimelshein 2018). Blocks begin at the
   same keys for every chunk: a row does not depend on how its prompt is cut.

   Why so: decision 93 in docs/LOG.md. */

#include "blocks.h"

#define NEAR_KEYS (256 * 1024) /* bytes of a block's keys and values, laid out: they stay in the second cache */
#define MOST_KEYS 512

/* q, out [n * size, heads, d]; keys, values [n, kv_heads, capacity, d] in bfloat16, or in int8 with scales [n, kv_heads,
   capacity]. Queries are at positions start.. start + size, and see a `window` of keys, theirs among them (0: all). */
typedef struct {
    const bf16 *q;
    bf16 *out;
    const void *keys, *values;
    const float *key_scales, *value_scales;
    int64_t n, size, heads, kv_heads, d, capacity, start, window;
    float scale;
} Cached;

static int64_t keys_at_once(int64_t d) {
    int64_t keys = NEAR_KEYS / (2 * up(d) * (int64_t)sizeof(Laid)) / WIDE * WIDE;
    return keys > MOST_KEYS ? MOST_KEYS : keys < WIDE ? WIDE : keys;
}

/* A thread's room. rows [count, up(d)]: queries, and their sums of values; `top` and `total` of each row's softmax */
typedef struct { bf16 *rows, *p, *widened; float *sums, *top, *total, *scores; Laid *q, *p_laid, *k, *v; } Space;

static Space space_of(char **at, const Cached *a, int64_t most) {
    Space s;
    int64_t across = up(a->d), keys = keys_at_once(a->d);
    s.rows = cut(at, most * a->d * sizeof(bf16)), s.sums = cut(at, most * across * sizeof(float));
    s.top = cut(at, most * sizeof(float)), s.total = cut(at, most * sizeof(float));
    s.scores = cut(at, WIDE * keys * sizeof(float)), s.p = cut(at, WIDE * keys * sizeof(bf16));
    s.q = cut(at, most * across * sizeof(Laid)), s.p_laid = cut(at, LIES ? 0 : WIDE * keys * sizeof(Laid));
    s.k = cut(at, keys * across * sizeof(Laid)), s.v = cut(at, keys * across * sizeof(Laid));
    s.widened = cut(at, a->key_scales ? keys * a->d * sizeof(bf16) : 0);
    return s;
}

/* Keys or values [count, d] from row `first` on: as they lie, or each times its scale in `to` */
static const bf16 *in_bf16(const void *rows, const float *scales, int64_t first, int64_t count, int64_t d, bf16 *to) {
    if (!scales) return (const bf16 *)rows + first * d;
    const int8_t *from = (const int8_t *)rows + first * d;
    for (int64_t i = 0; i < count; i++)
        for (int64_t j = 0; j < d; j += LANES) {
            typedef int8_t eights __attribute__((vector_size(LANES)));
            eights x;
            memcpy(&x, from + i * d + j, sizeof x);
            store_narrow(to + i * d + j, __builtin_convertvector(x, floats) * scales[first + i]);
        }
    return to;
}

/* Scores of a row with keys from j on, of which it sees those from `first` to `last` -> p, its chances relative to the
   largest so far. Returns what earlier sums have to be multiplied by. */
static inline __attribute__((always_inline)) float softmax_on(
    float *scores, int64_t count, int64_t j, int64_t first, int64_t last, float scale, bf16 *p, float *top, float *total) {
    const ints order = IN_TURN;
    const floats none = (floats){0} - INFINITY;
    int masked = first > j || last < j + count - 1;
    floats most = none, sum = {0};
    for (int64_t t = 0; t < count; t += LANES) {
        floats x = load(scores + t) * scale;
        if (masked) x = either((order >= (int32_t)(first - j - t)) & (order <= (int32_t)(last - j - t)), x, none);
        most = larger(most, x);
        store(scores + t, x);
    }
    float before = *top, now = largest(most);
    now = now > before ? now : before;
    for (int64_t t = 0; t < count; t += LANES) {
        floats x = load(scores + t);
        x = masked ? either(x > none, exp_lanes(x - now), (floats){0}) : exp_lanes(x - now);
        sum += x;
        store_narrow(p + t, x);
    }
    float factor = now > before ? exp_(before - now) : 1.0f;
    *top = now, *total = *total * factor + sum_of(sum);
    return factor;
}

/* Rows r.. r + 32 of a key head's queries with `count` keys from j on, laid out */
static void add_block(const Cached *a, const Space *s, int64_t r, int64_t rows, int64_t token, int64_t j, int64_t count) {
    int64_t group = a->heads / a->kv_heads, wide_ = up(count), across = up(a->d);
    int64_t lowest = a->start + token + r / group, highest = a->start + token + (r + rows - 1) / group;
    if (j > highest || (a->window && j + count <= lowest - a->window + 1)) return;
    First q = first_laid_out(s->q + r * across, 0);
    for (int64_t t = 0; t < wide_; t += WIDE) product(q, s->k + t * across, a->d, s->scores + t, wide_);
    for (int64_t i = 0; i < rows; i++) {
        int64_t last = a->start + token + (r + i) / group, first = a->window ? last - a->window + 1 : 0;
        float *sums = s->sums + (r + i) * across;
        float factor = softmax_on(s->scores + i * wide_, wide_, j, first, last, a->scale, s->p + i * wide_,
                                  s->top + r + i, s->total + r + i);
        if (factor != 1)
            for (int64_t c = 0; c < across; c += LANES) store(sums + c, load(sums + c) * factor);
    }
    First weights = first_as_it_lies(s->p, wide_, wide_, s->p_laid);
    for (int64_t column = 0; column < a->d; column += WIDE) {
        Waiting none = {0};
        Part part = {weights, s->v + column * wide_, wide_};
        block_product(&part, 1, WIDE, s->sums + r * across + column, across, 1, &none);
    }
}

/* Tokens token.. token + count of sequence i, all query heads of one key head */
static void attend_part(const Cached *a, int64_t i, int64_t which, int64_t token, int64_t count, const Space *s) {
    int64_t d = a->d, group = a->heads / a->kv_heads, rows = count * group, across = up(d);
    int64_t at = ((i * a->size + token) * a->heads + which * group) * d, head = (i * a->kv_heads + which) * a->capacity;
    int64_t end = a->start + token + count, seen = a->start + token - a->window + 1, step = keys_at_once(d);
    const char *keys = (const char *)a->keys + head * d * (a->key_scales ? 1 : 2);
    const char *values = (const char *)a->values + head * d * (a->key_scales ? 1 : 2);
    const float *key_scales = a->key_scales ? a->key_scales + head : NULL;
    const float *value_scales = a->key_scales ? a->value_scales + head : NULL;
    for (int64_t t = 0; t < count; t++) memcpy(s->rows + t * group * d, a->q + at + t * a->heads * d, group * d * sizeof(bf16));
    Side q = {s->rows, d, 0};
    lay_out(&q, rows, d, 0, blocks_of(rows), 0, s->q, WIDE * across);
    memset(s->sums, 0, up(rows) * across * sizeof(float));
    for (int64_t r = 0; r < rows; r++) s->top[r] = -INFINITY, s->total[r] = 0;
    memset(s->p, 0, WIDE * step * sizeof(bf16)); /* rows that there are not, are multiplied as well */
    for (int64_t j = a->window && seen > 0 ? seen / step * step : 0; j < end; j += step) {
        int64_t some = end - j < step ? end - j : step;
        Side k = {in_bf16(keys, key_scales, j, some, d, s->widened), d, 0};
        lay_out_all(&k, some, d, 1, s->k);
        Side v = {in_bf16(values, value_scales, j, some, d, s->widened), d, 1};
        lay_out_all(&v, d, some, 1, s->v);
        for (int64_t r = 0; r < rows; r += WIDE) add_block(a, s, r, rows - r < WIDE ? rows - r : WIDE, token, j, some);
    }
    for (int64_t r = 0; r < rows; r++) {
        bf16 *to = a->out + at + r / group * a->heads * d + r % group * d;
        for (int64_t c = 0; c < d; c += LANES) store_narrow(to + c, load(s->sums + r * across + c) * (1 / s->total[r]));
    }
}

/* Tokens of a task: a key head's keys are laid out once for each part of its queries, so there are no more than threads need */
static int64_t part_of(const Cached *a, int64_t threads) {
    int64_t tasks = a->n * a->kv_heads, parts = 1;
    while (tasks < 4 * threads && tasks * parts % threads) parts++;
    return (a->size + parts - 1) / parts;
}

static int64_t bytes_of(const Cached *a, int64_t part) {
    char *end = NULL;
    space_of(&end, a, up(part * (a->heads / a->kv_heads)));
    return (int64_t)(uintptr_t)end + 64;
}

/* Tasks: parts of each sequence's key heads */
typedef struct { const Cached *a; int64_t part, parts, failed; Tasks tasks; } CachedParts;

static void attend_some(void *job, int who) {
    CachedParts *all = job;
    const Cached *a = all->a;
    int64_t part = all->part;
    char *at = room(0, bytes_of(a, part));
    if (no_room(at, who, &all->failed)) return;
    Space space = space_of(&at, a, up(part * (a->heads / a->kv_heads)));
    TileConfig before;
    take_tiles(&before);
    TAKE(&all->tasks, task) {
        int64_t head = task / all->parts, token = task % all->parts * part;
        attend_part(a, head / a->kv_heads, head % a->kv_heads, token, a->size - token < part ? a->size - token : part, &space);
    }
    give_tiles_back(&before);
}

static int64_t attend_cached(const Cached *a, int64_t threads) {
    if (!has_products()) return NO_TILES;
    if (threads < 1 || a->n < 1 || a->size < 1 || a->d < 1 || a->d % UNIT || a->kv_heads < 1 || a->heads % a->kv_heads)
        return BAD_SIZE;
    if (a->start < 0 || a->window < 0 || a->start + a->size > a->capacity) return BAD_POSITION;
    int64_t part = part_of(a, threads), parts = (a->size + part - 1) / part;
    CachedParts all = {a, part, parts, DONE, {.total = a->n * a->kv_heads * parts, .each = 1}};
    together(threads, attend_some, &all);
    return all.failed;
}

/* Rows of q are those of n sequences, one after the other; how: {scale} */
int64_t steersman_attend_cached(const bf16 *q, bf16 *out, const bf16 *keys, const bf16 *values, int64_t rows, int64_t heads,
                                int64_t d, int64_t n, int64_t kv_heads, int64_t capacity, int64_t start, int64_t window,
                                const float *how, int64_t threads) {
    if (n < 1 || rows % n) return BAD_SIZE;
    Cached a = {q, out, keys, values, NULL, NULL, n, rows / n, heads, kv_heads, d, capacity, start, window, how[0]};
    return attend_cached(&a, threads);
}

int64_t steersman_attend_cached_int8(const bf16 *q, bf16 *out, const int8_t *keys, const int8_t *values,
                                     const float *key_scales, const float *value_scales, int64_t rows, int64_t heads,
                                     int64_t d, int64_t n, int64_t kv_heads, int64_t capacity, int64_t start,
                                     int64_t window, const float *how, int64_t threads) {
    if (n < 1 || rows % n) return BAD_SIZE;
    Cached a = {q, out, keys, values, key_scales, value_scales, n, rows / n, heads, kv_heads, d, capacity, start, window, how[0]};
    return attend_cached(&a, threads);
}

/* Bytes that all threads together keep for chunks of `size` tokens of one sequence */
int64_t steersman_cached_room(int64_t size, int64_t heads, int64_t kv_heads, int64_t d, int64_t int8, int64_t threads) {
    static const float scale;
    Cached a = {.n = 1, .size = size, .heads = heads, .kv_heads = kv_heads, .d = d, .key_scales = int8 ? &scale : NULL};
    return threads * bytes_of(&a, part_of(&a, threads));
}
