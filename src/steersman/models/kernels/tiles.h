/* Matrix tiles: their size, and the shape that all kernels give them. */

#ifndef STEERSMAN_TILES_H
#define STEERSMAN_TILES_H

#include "common.h"

#define SIDE 16 /* a tile: 16 rows of 64 bytes */

#ifdef __AMX_BF16__
#define TILE (2 * SIDE * SIDE)

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
#endif
#endif
