/* Matrix tiles: their size, and the shape that all kernels give them. Where there are none, blocks of products keep
   that layout, and taking tiles takes nothing. */

#ifndef STEERSMAN_TILES_H
#define STEERSMAN_TILES_H

#include "common.h"

#define SIDE 16 /* a tile: 16 rows of 64 bytes */
#define TILE (2 * SIDE * SIDE)

#ifdef __AMX_BF16__

typedef struct { uint8_t palette, start, reserved[14]; uint16_t bytes[16]; uint8_t rows[16]; } TileConfig;

/* Shape the tiles of this thread; what they were is kept in `before`, for PyTorch's own kernels */
static inline void take_tiles(TileConfig *before) {
    TileConfig config = {.palette = 1};
    for (int t = 0; t < 8; t++) config.bytes[t] = 64, config.rows[t] = SIDE;
    _tile_storeconfig(before);
    /* gcc 12 does not know that the whole struct is read */
    __asm__ volatile("" : : "r"(&config) : "memory");
    _tile_loadconfig(&config);
}

static inline void give_tiles_back(const TileConfig *before) {
    __asm__ volatile("" : : "r"(before) : "memory");
    _tile_loadconfig(before);
}
#else
typedef struct { char nothing; } TileConfig;
static inline void take_tiles(TileConfig *before) { before->nothing = 0; }
static inline void give_tiles_back(const TileConfig *before) { (void)before; }
#endif

#ifdef __AVX512F__
/* 16 rows of 16 words -> their transpose */
static inline __attribute__((always_inline)) void transpose(const __m512i *in, __m512i *out) {
    __m512i a[16], b[16];
#pragma GCC unroll 8
    for (int i = 0; i < 16; i += 2) {
        a[i] = _mm512_unpacklo_epi32(in[i], in[i + 1]);
        a[i + 1] = _mm512_unpackhi_epi32(in[i], in[i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) {
        b[i] = _mm512_unpacklo_epi64(a[i], a[i + 2]);
        b[i + 1] = _mm512_unpackhi_epi64(a[i], a[i + 2]);
        b[i + 2] = _mm512_unpacklo_epi64(a[i + 1], a[i + 3]);
        b[i + 3] = _mm512_unpackhi_epi64(a[i + 1], a[i + 3]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        a[i] = _mm512_shuffle_i32x4(b[i], b[i + 4], 0x88);
        a[i + 4] = _mm512_shuffle_i32x4(b[i], b[i + 4], 0xdd);
        a[i + 8] = _mm512_shuffle_i32x4(b[i + 8], b[i + 12], 0x88);
        a[i + 12] = _mm512_shuffle_i32x4(b[i + 8], b[i + 12], 0xdd);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        _mm512_store_si512(out + i, _mm512_shuffle_i32x4(a[i], a[i + 8], 0x88));
        _mm512_store_si512(out + i + 4, _mm512_shuffle_i32x4(a[i + 4], a[i + 12], 0x88));
        _mm512_store_si512(out + i + 8, _mm512_shuffle_i32x4(a[i], a[i + 8], 0xdd));
        _mm512_store_si512(out + i + 12, _mm512_shuffle_i32x4(a[i + 4], a[i + 12], 0xdd));
    }
}
#endif
#endif
