/* The threads that compute an operation together.

   Alone on its cores that is a region of OpenMP, whose threads PyTorch's operations use too. A region ends when every
   thread has come; beside another process that computes, one without a core comes milliseconds late, thousands of times a
   minute. So after a region that was late the next jobs are the crew's: the caller begins at once and waits for nobody to
   come, a helper that gets its core takes what is left, and at the end the caller waits only for helpers that are within a
   task. Helpers last as long as the process, and serve one caller at a time; another one meanwhile computes alone.

   Why so: decision 127 in docs/LOG.md. */

#ifndef STEERSMAN_CREW_H
#define STEERSMAN_CREW_H

#include <stdint.h>
#include <time.h>
#include "machine.h"

#define LOOKS 32 /* of a thread that waits, between two looks at the clock */

static inline int64_t nanoseconds_by(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static inline int64_t nanoseconds(void) { return nanoseconds_by(CLOCK_MONOTONIC); }

static inline void look_again(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory");
#endif
}

/* Computes what it gets of a job; who: 0 for the caller, else a number from 1 to threads - 1 */
typedef void (*Work)(void *job, int who);

/* The job by `threads` threads at most */
HIDDEN void together(int64_t threads, Work work, void *job);

/* What threads take of a job, from the front */
typedef struct { int64_t total, each, next __attribute__((aligned(64))); } Tasks;

/* Whether a thread has got no `room`: others do its share, but for the caller's */
static inline int no_room(const void *mine, int who, int64_t *failed) {
    if (!mine && who == 0) *failed = NO_MEMORY;
    return !mine;
}

#define FINE 4 /* chunks a thread, so that one that loses its core for a moment holds up the others less */

/* `total` rows in chunks of a multiple of `least` */
static inline Tasks rows_in_chunks(int64_t total, int64_t least, int64_t threads) {
    int64_t each = (total + FINE * threads - 1) / (FINE * threads);
    return (Tasks){.total = total, .each = (each + least - 1) / least * least};
}

static inline int take_some(Tasks *t, int64_t *from, int64_t *to) {
    if (__atomic_load_n(&t->next, __ATOMIC_RELAXED) >= t->total) return 0;
    *from = __atomic_fetch_add(&t->next, t->each, __ATOMIC_RELAXED), *to = *from + t->each;
    if (*to > t->total) *to = t->total;
    return *from < *to;
}

/* for each `i` that this thread gets */
#define TAKE(tasks, i)                                        \
    for (int64_t from_, to_; take_some(tasks, &from_, &to_);) \
        for (int64_t i = from_; i < to_; i++)

#endif
