/* What lies between the matrix products of a decoder layer, forward and backward: normalisation, rotary positions,
   the gated activation, and the softmax over the vocabulary. Tensors are bfloat16, sums float32; rows are dealt to
   threads evenly, so sums over rows depend on the number of threads alone. */

#include <stdlib.h>
#include "common.h"
#include "machine.h"

/* out = x / rms(x) * (weight + offset); inverse [n] keeps 1 / rms. x, out [n, d] */
int64_t steersman_norm(const bf16 *x, const bf16 *weight, bf16 *out, float *inverse, int64_t n, int64_t d,
                    const float *offset_eps, int64_t threads) {
    if (n < 0 || d < 1 || d % UNIT || threads < 1) return BAD_SIZE;
    float offset = offset_eps[0], eps = offset_eps[1];
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < n; i++) {
        const bf16 *from = x + i * d;
        floats squares = {0};
        for (int64_t j = 0; j < d; j += LANES) {
            floats y = load_wide(from + j);
            squares += y * y;
        }
        inverse[i] = 1.0f / sqrtf(sum_of(squares) / d + eps);
        for (int64_t j = 0; j < d; j += LANES)
            store_narrow(out + i * d + j, load_wide(from + j) * inverse[i] * (load_wide(weight + j) + offset));
    }
    return DONE;
}

/* From grad [n, d], that of the output: grad_x [n, d] and, unless NULL, grad_weight [d] float32 */
int64_t steersman_norm_backward(const bf16 *grad, const bf16 *x, const bf16 *weight, const float *inverse, bf16 *grad_x,
                             float *grad_weight, int64_t n, int64_t d, const float *offset_eps, int64_t threads) {
    if (n < 0 || d < 1 || d % UNIT || threads < 1) return BAD_SIZE;
    float *parts = grad_weight ? aligned_alloc(64, threads * d * sizeof(float)) : NULL, offset = offset_eps[0];
    if (grad_weight && !parts) return NO_MEMORY;
    if (parts) memset(parts, 0, threads * d * sizeof(float));
#pragma omp parallel num_threads(threads)
    {
        float *mine = parts ? parts + omp_get_thread_num() * d : NULL;
#pragma omp for schedule(static)
        for (int64_t i = 0; i < n; i++) {
            const bf16 *from = x + i * d, *pulled = grad + i * d;
            floats along = {0};
            for (int64_t j = 0; j < d; j += LANES) {
                floats product = load_wide(pulled + j) * load_wide(from + j) * inverse[i];
                if (mine) store(mine + j, load(mine + j) + product);
                along += product * (load_wide(weight + j) + offset);
            }
            float mean = sum_of(along) / d;
            for (int64_t j = 0; j < d; j += LANES) {
                floats straight = load_wide(pulled + j) * (load_wide(weight + j) + offset);
                store_narrow(grad_x + i * d + j, (straight - load_wide(from + j) * (inverse[i] * mean)) * inverse[i]);
            }
        }
    }
    if (!parts) return DONE;
    memset(grad_weight, 0, d * sizeof(float));
    for (int64_t t = 0; t < threads; t++)
        for (int64_t j = 0; j < d; j++) grad_weight[j] += parts[t * d + j];
    free(parts);
    return DONE;
}

/* out = x * cos + (x2 * low, x1 * high) * sin; x, out [n, heads, d], rows of x `stride` apart, cos, sin [n, d] */
int64_t steersman_rotate(const bf16 *x, const bf16 *cos, const bf16 *sin, bf16 *out, int64_t n, int64_t heads, int64_t d,
                      int64_t stride, int64_t low, int64_t high, int64_t threads) {
    if (n < 0 || heads < 0 || d < 1 || d % (2 * UNIT) || stride < heads * d || threads < 1) return BAD_SIZE;
    int64_t half = d / 2;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < n; i++)
        for (int64_t h = 0; h < heads; h++) {
            const bf16 *from = x + i * stride + h * d;
            bf16 *to = out + (i * heads + h) * d;
            for (int64_t j = 0; j < half; j += LANES) {
                floats x1 = load_wide(from + j), x2 = load_wide(from + half + j);
                floats sin1 = load_wide(sin + i * d + j) * (float)low, sin2 = load_wide(sin + i * d + half + j) * (float)high;
                store_narrow(to + j, x1 * load_wide(cos + i * d + j) + x2 * sin1);
                store_narrow(to + half + j, x2 * load_wide(cos + i * d + half + j) + x1 * sin2);
            }
        }
    return DONE;
}

/* y = 1 / (1 + exp(-x)) */
static inline __attribute__((always_inline)) floats sigmoid(floats x) { return 1.0f / (1.0f + exp_lanes(-x)); }

/* Value and slope of SiLU, or of GELU by tanh (Hendrycks and Gimpel 2016): tanh(z) is 2 sigmoid(2 z) - 1 */
static inline __attribute__((always_inline)) void activation(floats x, int64_t gelu, floats *value, floats *slope) {
    floats z = gelu ? x * (x * x * 0.044715f + 1.0f) * 1.5957691216f : x, s = sigmoid(z);
    *value = x * s;
    *slope = s + x * s * (1.0f - s) * (gelu ? x * x * (3 * 0.044715f * 1.5957691216f) + 1.5957691216f : (floats){0} + 1.0f);
}

/* out [n, d] = act(gate) * up, whose rows are `stride` apart */
int64_t steersman_gate(const bf16 *gate, const bf16 *up, bf16 *out, int64_t n, int64_t d, int64_t stride, int64_t gelu,
                    int64_t threads) {
    if (n < 0 || d < 1 || d % UNIT || stride < d || threads < 1) return BAD_SIZE;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < d; j += LANES) {
            floats value, slope;
            activation(load_wide(gate + i * stride + j), gelu, &value, &slope);
            store_narrow(out + i * d + j, value * load_wide(up + i * stride + j));
        }
    return DONE;
}

int64_t steersman_gate_backward(const bf16 *grad, const bf16 *gate, const bf16 *up, bf16 *grad_gate, bf16 *grad_up, int64_t n,
                             int64_t gelu, int64_t threads) {
    if (n < 0 || n % UNIT || threads < 1) return BAD_SIZE;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < n; i += LANES) {
        floats value, slope, pulled = load_wide(grad + i);
        activation(load_wide(gate + i), gelu, &value, &slope);
        store_narrow(grad_up + i, pulled * value);
        store_narrow(grad_gate + i, pulled * slope * load_wide(up + i));
    }
    return DONE;
}

/* Running softmax over a vocabulary that comes in parts: logits [n, size] are tokens first .. first + size. sums [n, 4]:
   the largest so far, sum of exp(x - largest), sum of x exp(x - largest), and the target's logit */
int64_t steersman_softmax_part(const bf16 *logits, const int64_t *targets, float *sums, int64_t n, int64_t size, int64_t first,
                            const float *heat, int64_t threads) {
    if (n < 0 || size < 1 || size % UNIT || first < 0 || threads < 1) return BAD_SIZE;
    float colder = 1.0f / *heat;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < n; i++) {
        const bf16 *row = logits + i * size;
        float *own = sums + 4 * i;
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
        if (targets[i] >= first && targets[i] < first + size) own[3] = wide(row[targets[i] - first]) * colder;
    }
    return DONE;
}

/* logits -> the gradient with respect to them, in place, from those of log p(target) and entropy; about [n, 4]: the
   softmax's normaliser, the entropy, and both gradients */
int64_t steersman_softmax_part_backward(bf16 *logits, const int64_t *targets, const float *about, int64_t n, int64_t size,
                                     int64_t first, const float *heat, int64_t threads) {
    if (n < 0 || size < 1 || size % UNIT || first < 0 || threads < 1) return BAD_SIZE;
    float colder = 1.0f / *heat;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < n; i++) {
        bf16 *row = logits + i * size;
        float normaliser = about[4 * i], entropy = about[4 * i + 1], pulled = about[4 * i + 2], spread = about[4 * i + 3];
        int64_t target = targets[i] - first;
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
    return DONE;
}

/* AdamW (Loshchilov and Hutter 2019) on n numbers, the gradient scaled first and zeroed after; weight gets the new
   master rounded. how: rate, decay, beta1, beta2, eps, scale of the gradient, 1 - beta1^t, 1 - beta2^t */
int64_t steersman_adamw(float *master, bf16 *weight, float *grad, float *mean, float *square, int64_t n, const float *how,
                     int64_t threads) {
    if (n < 0 || threads < 1) return BAD_SIZE;
    float rate = how[0] / how[6], kept = 1.0f - how[0] * how[1], beta1 = how[2], beta2 = how[3], eps = how[4], scale = how[5];
    float spread = 1.0f / sqrtf(how[7]);
#pragma omp parallel for simd num_threads(threads) schedule(static)
    for (int64_t i = 0; i < n; i++) {
        float g = grad[i] * scale, m = mean[i] + (1.0f - beta1) * (g - mean[i]), s = beta2 * square[i] + (1.0f - beta2) * g * g;
        float x = master[i] * kept - rate * m / (sqrtf(s) * spread + eps);
        mean[i] = m, square[i] = s, master[i] = x, grad[i] = 0;
        weight[i] = narrow(x);
    }
    return DONE;
}
