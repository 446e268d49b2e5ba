/* Matrix tiles in vector instructions, so that what needs AMX also runs where there is only AVX512-BF16: this file is
   included before each source. Products and sums are those of the tile instructions but for the order of rounding. */

#include <immintrin.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define __AMX_BF16__ 1
#define syscall(...) 0 /* the system gives leave */

static __thread __m512i emulated[8][16];

static inline void emulated_load(__m512i *tile, const void *from, long stride) {
    for (int i = 0; i < 16; i++) tile[i] = _mm512_loadu_si512((const char *)from + i * stride);
}

static inline void emulated_store(const __m512i *tile, void *to, long stride) {
    for (int i = 0; i < 16; i++) _mm512_storeu_si512((char *)to + i * stride, tile[i]);
}

static inline void emulated_product(__m512i *sums, const __m512i *a, const __m512i *b) {
    for (int i = 0; i < 16; i++) {
        __m512 sum = (__m512)sums[i];
        for (int k = 0; k < 16; k++) {
            __m512i pair = _mm512_set1_epi32(((const int *)&a[i])[k]);
            sum = _mm512_dpbf16_ps(sum, (__m512bh)pair, (__m512bh)b[k]);
        }
        sums[i] = (__m512i)sum;
    }
}

#undef _tile_loadconfig
#undef _tile_storeconfig
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbf16ps
#define _tile_loadconfig(config) ((void)(config))
#define _tile_storeconfig(config) ((void)memset(config, 0, 64))
#define _tile_zero(tile) ((void)memset(emulated[tile], 0, sizeof emulated[tile]))
#define _tile_loadd(tile, from, stride) emulated_load(emulated[tile], from, stride)
#define _tile_stored(tile, to, stride) emulated_store(emulated[tile], to, stride)
#define _tile_dpbf16ps(sums, a, b) emulated_product(emulated[sums], emulated[a], emulated[b])
