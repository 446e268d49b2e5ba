/* What this build can do here, where the fields of its structs are, and memory that belongs to threads. */

#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#ifdef __AMX_BF16__
#include <sys/syscall.h>
#include <unistd.h>
#endif
#include "machine.h"
#include "structs.h"

int64_t steersman_vectors(void) { /* whether products of bfloat16 are vector instructions */
#ifdef __AVX512BF16__
    return 1;
#else
    return 0;
#endif
}

int64_t steersman_tiles(void) { /* 0: this build has none; -1: the system gives no leave */
#ifdef __AMX_BF16__
    static int64_t leave;
    if (!leave) leave = syscall(SYS_arch_prctl, 0x1023, 18) == 0 ? 1 : -1;
    return leave;
#else
    return 0;
#endif
}

/* What products of training are computed with, as in `kernels/capabilities.py` */
int64_t steersman_products(void) {
#if defined(__AMX_BF16__)
    return 5;
#elif defined(__AVX512BF16__)
    return 4;
#elif defined(__AVX512F__)
    return 3;
#elif defined(__AVX2__) && defined(__FMA__)
    return 2;
#elif defined(__ARM_NEON)
    return 1;
#else
    return 0;
#endif
}

int has_tiles(void) { return steersman_tiles() > 0; }

int has_products(void) { return steersman_tiles() >= 0; }

/* Per struct its size, then where each field begins; returns how many numbers there are */
int64_t steersman_layout(int64_t *out, int64_t most) {
#define AT(field) offsetof(STRUCT, field)
    static const int64_t places[] = {
#define STRUCT Side
        sizeof(STRUCT), AT(at), AT(stride), AT(across),
#undef STRUCT
#define STRUCT Term
        sizeof(STRUCT), AT(a), AT(b), AT(k),
#undef STRUCT
#define STRUCT Result
        sizeof(STRUCT), AT(wide), AT(narrow), AT(add), AT(bias), AT(stride),
#undef STRUCT
#define STRUCT Attention
        sizeof(STRUCT), AT(q), AT(k), AT(v), AT(out), AT(lse), AT(branch), AT(position), AT(bounds), AT(tokens),
        AT(documents), AT(heads), AT(kv_heads), AT(d), AT(window), AT(scale),
#undef STRUCT
#define STRUCT Gradients
        sizeof(STRUCT), AT(grad), AT(q), AT(k), AT(v),
#undef STRUCT
#define STRUCT Matrix
        sizeof(STRUCT), AT(values), AT(scales), AT(rows), AT(columns),
#undef STRUCT
#define STRUCT Layer
        sizeof(STRUCT), AT(qkv), AT(out), AT(gate_up), AT(down), AT(bias), AT(input_norm), AT(post_norm),
        AT(pre_mlp_norm), AT(post_mlp_norm), AT(q_norm), AT(k_norm), AT(cos), AT(sin), AT(keys), AT(values),
        AT(key_scales), AT(value_scales), AT(window),
#undef STRUCT
#define STRUCT Model
        sizeof(STRUCT), AT(layers), AT(hidden), AT(intermediate), AT(heads), AT(kv_heads), AT(head_dim), AT(gelu),
        AT(sandwich), AT(slots), AT(capacity), AT(packed_from), AT(eps), AT(scale), AT(embed_scale), AT(norm_offset),
        AT(embed), AT(final_norm), AT(head), AT(layer), AT(turns),
    };
    int64_t count = sizeof places / sizeof *places;
    for (int64_t i = 0; i < count && i < most; i++) out[i] = places[i];
    return count;
}

#define ROOMS 2
typedef struct { void *at; int64_t bytes; } Room;
static pthread_key_t rooms_of_thread;
static pthread_once_t made = PTHREAD_ONCE_INIT;

static void leave_rooms(void *rooms) {
    for (int i = 0; i < ROOMS; i++) free(((Room *)rooms)[i].at);
    free(rooms);
}

static void make_key(void) { pthread_key_create(&rooms_of_thread, leave_rooms); }

void *room(int which, int64_t bytes) {
    pthread_once(&made, make_key);
    Room *rooms = pthread_getspecific(rooms_of_thread);
    if (!rooms) {
        rooms = calloc(ROOMS, sizeof *rooms);
        if (!rooms || pthread_setspecific(rooms_of_thread, rooms)) {
            free(rooms);
            return NULL;
        }
    }
    Room *mine = rooms + which;
    if (mine->bytes < bytes) {
        free(mine->at);
        mine->at = aligned_alloc(64, (bytes + 63) / 64 * 64);
        mine->bytes = mine->at ? bytes : 0;
    }
    return mine->at;
}
