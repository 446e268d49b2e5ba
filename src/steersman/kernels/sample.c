/* Sampling from logits: one pass for the sums of spans, a second over the chosen span alone. */

#include "common.h"
#include "crew.h"

#define SPAN 1024 /* logits whose sum is kept while choosing */

/* Choose a token from logits [vocabulary] at `uniform` in [0, 1); temperature 0 takes the likeliest.
   `logprob`: of the token under the distribution sampled from (greedy: at temperature 1). sums has a float per SPAN. */
static int64_t choose(const float *logits, int64_t vocabulary, float temperature, float uniform, float *sums,
                      float *logprob) {
    float inverse = temperature > 0 ? 1.0f / temperature : 1.0f, top = -INFINITY, total = 0;
    for (int64_t j = 0; j < vocabulary; j++) top = logits[j] > top ? logits[j] : top;
    int64_t spans = (vocabulary + SPAN - 1) / SPAN, chosen = -1, first = 0;
    for (int64_t s = 0; s < spans; s++) {
        int64_t end = (s + 1) * SPAN < vocabulary ? (s + 1) * SPAN : vocabulary;
        floats sum = {0};
        int64_t j = s * SPAN;
        for (; j + LANES <= end; j += LANES) {
            floats x = (load(logits + j) - top) * inverse;
            sum += (floats)((ints)exp_lanes(x) & (x >= -87.0f)); /* a token that was ruled out has no chance at all */
        }
        sums[s] = sum_of(sum);
        for (; j < end; j++) {
            float x = (logits[j] - top) * inverse;
            sums[s] += x < -87.0f ? 0.0f : exp_(x);
        }
        total += sums[s];
    }
    if (temperature > 0) {
        float target = uniform * total, below = 0;
        int64_t s = 0;
        while (s + 1 < spans && below + sums[s] <= target) below += sums[s++];
        first = s * SPAN;
        for (int64_t j = first; j < vocabulary; j++) {
            float x = (logits[j] - top) * inverse;
            if (x < -87.0f) continue;
            chosen = j; /* the last possible one where rounding leaves a gap at the end */
            below += exp_(x);
            if (below > target) break;
        }
    }
    if (chosen < 0) /* greedy, or nothing possible from the chosen span on */
        for (chosen = 0; logits[chosen] != top && chosen + 1 < vocabulary;) chosen++;
    *logprob = (logits[chosen] - top) * inverse - logf(total);
    return chosen;
}

struct choose_some {
    const float *logits, *temperature, *uniform;
    float *sums;
    int64_t *ids;
    float *logprobs;
    int64_t vocabulary, spans;
    Tasks rows;
};

static void choose_some(void *job, int who) {
    struct choose_some *s = job;
    (void)who;
    TAKE(&s->rows, i)
        s->ids[i] = choose(s->logits + i * s->vocabulary, s->vocabulary, s->temperature[i], s->uniform[i],
                           s->sums + i * s->spans, s->logprobs + i);
}

/* logits [n, vocabulary], temperature and uniform [n] -> ids, logprobs [n]; sums [n, spans], a float per SPAN */
int64_t steersman_sample(const float *logits, const float *temperature, const float *uniform, float *sums, int64_t *ids,
                         float *logprobs, int64_t n, int64_t vocabulary, int64_t spans, int64_t threads) {
    if (n < 0 || vocabulary < 1 || threads < 1 || spans < (vocabulary + SPAN - 1) / SPAN) return BAD_SIZE;
    struct choose_some all = {logits, temperature, uniform, sums, ids, logprobs, vocabulary, spans, rows_in_chunks(n, 1, threads)};
    together(threads, choose_some, &all);
    return DONE;
}
