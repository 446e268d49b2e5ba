/* See crew.h. */

#define _GNU_SOURCE
#include <linux/futex.h>
#include <omp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "crew.h"

#define LOOKING 50000  /* nanoseconds until a thread sleeps */
#define CLOSED (1 << 30)
#define LATE 1000000   /* nanoseconds; a region that ends so long after the caller's part waits for a core */
#define JOBS 64        /* done with the crew after a late region, before another is tried */
#define MOST_JOBS 4096 /* the same after many */

static struct {
    int turn __attribute__((aligned(64)));   /* grows with each job: what idle helpers look at */
    int asleep;                              /* helpers */
    int inside __attribute__((aligned(64))); /* helpers at work, and CLOSED while nobody may join */
    int caller_asleep, came;                 /* helpers that joined this job */
    int taken __attribute__((aligned(64)));  /* whether it serves a caller */
    int helpers;
    int cpu; /* where the caller computes */
    int64_t invited;
    Work work;
    void *job;
} crew = {.inside = CLOSED};

/* While *at is `seen`: looks for so long, then sleeps, which `asleep` tells the thread that changes it */
static void wait_while(int *at, int seen, int *asleep, int64_t looking) {
    int64_t start = 0, now = 0;
    while (now - start < looking) {
        for (int i = 0; i < LOOKS; i++, look_again())
            if (__atomic_load_n(at, __ATOMIC_ACQUIRE) != seen) return;
        now = nanoseconds();
        if (!start) start = now - 1;
    }
    __atomic_add_fetch(asleep, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(at, __ATOMIC_SEQ_CST) == seen) syscall(SYS_futex, at, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
    __atomic_sub_fetch(asleep, 1, __ATOMIC_SEQ_CST);
}

static void wake(int *at, int count) { syscall(SYS_futex, at, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0); }

/* Whether a helper is on the caller's core, where the system puts it when others use the rest: the two would take turns
   and take longer than the caller alone */
static inline int in_the_way(void) { return sched_getcpu() == __atomic_load_n(&crew.cpu, __ATOMIC_RELAXED); }

/* Work on the present job, if it may still be joined */
static void join(void) {
    if (in_the_way()) return;
    int inside = __atomic_load_n(&crew.inside, __ATOMIC_SEQ_CST);
    do
        if (inside & CLOSED) return;
    while (!__atomic_compare_exchange_n(&crew.inside, &inside, inside + 1, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
    int who = __atomic_add_fetch(&crew.came, 1, __ATOMIC_RELAXED);
    if (who <= crew.invited) crew.work(crew.job, who);
    if (__atomic_sub_fetch(&crew.inside, 1, __ATOMIC_SEQ_CST) == CLOSED && __atomic_load_n(&crew.caller_asleep, __ATOMIC_SEQ_CST))
        wake(&crew.inside, 1);
}

static void *help(void *turn) {
    for (int seen = (int)(intptr_t)turn;;) {
        wait_while(&crew.turn, seen, &crew.asleep, in_the_way() ? 0 : LOOKING);
        seen = __atomic_load_n(&crew.turn, __ATOMIC_SEQ_CST);
        join();
    }
    return NULL;
}

/* A child process has no helpers */
static void forget(void) {
    crew.turn = crew.asleep = crew.caller_asleep = crew.taken = crew.helpers = 0;
    crew.inside = CLOSED;
}

static pthread_once_t known = PTHREAD_ONCE_INIT;

static void know(void) { pthread_atfork(NULL, NULL, forget); }

/* As many as are wanted, or as the system gives */
static void start_helpers(int64_t wanted) {
    sigset_t all, before;
    pthread_once(&known, know);
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before); /* signals are for the program's own threads */
    for (pthread_t thread; crew.helpers < wanted; crew.helpers++) {
        if (pthread_create(&thread, NULL, help, (void *)(intptr_t)crew.turn)) break;
        pthread_detach(thread);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void with_crew(int64_t threads, Work work, void *job) {
    if (__atomic_exchange_n(&crew.taken, 1, __ATOMIC_ACQUIRE)) {
        work(job, 0);
        return;
    }
    if (crew.helpers < threads - 1) start_helpers(threads - 1);
    crew.invited = threads - 1, crew.work = work, crew.job = job, crew.came = 0;
    __atomic_store_n(&crew.cpu, sched_getcpu(), __ATOMIC_RELAXED);
    __atomic_store_n(&crew.inside, 0, __ATOMIC_SEQ_CST);
    __atomic_add_fetch(&crew.turn, 1, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&crew.asleep, __ATOMIC_SEQ_CST)) wake(&crew.turn, (int)crew.invited);
    work(job, 0);
    int inside = __atomic_or_fetch(&crew.inside, CLOSED, __ATOMIC_SEQ_CST);
    while (inside != CLOSED) {
        wait_while(&crew.inside, inside, &crew.caller_asleep, LOOKING);
        inside = __atomic_load_n(&crew.inside, __ATOMIC_SEQ_CST);
    }
    __atomic_store_n(&crew.taken, 0, __ATOMIC_RELEASE);
}

/* Whether it ended long after the caller's part, and a thread had no core for as long; one that computes is not late */
static int with_openmp(int64_t threads, Work work, void *job) {
    int64_t start = nanoseconds(), done = start;
    int coreless = 0;
#pragma omp parallel num_threads((int)threads)
    {
        int who = omp_get_thread_num();
        int64_t before = who ? nanoseconds_by(CLOCK_THREAD_CPUTIME_ID) : 0;
        work(job, who);
        int64_t now = nanoseconds();
        if (!who) done = now;
        else if (now - start - (nanoseconds_by(CLOCK_THREAD_CPUTIME_ID) - before) > LATE)
            __atomic_store_n(&coreless, 1, __ATOMIC_RELAXED);
    }
    int64_t waited = nanoseconds() - done;
    return coreless && waited > LATE && 2 * waited > done - start;
}

static int left, patience; /* jobs until a region is tried again, and how many they will be after a late one */

/* How many of the next jobs are the crew's; sets it, if `jobs` is none less than 0 */
int64_t steersman_beside(int64_t jobs) {
    if (jobs >= 0) __atomic_store_n(&left, (int)jobs, __ATOMIC_RELAXED);
    return __atomic_load_n(&left, __ATOMIC_RELAXED);
}

void together(int64_t threads, Work work, void *job) {
    if (threads < 2) {
        work(job, 0);
    } else if (__atomic_load_n(&left, __ATOMIC_RELAXED) > 0) {
        __atomic_sub_fetch(&left, 1, __ATOMIC_RELAXED);
        with_crew(threads, work, job);
    } else {
        int late = with_openmp(threads, work, job), most = __atomic_load_n(&patience, __ATOMIC_RELAXED);
        if (late) __atomic_store_n(&left, most = most ? 2 * most < MOST_JOBS ? 2 * most : MOST_JOBS : JOBS, __ATOMIC_RELAXED);
        else if (most) most--;
        __atomic_store_n(&patience, most, __ATOMIC_RELAXED);
    }
}
