/* {title}
 * Written by burn.deploy.c ("python -m burn export").
 *
 * Flash: {flash} bytes of constants (NETWORK_FLASH) and some kilobytes of code.
 * RAM: sizeof(struct network_memory), {ram} bytes, which the caller gives, and about a kilobyte of stack.
 * One thread; nothing is allocated; two images at once need two memories.
 */

#ifndef NETWORK_H
#define NETWORK_H

#include <stdint.h>

#define NETWORK_SIDE {side} /* pixels of an image, which is square */
#define NETWORK_FEATURES {features}
#define NETWORK_CLASSES {classes} /* 0: what comes out are the features */
#define NETWORK_OUTPUTS {outputs}
#define NETWORK_FLASH {flash}

#ifdef __GNUC__
#define NETWORK_ALIGNED __attribute__((aligned(64))) /* a cache line; needed for speed alone */
#else
#define NETWORK_ALIGNED
#endif

struct network_memory {{
    float stream[{stream}] NETWORK_ALIGNED;
    float rows[{rows}];
    float levels[768];
    float ends[{ends}];
    uint32_t bits[2][{bits}];
}};

/* Of an image [3][side][side] of floats, normalised: RGB in 0 to 1, less (0.485, 0.456, 0.406), over
 * (0.229, 0.224, 0.225). What comes out: {meaning}. */
void network_of_floats(const float *image, float *outputs, struct network_memory *memory);

/* Of an image [side][side][3] of bytes, RGB as in a file; it is normalised inside. */
void network_of_bytes(const uint8_t *image, float *outputs, struct network_memory *memory);

/* The instruction set that the kernels were compiled for. */
const char *network_set(void);

{names}#endif
