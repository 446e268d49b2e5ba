/* Where the threads of a decode step wait for one another. OpenMP's barrier looks for milliseconds whether the others
   have come. Beside another computing process they come late where they do not have their core, and whoever looks spends
   its own share of a core meanwhile: two threads, each half the time on its core, compute together for a quarter of it.
   Here a thread that waits for longer than threads differ that all have a core, sleeps.

   Why so: decision 62 in docs/LOG.md. */

#ifndef STEERSMAN_MEET_H
#define STEERSMAN_MEET_H

#include <limits.h>
#include <linux/futex.h>
#include <omp.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define LOOKING 1000000       /* nanoseconds until a thread sleeps */
#define LOOKING_BESIDE 100000 /* the same for a while after a wait that was as long as the one above */
#define MEETINGS 512          /* how long a while is */
#define LOOKS 32              /* between two looks at the clock */

typedef struct {
    int threads, arrived, asleep;
    int turn __attribute__((aligned(64))); /* which those who wait look at */
} Meeting;

/* In a parallel region, before a thread's first `meet` */
static inline void come_to(Meeting *m) { __atomic_store_n(&m->threads, omp_get_num_threads(), __ATOMIC_RELAXED); }

static inline int64_t nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static inline void look_again(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory");
#endif
}

static int beside; /* meetings for which the cores are still taken to be shared with others */

/* Until `turn` is over */
static void wait_for(Meeting *m, int turn) {
    int left = __atomic_load_n(&beside, __ATOMIC_RELAXED);
    if (left > 0) __atomic_store_n(&beside, left - 1, __ATOMIC_RELAXED);
    int64_t start = 0, now = 0;
    while (now - start <= (left > 0 ? LOOKING_BESIDE : LOOKING)) {
        for (int i = 0; i < LOOKS; i++, look_again())
            if (__atomic_load_n(&m->turn, __ATOMIC_ACQUIRE) != turn) return;
        now = nanoseconds();
        if (!start) start = now;
    }
    __atomic_add_fetch(&m->asleep, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&m->turn, __ATOMIC_SEQ_CST) == turn)
        syscall(SYS_futex, &m->turn, FUTEX_WAIT_PRIVATE, turn, NULL, NULL, 0);
    __atomic_sub_fetch(&m->asleep, 1, __ATOMIC_SEQ_CST);
    if (nanoseconds() - start > LOOKING) __atomic_store_n(&beside, MEETINGS, __ATOMIC_RELAXED);
}

/* Go on when all have come */
static void meet(Meeting *m) {
    int threads = __atomic_load_n(&m->threads, __ATOMIC_RELAXED);
    if (threads == 1) return;
    int turn = __atomic_load_n(&m->turn, __ATOMIC_SEQ_CST);
    if (__atomic_add_fetch(&m->arrived, 1, __ATOMIC_SEQ_CST) < threads) {
        wait_for(m, turn);
        return;
    }
    m->arrived = 0;
    __atomic_store_n(&m->turn, turn + 1, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&m->asleep, __ATOMIC_SEQ_CST))
        syscall(SYS_futex, &m->turn, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

#endif
