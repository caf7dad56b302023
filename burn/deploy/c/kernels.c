/* A ReActNet on one thread, without allocation. This text is the same for every network; what follows
 * it in network.c, the table of layers and the numbers, is the network.
 *
 * A binary convolution multiplies +1s and -1s. As bits (1 for +1) the products that are -1 are those
 * where the bits differ, so of `n` products
 *
 *     sum = n - 2 * (number of ones in activations ^ weights)
 *
 * and one instruction does 32 to 512 of them. A tap that lies outside of the map counts for nothing.
 * No bit can say that, so the loops leave such taps out.
 *
 * Layouts
 *     stream   float [channel / 16][y][x][16]: the real-valued maps, changed in place
 *     bits     uint32_t [y][x][word]: signs of stream, channel c is bit c % 32 of word c / 32
 *     weights  uint32_t [filter / 16][ky][kx][word][16]: 16 filters side by side
 *
 * A vector holds one number of each of 16 filters, whatever the instruction set. Every sum is taken in
 * the same order everywhere, and no product is fused with a sum (-ffp-contract=off): all processors
 * that follow IEEE 754 give the same features, bit for bit.
 */

#include <stdint.h>
#include <string.h>

#define LANES 16

/* Half a block: y = RPReLU(scale * binary convolution + shortcut). */
struct half {
    int side, out;            /* of the map that goes in, and that comes out */
    int kernel, stride;       /* 3 or 1; 1 or 2 */
    int channels, words;      /* of the bits of a pixel that goes in */
    int blocks_in, blocks;    /* of 16 channels, in and out; twice as many: the shortcut repeats */
    int words_next;           /* of a pixel that comes out; 0: nobody needs its bits */
    int weights, numbers;     /* where they begin */
};

struct net {
    int side, stride, out;    /* pixels of the image; of the stem: stride, side of its map */
    int stem_blocks, stem_words;
    const float *stem;        /* [block][27][16], tap by tap (ky, kx, colour); then bias, threshold */
    int count;
    const struct half *halves;
    const uint32_t *weights;
    const float *numbers;     /* of each half [block][5][16]: scale, before, slope, after, threshold */
    int features, neck, classes;    /* neck: 1 if there is one; classes: 0 if there is no classifier */
    const float *ends;        /* of neck and classifier: [block][1 + inputs][16], bias first */
};

/* ------------------------------------------------------------------ counting and signs
 *
 * count: of `pixels` pixels that lie `step` words apart, how many bits differ from those of 16 filters, over
 * `rows` runs of `length` words; runs lie `pitch` (activations) and `wpitch` (weights) words apart.
 * signs: 16 bits, 1 where value >= threshold.
 */

#if defined(__AVX512VPOPCNTDQ__) && defined(__AVX512F__) && !defined(NETWORK_PLAIN)

#include <immintrin.h>
#define NETWORK_SET "AVX-512"
#define PIXELS 4

static inline void count(const uint32_t *bits, int step, int pitch, const uint32_t *weights, int wpitch,
                         int rows, int length, int pixels, int32_t (*counts)[LANES])
{
    __m512i sums[PIXELS];
    for (int p = 0; p < pixels; p++)
        sums[p] = _mm512_setzero_si512();
    for (int row = 0; row < rows; row++)
        for (int i = 0; i < length; i++) {
            const __m512i w = _mm512_loadu_si512(weights + row * wpitch + i * LANES);
            for (int p = 0; p < pixels; p++) {
                const __m512i a = _mm512_set1_epi32((int)bits[row * pitch + i + p * step]);
                sums[p] = _mm512_add_epi32(sums[p], _mm512_popcnt_epi32(_mm512_xor_si512(a, w)));
            }
        }
    for (int p = 0; p < pixels; p++)
        _mm512_storeu_si512(counts[p], sums[p]);
}

static inline uint32_t signs(const float *values, const float *thresholds)
{
    return _mm512_cmp_ps_mask(_mm512_loadu_ps(values), _mm512_loadu_ps(thresholds), _CMP_GE_OQ);
}

#elif defined(__AVX2__) && !defined(NETWORK_PLAIN)

#include <immintrin.h>
#define NETWORK_SET "AVX2"
#define PIXELS 2

/* The ones of each byte, by a table of 16 for each half of it. */
static inline __m256i ones(__m256i x)
{
    const __m256i table = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
    const __m256i low = _mm256_set1_epi8(15);
    const __m256i one = _mm256_shuffle_epi8(table, _mm256_and_si256(x, low));
    const __m256i other = _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi32(x, 4), low));
    return _mm256_add_epi8(one, other);
}

/* The four bytes of each 32 bits, added up. */
static inline __m256i total(__m256i bytes)
{
    const __m256i pairs = _mm256_maddubs_epi16(bytes, _mm256_set1_epi8(1));
    return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

static inline void count(const uint32_t *bits, int step, int pitch, const uint32_t *weights, int wpitch,
                         int rows, int length, int pixels, int32_t (*counts)[LANES])
{
    __m256i sums[PIXELS][2];
    for (int p = 0; p < pixels; p++)
        sums[p][0] = sums[p][1] = _mm256_setzero_si256();
    for (int row = 0; row < rows; row++)
        for (int from = 0; from < length; from += 31) {    /* 31 * 8 ones: what a byte can hold */
            const int to = length - from < 31 ? length : from + 31;
            __m256i bytes[PIXELS][2];
            for (int p = 0; p < pixels; p++)
                bytes[p][0] = bytes[p][1] = _mm256_setzero_si256();
            for (int i = from; i < to; i++) {
                const __m256i *w = (const __m256i *)(const void *)(weights + row * wpitch + i * LANES);
                const __m256i w0 = _mm256_loadu_si256(w), w1 = _mm256_loadu_si256(w + 1);
                for (int p = 0; p < pixels; p++) {
                    const __m256i a = _mm256_set1_epi32((int)bits[row * pitch + i + p * step]);
                    bytes[p][0] = _mm256_add_epi8(bytes[p][0], ones(_mm256_xor_si256(a, w0)));
                    bytes[p][1] = _mm256_add_epi8(bytes[p][1], ones(_mm256_xor_si256(a, w1)));
                }
            }
            for (int p = 0; p < pixels; p++)
                for (int v = 0; v < 2; v++)
                    sums[p][v] = _mm256_add_epi32(sums[p][v], total(bytes[p][v]));
        }
    for (int p = 0; p < pixels; p++)
        for (int v = 0; v < 2; v++)
            _mm256_storeu_si256((__m256i *)(void *)(counts[p] + 8 * v), sums[p][v]);
}

static inline uint32_t signs(const float *values, const float *thresholds)
{
    uint32_t found = 0;
    for (int v = 0; v < LANES; v += 8)
        found |= (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(
                     _mm256_loadu_ps(values + v), _mm256_loadu_ps(thresholds + v), _CMP_GE_OQ)) << v;
    return found;
}

#elif defined(__ARM_NEON) && !defined(NETWORK_PLAIN)

#include <arm_neon.h>
#define NETWORK_SET "NEON"
#define PIXELS 2

static inline void count(const uint32_t *bits, int step, int pitch, const uint32_t *weights, int wpitch,
                         int rows, int length, int pixels, int32_t (*counts)[LANES])
{
    uint32x4_t sums[PIXELS][4];
    for (int p = 0; p < pixels; p++)
        for (int v = 0; v < 4; v++)
            sums[p][v] = vdupq_n_u32(0);
    for (int row = 0; row < rows; row++)
        for (int from = 0; from < length; from += 31) {    /* 31 * 8 ones: what a byte can hold */
            const int to = length - from < 31 ? length : from + 31;
            uint8x16_t bytes[PIXELS][4];
            for (int p = 0; p < pixels; p++)
                for (int v = 0; v < 4; v++)
                    bytes[p][v] = vdupq_n_u8(0);
            for (int i = from; i < to; i++) {
                const uint32_t *w = weights + row * wpitch + i * LANES;
                for (int p = 0; p < pixels; p++) {
                    const uint32x4_t a = vdupq_n_u32(bits[row * pitch + i + p * step]);
                    for (int v = 0; v < 4; v++)
                        bytes[p][v] = vaddq_u8(bytes[p][v], vcntq_u8(vreinterpretq_u8_u32(
                            veorq_u32(a, vld1q_u32(w + 4 * v)))));
                }
            }
            for (int p = 0; p < pixels; p++)
                for (int v = 0; v < 4; v++)
                    sums[p][v] = vpadalq_u16(sums[p][v], vpaddlq_u8(bytes[p][v]));
        }
    for (int p = 0; p < pixels; p++)
        for (int v = 0; v < 4; v++)
            vst1q_s32(counts[p] + 4 * v, vreinterpretq_s32_u32(sums[p][v]));
}

static inline uint32_t signs(const float *values, const float *thresholds)
{
    static const uint32_t places[4] = {1, 2, 4, 8};
    uint32_t found = 0;
    for (int v = 0; v < LANES; v += 4) {
        const uint32x4_t above = vcgeq_f32(vld1q_f32(values + v), vld1q_f32(thresholds + v));
        const uint32x4_t each = vandq_u32(above, vld1q_u32(places));
        const uint32x2_t two = vorr_u32(vget_low_u32(each), vget_high_u32(each));
        found |= (vget_lane_u32(two, 0) | vget_lane_u32(two, 1)) << v;
    }
    return found;
}

#else    /* C alone; compilers make vectors of the loops over lanes */

#define NETWORK_SET "plain"
#define PIXELS 1

static inline void count(const uint32_t *bits, int step, int pitch, const uint32_t *weights, int wpitch,
                         int rows, int length, int pixels, int32_t (*counts)[LANES])
{
    for (int p = 0; p < pixels; p++) {
        for (int l = 0; l < LANES; l++)
            counts[p][l] = 0;
        for (int row = 0; row < rows; row++)
            for (int from = 0; from < length; from += 31) {    /* 31 * 8 ones: what a byte can hold */
                const int to = length - from < 31 ? length : from + 31;
                uint32_t bytes[LANES] = {0};
                for (int i = from; i < to; i++) {
                    const uint32_t a = bits[row * pitch + i + p * step];
                    const uint32_t *w = weights + row * wpitch + i * LANES;
                    for (int l = 0; l < LANES; l++) {    /* the ones of 2, of 4, of 8 bits */
                        uint32_t x = a ^ w[l];
                        x = x - ((x >> 1) & 0x55555555U);
                        x = (x & 0x33333333U) + ((x >> 2) & 0x33333333U);
                        bytes[l] += (x + (x >> 4)) & 0x0f0f0f0fU;
                    }
                }
                for (int l = 0; l < LANES; l++) {
                    const uint32_t x = (bytes[l] & 0xff00ffU) + ((bytes[l] >> 8) & 0xff00ffU);
                    counts[p][l] += (int32_t)((x & 0xffffU) + (x >> 16));
                }
            }
    }
}

static inline uint32_t signs(const float *values, const float *thresholds)
{
    uint32_t found = 0;
    for (int l = 0; l < LANES; l++)
        found |= (uint32_t)(values[l] >= thresholds[l]) << l;
    return found;
}

#endif

/* ------------------------------------------------------------------ layers */

/* Put 16 signs of block `block` into the words of a pixel, which were zeros. */
static inline void put(uint32_t *pixel, int block, uint32_t found)
{
    pixel[block / 2] |= found << (block % 2 * LANES);
}

/* The mean of two by two pixels of a block at (2y, 2x), of fewer at the edge of an odd map. */
static inline void pool(const float *block, int side, int y, int x, float *mean)
{
    const int right = 2 * x + 1 < side, below = 2 * y + 1 < side;
    const float *at = block + (2 * y * side + 2 * x) * LANES;
    for (int l = 0; l < LANES; l++) {
        float sum = at[l];
        if (right)
            sum += at[l + LANES];
        if (below)
            sum += at[l + side * LANES];
        if (right && below)
            sum += at[l + (side + 1) * LANES];
        mean[l] = sum / (float)((1 + right) * (1 + below));
    }
}

/* What follows a convolution, for 16 channels of a pixel: scale, shortcut, RPReLU, and its signs. */
static inline uint32_t finish(const int32_t *counts, int products, const float *numbers,
                              const float *shortcut, float *out)
{
    const float *scale = numbers, *before = scale + LANES, *slope = before + LANES;
    const float *after = slope + LANES, *threshold = after + LANES;
    float y[LANES];
    for (int l = 0; l < LANES; l++) {
        const float sum = scale[l] * (float)(products - 2 * counts[l]) + shortcut[l] + before[l];
        y[l] = (sum < 0 ? slope[l] * sum : sum) + after[l];
    }
    memcpy(out, y, sizeof y);
    return signs(y, threshold);
}

/* `pixels` neighbours of row y, from x on, whose taps kx of [left, right) and ky of [top, bottom) lie in the map. */
static inline void strip(const struct half *h, const uint32_t *weights, const float *numbers,
                         const uint32_t *bits, uint32_t *next, const float *shortcut, float *out,
                         int block, int y, int x, int top, int bottom, int left, int right, int pixels)
{
    int32_t counts[PIXELS][LANES];
    const int pad = h->kernel / 2, pitch = h->side * h->words;
    const int first = ((y * h->stride - pad + top) * h->side + x * h->stride - pad + left) * h->words;
    const int products = (bottom - top) * (right - left) * h->channels;
    count(bits + first, h->stride * h->words, pitch,
          weights + (top * h->kernel + left) * h->words * LANES, h->kernel * h->words * LANES,
          bottom - top, (right - left) * h->words, pixels, counts);
    for (int p = 0; p < pixels; p++) {
        const int at = y * h->out + x + p;
        const float *own = shortcut + at * LANES;
        float mean[LANES];
        if (h->stride > 1) {
            pool(shortcut, h->side, y, x + p, mean);
            own = mean;
        }
        const uint32_t found = finish(counts[p], products, numbers, own, out + at * LANES);
        if (h->words_next)
            put(next + at * h->words_next, block, found);
    }
}

/* One half of a block: `bits` and `stream` of its input to `next` and `stream` of its output.
 * In place: of blocks that double, an upper one is made before the lower one that both repeat; where
 * the map shrinks, a pixel is written where nothing is read any more. */
static void run_half(const struct half *h, const struct net *net, const uint32_t *bits, uint32_t *next,
                     float *stream)
{
    const int pad = h->kernel / 2, repeats = h->blocks > h->blocks_in, single = h->kernel == 1;
    const int tall = single ? 1 : h->out, wide = single ? h->out * h->out : h->out;    /* 1x1: one long row */
    const int wide_in = single ? wide : h->side;
    if (h->words_next)
        memset(next, 0, (size_t)(h->out * h->out * h->words_next) * sizeof *next);
    for (int j = 0; j < h->blocks; j++) {
        const int block = repeats ? j / 2 + (j % 2 ? 0 : h->blocks_in) : j;
        const uint32_t *weights =
            net->weights + h->weights + block * h->kernel * h->kernel * h->words * LANES;
        const float *numbers = net->numbers + h->numbers + block * 5 * LANES;
        const float *shortcut = stream + block % h->blocks_in * h->side * h->side * LANES;
        float *out = stream + block * h->out * h->out * LANES;
        for (int y = 0; y < tall; y++) {
            const int above = y * h->stride - pad, below = h->side - h->kernel - above;
            const int top = above < 0 ? -above : 0, bottom = h->kernel + (below < 0 ? below : 0);
            for (int x = 0; x < wide;) {
                const int before = x * h->stride - pad, behind = wide_in - h->kernel - before;
                const int left = before < 0 ? -before : 0, right = h->kernel + (behind < 0 ? behind : 0);
                /* PIXELS at once where the last of them has all its taps, too. */
                if (left == 0 && x + PIXELS <= wide && behind >= (PIXELS - 1) * h->stride) {
                    strip(h, weights, numbers, bits, next, shortcut, out, block, y, x, top, bottom,
                          0, h->kernel, PIXELS);
                    x += PIXELS;
                } else {
                    strip(h, weights, numbers, bits, next, shortcut, out, block, y, x, top, bottom,
                          left, right, 1);
                    x += 1;
                }
            }
        }
    }
}

/* Row y of the image into the row buffer, between two pixels of zeros; rows outside are zeros. */
static void read_row(const float *floats, const uint8_t *bytes, int side, int y, float *row)
{
    static const float mean[3] = {0.485f, 0.456f, 0.406f}, deviation[3] = {0.229f, 0.224f, 0.225f};
    memset(row, 0, (size_t)(3 * (side + 2)) * sizeof *row);
    if (y < 0 || y >= side)
        return;
    for (int x = 0; x < side; x++)
        for (int c = 0; c < 3; c++)
            row[3 * (x + 1) + c] = floats ? floats[(c * side + y) * side + x]
                : ((float)bytes[3 * (y * side + x) + c] / 255.0f - mean[c]) / deviation[c];
}

/* The stem: a real-valued 3x3 convolution of the image. `rows` holds the three rows that it needs. */
static void run_stem(const struct net *net, const float *floats, const uint8_t *bytes, float *rows,
                     uint32_t *bits, float *stream)
{
    const int wide = 3 * (net->side + 2);
    memset(bits, 0, (size_t)(net->out * net->out * net->stem_words) * sizeof *bits);
    for (int y = 0, known = -2; y < net->out; y++) {
        for (; known < y * net->stride + 1; known++)
            read_row(floats, bytes, net->side, known + 1, rows + (known + 2) % 3 * wide);
        for (int block = 0; block < net->stem_blocks; block++) {
            const float *weights = net->stem + block * 29 * LANES;
            const float *bias = weights + 27 * LANES, *threshold = bias + LANES;
            for (int x = 0; x < net->out; x++) {
                const int at = y * net->out + x;
                float sum[LANES];
                memcpy(sum, bias, sizeof sum);
                for (int ky = 0; ky < 3; ky++) {
                    const float *row = rows + (y * net->stride + ky) % 3 * wide + 3 * x * net->stride;
                    for (int i = 0; i < 9; i++)
                        for (int l = 0; l < LANES; l++)
                            sum[l] += weights[(9 * ky + i) * LANES + l] * row[i];
                }
                memcpy(stream + (block * net->out * net->out + at) * LANES, sum, sizeof sum);
                put(bits + at * net->stem_words, block, signs(sum, threshold));
            }
        }
    }
}

/* The mean over a map of each channel. */
static void run_pool(const float *stream, int channels, int pixels, float *out)
{
    for (int c = 0; c < channels; c++) {
        float sum = 0;
        for (int p = 0; p < pixels; p++)
            sum += stream[(c / LANES * pixels + p) * LANES + c % LANES];
        out[c] = sum / (float)pixels;
    }
}

/* A linear layer; returns where the weights of the next one begin. */
static const float *run_linear(const float *weights, const float *in, int inputs, float *out, int outputs,
                               int rectified)
{
    for (int from = 0; from < outputs; from += LANES) {
        float sum[LANES];
        memcpy(sum, weights, sizeof sum);
        weights += LANES;
        for (int i = 0; i < inputs; i++, weights += LANES)
            for (int l = 0; l < LANES; l++)
                sum[l] += weights[l] * in[i];
        for (int l = 0; l < LANES && from + l < outputs; l++)
            out[from + l] = rectified && sum[l] < 0 ? 0 : sum[l];
    }
    return weights;
}

/* The whole network, of an image of floats or of bytes (the other one is NULL). */
static void run(const struct net *net, const float *floats, const uint8_t *bytes, float *rows,
                uint32_t *bits, uint32_t *next, float *stream, float *ends, float *out)
{
    run_stem(net, floats, bytes, rows, bits, stream);
    for (int i = 0; i < net->count; i++) {
        run_half(&net->halves[i], net, bits, next, stream);
        uint32_t *const swap = bits;
        bits = next;
        next = swap;
    }
    const int side = net->halves[net->count - 1].out;
    float *pooled = net->neck || net->classes ? ends : out;
    run_pool(stream, net->features, side * side, pooled);
    const float *weights = net->ends;
    if (net->neck) {
        float *necked = net->classes ? ends + net->features : out;
        weights = run_linear(weights, pooled, net->features, necked, net->features, 1);
        pooled = necked;
    }
    if (net->classes)
        run_linear(weights, pooled, net->features, out, net->classes, 0);
}
