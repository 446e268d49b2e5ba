/* How the threads of a decode step share its loops, and where they wait for one another.

   A loop's tasks are dealt in chunks. Each thread begins with its own; one that has done them takes what others have not
   begun, from their end. A loop is over when all chunks are done, whoever did them: who comes late, because it did not
   have its core, finds the loop over and goes on to where the others are. So a thread without its core holds up the
   others by one chunk at most, and fast cores do more than slow ones.

   OpenMP's barrier looks for milliseconds whether the others have come. Beside another computing process whoever looks
   spends its own share of a core meanwhile. Here a thread that waits for longer than threads differ that all have a core,
   sleeps.

   Why so: decisions 62 and 105 in docs/LOG.md. */

#ifndef STEERSMAN_MEET_H
#define STEERSMAN_MEET_H

#include <limits.h>
#include <linux/futex.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "crew.h"

#define LOOKING 1000000       /* nanoseconds until a thread sleeps */
#define LOOKING_BESIDE 100000 /* the same for a while after a wait that was as long as the one above */
#define MEETINGS 512          /* how long a while is */
#define CHUNKS 16             /* of a loop, for each thread */

typedef struct { uint64_t taken __attribute__((aligned(64))); } Share; /* loop << 32 | chunks taken by others << 16 | by its thread */

/* What all threads see; `share` has room for as many as may come, all 0 */
typedef struct {
    int done, asleep; /* done: chunks of the present loop */
    Share *share;
    int loop __attribute__((aligned(64))); /* the one that is not over, which those who wait look at */
} Meeting;

/* Where one thread is: in which loop, whose chunks it takes, and how many it took */
typedef struct { Meeting *all; int thread, threads, loop, chunks, of, took; } Place;

/* `thread`: the number of the one that comes, of so many that may */
static inline Place come_to(Meeting *m, int thread, int threads) {
    return (Place){.all = m, .thread = thread, .threads = threads};
}

/* Whether the others have done the loop that this thread comes to */
static inline int is_over(const Place *p) { return __atomic_load_n(&p->all->loop, __ATOMIC_RELAXED) > p->loop; }

/* Tasks from..to of `total` for this thread to do; 0 when none is left that nobody has begun */
static int next_tasks(Place *p, int64_t total, int64_t *from, int64_t *to) {
    int64_t each = (total + p->threads - 1) / p->threads < CHUNKS ? (total + p->threads - 1) / p->threads : CHUNKS;
    p->chunks = p->threads * (int)each;
    for (; p->of < p->threads; p->of++) {
        int64_t whose = (p->thread + p->of) % p->threads;
        uint64_t *taken = &p->all->share[whose].taken, none = (uint64_t)p->loop << 32;
        uint64_t seen = __atomic_load_n(taken, __ATOMIC_RELAXED);
        for (;;) {
            if (seen >> 32 > (uint64_t)p->loop) return 0; /* over */
            uint64_t now = seen < none ? none : seen, own = now & 0xffff, others = now >> 16 & 0xffff;
            if ((int64_t)(own + others) == each) break;
            int64_t chunk = whose * each + (int64_t)(p->of ? each - 1 - others : own);
            uint64_t then = now + (p->of ? 1 << 16 : 1);
            if (!__atomic_compare_exchange_n(taken, &seen, then, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) continue;
            p->took++;
            *from = total * chunk / p->chunks, *to = total * (chunk + 1) / p->chunks;
            if (*from < *to) return 1;
            seen = then;
        }
    }
    return 0;
}

/* for each task `i` of `total` that this thread gets; `meet` is to follow */
#define EACH(place, i, total)                                                    \
    for (int64_t from_, to_; next_tasks(place, total, &from_, &to_);)            \
        for (int64_t i = from_; i < to_; i++)

static int beside; /* meetings for which the cores are still taken to be shared with others */

/* Until `loop` is over */
static void wait_for(Meeting *m, int loop) {
    int left = __atomic_load_n(&beside, __ATOMIC_RELAXED);
    if (left > 0) __atomic_store_n(&beside, left - 1, __ATOMIC_RELAXED);
    int64_t start = 0, now = 0;
    while (now - start <= (left > 0 ? LOOKING_BESIDE : LOOKING)) {
        for (int i = 0; i < LOOKS; i++, look_again())
            if (__atomic_load_n(&m->loop, __ATOMIC_ACQUIRE) != loop) return;
        now = nanoseconds();
        if (!start) start = now;
    }
    __atomic_add_fetch(&m->asleep, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&m->loop, __ATOMIC_SEQ_CST) == loop)
        syscall(SYS_futex, &m->loop, FUTEX_WAIT_PRIVATE, loop, NULL, NULL, 0);
    __atomic_sub_fetch(&m->asleep, 1, __ATOMIC_SEQ_CST);
    if (nanoseconds() - start > LOOKING) __atomic_store_n(&beside, MEETINGS, __ATOMIC_RELAXED);
}

/* After a loop: go on when all of it is done */
static void meet(Place *p) {
    Meeting *m = p->all;
    int loop = p->loop++, took = p->took;
    p->of = p->took = 0;
    if (!took || __atomic_add_fetch(&m->done, took, __ATOMIC_SEQ_CST) < p->chunks) {
        wait_for(m, loop);
        return;
    }
    m->done = 0;
    __atomic_store_n(&m->loop, loop + 1, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&m->asleep, __ATOMIC_SEQ_CST))
        syscall(SYS_futex, &m->loop, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

#endif
