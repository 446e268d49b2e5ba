/* What lies between the matrix products of a decoder layer, forward and backward: normalisation, rotary positions,
   the gated activation, and the softmax over the vocabulary. Tensors are bfloat16, sums float32; rows that are summed
   are dealt evenly, so sums depend on the number of threads alone, and not on which of them computes. */

#include <stdlib.h>
#include "common.h"
#include "crew.h"

/* `work` for rows 0..total, which threads take from `rows` of its struct */
#define BY_ROWS(total, least, work, ...)                          \
    Tasks rows = rows_in_chunks(total, least, threads);           \
    together(threads, work, &(struct work){__VA_ARGS__, &rows}); \
    return DONE

struct norm_rows { const bf16 *x, *weight; bf16 *out; float *inverse; int64_t d; float offset, eps; Tasks *rows; };

static void norm_rows(void *job, int who) {
    const struct norm_rows s = *(const struct norm_rows *)job;
    int64_t d = s.d;
    (void)who;
    TAKE(s.rows, i) {
        const bf16 *from = s.x + i * d;
        floats squares = {0};
        for (int64_t j = 0; j < d; j += LANES) {
            floats y = load_wide(from + j);
            squares += y * y;
        }
        float inverse = s.inverse[i] = 1.0f / sqrtf(sum_of(squares) / d + s.eps);
        for (int64_t j = 0; j < d; j += LANES)
            store_narrow(s.out + i * d + j, load_wide(from + j) * inverse * (load_wide(s.weight + j) + s.offset));
    }
}

/* out = x / rms(x) * (weight + offset); inverse [n] keeps 1 / rms. x, out [n, d] */
int64_t steersman_norm(const bf16 *x, const bf16 *weight, bf16 *out, float *inverse, int64_t n, int64_t d,
                    const float *offset_eps, int64_t threads) {
    if (n < 0 || d < 1 || d % UNIT || threads < 1) return BAD_SIZE;
    BY_ROWS(n, 1, norm_rows, x, weight, out, inverse, d, offset_eps[0], offset_eps[1]);
}

/* A part for each thread's sum of what rows add to the weight's gradient */
struct norm_parts {
    const bf16 *grad, *x, *weight;
    const float *inverse;
    bf16 *grad_x;
    float *sums;
    int64_t n, d, parts;
    float offset;
    Tasks *rows;
};

static void norm_parts(void *job, int who) {
    const struct norm_parts s = *(const struct norm_parts *)job;
    int64_t d = s.d, each = s.n / s.parts, more = s.n % s.parts;
    (void)who;
    TAKE(s.rows, part) {
        float *mine = s.sums ? s.sums + part * d : NULL;
        int64_t first = part * each + (part < more ? part : more), end = first + each + (part < more);
        for (int64_t i = first; i < end; i++) {
            const bf16 *from = s.x + i * d, *pulled = s.grad + i * d;
            float inverse = s.inverse[i];
            floats along = {0};
            for (int64_t j = 0; j < d; j += LANES) {
                floats product = load_wide(pulled + j) * load_wide(from + j) * inverse;
                if (mine) store(mine + j, load(mine + j) + product);
                along += product * (load_wide(s.weight + j) + s.offset);
            }
            float mean = sum_of(along) / d;
            for (int64_t j = 0; j < d; j += LANES) {
                floats straight = load_wide(pulled + j) * (load_wide(s.weight + j) + s.offset);
                store_narrow(s.grad_x + i * d + j, (straight - load_wide(from + j) * (inverse * mean)) * inverse);
            }
        }
    }
}

/* From grad [n, d], that of the output: grad_x [n, d] and, unless NULL, grad_weight [d] float32 */
int64_t steersman_norm_backward(const bf16 *grad, const bf16 *x, const bf16 *weight, const float *inverse, bf16 *grad_x,
                             float *grad_weight, int64_t n, int64_t d, const float *offset_eps, int64_t threads) {
    if (n < 0 || d < 1 || d % UNIT || threads < 1) return BAD_SIZE;
    float *parts = grad_weight ? aligned_alloc(64, threads * d * sizeof(float)) : NULL;
    if (grad_weight && !parts) return NO_MEMORY;
    if (parts) memset(parts, 0, threads * d * sizeof(float));
    Tasks each = {.total = threads, .each = 1};
    together(threads, norm_parts, &(struct norm_parts){grad, x, weight, inverse, grad_x, parts, n, d, threads, offset_eps[0], &each});
    if (!parts) return DONE;
    memset(grad_weight, 0, d * sizeof(float));
    for (int64_t t = 0; t < threads; t++)
        for (int64_t j = 0; j < d; j++) grad_weight[j] += parts[t * d + j];
    free(parts);
    return DONE;
}

struct rotate_rows { const bf16 *x, *cos, *sin; bf16 *out; int64_t heads, d, stride; float low, high; Tasks *rows; };

static void rotate_rows(void *job, int who) {
    const struct rotate_rows s = *(const struct rotate_rows *)job;
    int64_t d = s.d, half = d / 2;
    (void)who;
    TAKE(s.rows, i)
        for (int64_t h = 0; h < s.heads; h++) {
            const bf16 *from = s.x + i * s.stride + h * d, *cos = s.cos + i * d, *sin = s.sin + i * d;
            bf16 *to = s.out + (i * s.heads + h) * d;
            for (int64_t j = 0; j < half; j += LANES) {
                floats x1 = load_wide(from + j), x2 = load_wide(from + half + j);
                floats sin1 = load_wide(sin + j) * s.low, sin2 = load_wide(sin + half + j) * s.high;
                store_narrow(to + j, x1 * load_wide(cos + j) + x2 * sin1);
                store_narrow(to + half + j, x2 * load_wide(cos + half + j) + x1 * sin2);
            }
        }
}

/* out = x * cos + (x2 * low, x1 * high) * sin; x, out [n, heads, d], rows of x `stride` apart, cos, sin [n, d] */
int64_t steersman_rotate(const bf16 *x, const bf16 *cos, const bf16 *sin, bf16 *out, int64_t n, int64_t heads, int64_t d,
                      int64_t stride, int64_t low, int64_t high, int64_t threads) {
    if (n < 0 || heads < 0 || d < 1 || d % (2 * UNIT) || stride < heads * d || threads < 1) return BAD_SIZE;
    BY_ROWS(n, 1, rotate_rows, x, cos, sin, out, heads, d, stride, (float)low, (float)high);
}

/* y = 1 / (1 + exp(-x)) */
static inline __attribute__((always_inline)) floats sigmoid(floats x) { return 1.0f / (1.0f + exp_lanes(-x)); }

/* Value and slope of SiLU, or of GELU by tanh (Hendrycks and Gimpel 2016): tanh(z) is 2 sigmoid(2 z) - 1 */
static inline __attribute__((always_inline)) void activation(floats x, int64_t gelu, floats *value, floats *slope) {
    floats z = gelu ? x * (x * x * 0.044715f + 1.0f) * 1.5957691216f : x, s = sigmoid(z);
    *value = x * s;
    *slope = s + x * s * (1.0f - s) * (gelu ? x * x * (3 * 0.044715f * 1.5957691216f) + 1.5957691216f : (floats){0} + 1.0f);
}

struct gate_rows { const bf16 *gate, *up; bf16 *out; int64_t d, stride, gelu; Tasks *rows; };

static void gate_rows(void *job, int who) {
    const struct gate_rows s = *(const struct gate_rows *)job;
    (void)who;
    TAKE(s.rows, i)
        for (int64_t j = 0; j < s.d; j += LANES) {
            floats value, slope;
            activation(load_wide(s.gate + i * s.stride + j), s.gelu, &value, &slope);
            store_narrow(s.out + i * s.d + j, value * load_wide(s.up + i * s.stride + j));
        }
}

/* out [n, d] = act(gate) * up, whose rows are `stride` apart */
int64_t steersman_gate(const bf16 *gate, const bf16 *up, bf16 *out, int64_t n, int64_t d, int64_t stride, int64_t gelu,
                    int64_t threads) {
    if (n < 0 || d < 1 || d % UNIT || stride < d || threads < 1) return BAD_SIZE;
    BY_ROWS(n, 1, gate_rows, gate, up, out, d, stride, gelu);
}

struct gate_lanes { const bf16 *grad, *gate, *up; bf16 *grad_gate, *grad_up; int64_t gelu; Tasks *lanes; };

static void gate_lanes(void *job, int who) {
    const struct gate_lanes s = *(const struct gate_lanes *)job;
    (void)who;
    for (int64_t from, to; take_some(s.lanes, &from, &to);)
        for (int64_t i = from; i < to; i += LANES) {
            floats value, slope, pulled = load_wide(s.grad + i);
            activation(load_wide(s.gate + i), s.gelu, &value, &slope);
            store_narrow(s.grad_up + i, pulled * value);
            store_narrow(s.grad_gate + i, pulled * slope * load_wide(s.up + i));
        }
}

int64_t steersman_gate_backward(const bf16 *grad, const bf16 *gate, const bf16 *up, bf16 *grad_gate, bf16 *grad_up, int64_t n,
                             int64_t gelu, int64_t threads) {
    if (n < 0 || n % UNIT || threads < 1) return BAD_SIZE;
    BY_ROWS(n, LANES, gate_lanes, grad, gate, up, grad_gate, grad_up, gelu);
}

struct softmax_rows { const bf16 *logits; const int64_t *targets; float *sums; int64_t size, first; float colder; Tasks *rows; };

static void softmax_rows(void *job, int who) {
    const struct softmax_rows s = *(const struct softmax_rows *)job;
    int64_t size = s.size;
    (void)who;
    TAKE(s.rows, i) {
        const bf16 *row = s.logits + i * size;
        float *own = s.sums + 4 * i, colder = s.colder;
        floats most = (floats){0} - INFINITY, total = {0}, weighted = {0};
        for (int64_t j = 0; j < size; j += LANES) most = larger(most, load_wide(row + j));
        float top = own[0];
        for (int l = 0; l < LANES; l++) top = most[l] * colder > top ? most[l] * colder : top;
        for (int64_t j = 0; j < size; j += LANES) {
            floats x = load_wide(row + j) * colder, p = exp_lanes(x - top);
            total += p;
            weighted += p * x;
        }
        float scale = own[0] == top ? 1.0f : expf(own[0] - top);
        own[0] = top;
        own[1] = own[1] * scale + sum_of(total);
        own[2] = own[2] * scale + sum_of(weighted);
        int64_t target = s.targets[i] - s.first;
        if (target >= 0 && target < size) own[3] = wide(row[target]) * colder;
    }
}

/* Running softmax over a vocabulary that comes in parts: logits [n, size] are tokens first .. first + size. sums [n, 4]:
   the largest so far, sum of exp(x - largest), sum of x exp(x - largest), and the target's logit */
int64_t steersman_softmax_part(const bf16 *logits, const int64_t *targets, float *sums, int64_t n, int64_t size, int64_t first,
                            const float *heat, int64_t threads) {
    if (n < 0 || size < 1 || size % UNIT || first < 0 || threads < 1) return BAD_SIZE;
    BY_ROWS(n, 1, softmax_rows, logits, targets, sums, size, first, 1.0f / *heat);
}

struct softmax_back_rows { bf16 *logits; const int64_t *targets; const float *about; int64_t size, first; float colder; Tasks *rows; };

static void softmax_back_rows(void *job, int who) {
    const struct softmax_back_rows s = *(const struct softmax_back_rows *)job;
    int64_t size = s.size;
    (void)who;
    TAKE(s.rows, i) {
        bf16 *row = s.logits + i * size;
        const float *about = s.about + 4 * i, colder = s.colder;
        float normaliser = about[0], entropy = about[1], pulled = about[2], spread = about[3];
        int64_t target = s.targets[i] - s.first;
        float chosen = target >= 0 && target < size ? wide(row[target]) * colder - normaliser : 0;
        for (int64_t j = 0; j < size; j += LANES) {
            floats log_p = load_wide(row + j) * colder - normaliser;
            store_narrow(row + j, exp_lanes(log_p) * -(pulled + spread * (log_p + entropy)) * colder);
        }
        if (target >= 0 && target < size) {
            float p = exp_(chosen);
            row[target] = narrow((pulled - p * (pulled + spread * (chosen + entropy))) * colder);
        }
    }
}

/* logits -> the gradient with respect to them, in place, from those of log p(target) and entropy; about [n, 4]: the
   softmax's normaliser, the entropy, and both gradients */
int64_t steersman_softmax_part_backward(bf16 *logits, const int64_t *targets, const float *about, int64_t n, int64_t size,
                                     int64_t first, const float *heat, int64_t threads) {
    if (n < 0 || size < 1 || size % UNIT || first < 0 || threads < 1) return BAD_SIZE;
    BY_ROWS(n, 1, softmax_back_rows, logits, targets, about, size, first, 1.0f / *heat);
}

struct adamw_some { float *master; bf16 *weight; float *grad, *mean, *square; const float *how; Tasks *numbers; };

static void adamw_some(void *job, int who) {
    const struct adamw_some s = *(const struct adamw_some *)job;
    const float *how = s.how;
    float rate = how[0] / how[6], kept = 1.0f - how[0] * how[1], beta1 = how[2], beta2 = how[3], eps = how[4], scale = how[5];
    float spread = 1.0f / sqrtf(how[7]), *master = s.master, *grad = s.grad, *mean = s.mean, *square = s.square;
    bf16 *weight = s.weight;
    (void)who;
    for (int64_t from, to; take_some(s.numbers, &from, &to);)
#pragma omp simd
        for (int64_t i = from; i < to; i++) {
            float g = grad[i] * scale, m = mean[i] + (1.0f - beta1) * (g - mean[i]), v = beta2 * square[i] + (1.0f - beta2) * g * g;
            float x = master[i] * kept - rate * m / (sqrtf(v) * spread + eps);
            mean[i] = m, square[i] = v, master[i] = x, grad[i] = 0;
            weight[i] = narrow(x);
        }
}

/* AdamW (Loshchilov and Hutter 2019) on n numbers, the gradient scaled first and zeroed after; weight gets the new
   master rounded. how: rate, decay, beta1, beta2, eps, scale of the gradient, 1 - beta1^t, 1 - beta2^t */
int64_t steersman_adamw(float *master, bf16 *weight, float *grad, float *mean, float *square, int64_t n, const float *how,
                     int64_t threads) {
    if (n < 0 || threads < 1) return BAD_SIZE;
    BY_ROWS(n, 64, adamw_some, master, weight, grad, mean, square, how);
}
