/* What an entry point says, and what kernels ask of the machine. */

#ifndef STEERSMAN_MACHINE_H
#define STEERSMAN_MACHINE_H

#include <stdint.h>

/* As in `kernels/entries.py` */
enum { DONE, NO_MEMORY, NO_TILES, BAD_SIZE, BAD_TOKEN, BAD_POSITION, BAD_DOCUMENT };

#define HIDDEN __attribute__((visibility("hidden")))

/* Whether this process may use matrix tiles */
HIDDEN int has_tiles(void);

/* Whether it may use what this build multiplies with */
HIDDEN int has_products(void);

/* At least so many bytes of this thread's own, kept until it ends or asks for more; NULL where there are none */
HIDDEN void *room(int which, int64_t bytes);

#endif
