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
 * What is done for one channel is done for 16 side by side, in as many vectors (`reals`, `words`) as the
 * processor needs for them: PARTS. Every sum is taken in the same order everywhere, and no product is
 * fused with a sum (-ffp-contract=off): all processors that follow IEEE 754 give the same features, bit
 * for bit.
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
    const float *stem;        /* [block][29][16]: 27 taps (ky, kx, colour), bias, threshold */
    int count;
    const struct half *halves;
    const uint32_t *weights;
    const float *numbers;     /* of each half [block][5][16]: scale, before, slope, after, threshold */
    int features, neck, classes;    /* neck: 1 if there is one; classes: 0 if there is no classifier */
    const float *ends;        /* of neck and classifier: [block][1 + inputs][16], bias first */
};

/* ------------------------------------------------------------------ vectors
 *
 * reals, words: WIDTH floats or uint32_t side by side; SIZE bytes. Operators work on both, and so they do
 * on numbers, where a compiler or a chip has no vectors. PIXELS: how many are computed at once.
 * tally: ones of each word, in its bytes (31 of them can be added up); total: the sum of these bytes.
 */

#if !defined(__GNUC__) || defined(NETWORK_PLAIN)
#define NETWORK_SET "plain"
#define SIZE 4
#define PIXELS 1
#elif defined(__AVX512VPOPCNTDQ__) && defined(__AVX512F__)
#define NETWORK_SET "AVX-512"
#define SIZE 64
#define PIXELS 4
#include <immintrin.h>
#elif defined(__AVX2__)
#define NETWORK_SET "AVX2"
#define SIZE 32
#define PIXELS 2
#include <immintrin.h>
#elif defined(__ARM_NEON)
#define NETWORK_SET "NEON"
#define SIZE 16
#define PIXELS 2
#include <arm_neon.h>
#elif defined(__SSE2__)
#define NETWORK_SET "SSE2"
#define SIZE 16
#define PIXELS 1
#else
#define NETWORK_SET "plain"
#define SIZE 4
#define PIXELS 1
#endif

#define WIDTH (SIZE / 4)
#define PARTS (LANES / WIDTH)

#if SIZE > 4
typedef float reals __attribute__((vector_size(SIZE)));
typedef uint32_t words __attribute__((vector_size(SIZE)));
typedef int32_t integers __attribute__((vector_size(SIZE)));
typedef reals reals_in_memory __attribute__((aligned(4), may_alias));
typedef words words_in_memory __attribute__((aligned(4), may_alias));
#define TO_REALS(x) __builtin_convertvector((integers)(x), reals)
#define AT_LEAST(x, y) ((words)((x) >= (y)))    /* all ones where it is so */
#define CHOOSE(mask, x, y) ((reals)(((mask) & (words)(x)) | (~(mask) & (words)(y))))
#else
typedef float reals, reals_in_memory;
typedef uint32_t words, words_in_memory;
#define TO_REALS(x) ((float)(int32_t)(x))
#define AT_LEAST(x, y) ((x) >= (y) ? 0xffffffffU : 0U)
#define CHOOSE(mask, x, y) ((mask) ? (x) : (y))
#endif

#define READ(from, part) (((const reals_in_memory *)(const void *)(from))[part])
#define READ_WORDS(from, part) (((const words_in_memory *)(const void *)(from))[part])
#define WRITE(to, part) (((reals_in_memory *)(void *)(to))[part])

#if SIZE == 64
static inline words tally(words x) { return (words)_mm512_popcnt_epi32((__m512i)x); }
static inline words total(words counts) { return counts; }
#elif SIZE == 32
/* By a table of 16 for each half of a byte. */
static inline words tally(words x)
{
    const __m256i table = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
    const __m256i half = _mm256_set1_epi8(15);
    const __m256i low = _mm256_and_si256((__m256i)x, half);
    const __m256i high = _mm256_and_si256(_mm256_srli_epi32((__m256i)x, 4), half);
    return (words)_mm256_add_epi8(_mm256_shuffle_epi8(table, low), _mm256_shuffle_epi8(table, high));
}
static inline words total(words bytes)
{
    const __m256i pairs = _mm256_maddubs_epi16((__m256i)bytes, _mm256_set1_epi8(1));
    return (words)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}
#elif defined(__ARM_NEON) && SIZE == 16
static inline words tally(words x) { return (words)vcntq_u8((uint8x16_t)x); }
static inline words total(words bytes) { return (words)vpaddlq_u16(vpaddlq_u8((uint8x16_t)bytes)); }
#else
static inline words tally(words x)    /* the ones of 2, of 4, of 8 bits */
{
    x = x - ((x >> 1) & 0x55555555U);
    x = (x & 0x33333333U) + ((x >> 2) & 0x33333333U);
    return (x + (x >> 4)) & 0x0f0f0f0fU;
}
static inline words total(words bytes)
{
    bytes = (bytes & 0xff00ffU) + ((bytes >> 8) & 0xff00ffU);
    return (bytes & 0xffffU) + (bytes >> 16);
}
#endif

/* 16 bits, 1 where a value is at least its threshold. */
static inline uint32_t signs(const reals *values, const float *thresholds)
{
#if SIZE == 64
    return _mm512_cmp_ps_mask((__m512)values[0], (__m512)READ(thresholds, 0), _CMP_GE_OQ);
#elif SIZE == 32
    return (uint32_t)_mm256_movemask_ps((__m256)AT_LEAST(values[0], READ(thresholds, 0)))
        | (uint32_t)_mm256_movemask_ps((__m256)AT_LEAST(values[1], READ(thresholds, 1))) << 8;
#elif SIZE == 16
    static const words place = {1, 2, 4, 8};
    words found = {0};
    for (int v = 0; v < PARTS; v++)
        found |= (AT_LEAST(values[v], READ(thresholds, v)) & place) << 4 * v;
    return found[0] | found[1] | found[2] | found[3];
#else
    uint32_t found = 0;
    for (int v = 0; v < PARTS; v++)
        found |= (uint32_t)(values[v] >= thresholds[v]) << v;
    return found;
#endif
}

/* ------------------------------------------------------------------ a binary convolution */

/* In how many bits `pixels` neighbours, `step` words apart, differ from each of 16 filters: over `rows`
 * runs of `length` words, which lie `pitch` words (of the filters `wpitch`) apart. */
static inline void count(const uint32_t *bits, int step, int pitch, const uint32_t *weights, int wpitch,
                         int rows, int length, int pixels, words (*counts)[PARTS])
{
    for (int p = 0; p < pixels; p++)
        for (int v = 0; v < PARTS; v++)
            counts[p][v] = (words){0};
    for (int row = 0; row < rows; row++, bits += pitch, weights += wpitch)
        for (int from = 0; from < length; from += 31) {
            const int to = length - from < 31 ? length : from + 31;
            words bytes[PIXELS][PARTS];
            for (int p = 0; p < pixels; p++)
                for (int v = 0; v < PARTS; v++)
                    bytes[p][v] = (words){0};
            for (int i = from; i < to; i++)
                for (int p = 0; p < pixels; p++)
                    for (int v = 0; v < PARTS; v++)
                        bytes[p][v] += tally(READ_WORDS(weights + i * LANES, v) ^ bits[i + p * step]);
            for (int p = 0; p < pixels; p++)
                for (int v = 0; v < PARTS; v++)
                    counts[p][v] += total(bytes[p][v]);
        }
}

/* The mean of two by two pixels of a block at (2y, 2x), of fewer at the edge of an odd map. */
static inline void pool(const float *block, int side, int y, int x, reals *mean)
{
    const int right = 2 * x + 1 < side, below = 2 * y + 1 < side;
    const float *at = block + (2 * y * side + 2 * x) * LANES;
    const float share = 1.0f / (float)((1 + right) * (1 + below));    /* a power of two: exact */
    for (int v = 0; v < PARTS; v++) {
        reals sum = READ(at, v);
        if (right)
            sum += READ(at + LANES, v);
        if (below)
            sum += READ(at + side * LANES, v);
        if (right && below)
            sum += READ(at + (side + 1) * LANES, v);
        mean[v] = sum * share;
    }
}

/* Put 16 signs of a block into the words of a pixel, which were zeros. */
static inline void put(uint32_t *pixel, int block, uint32_t found)
{
    pixel[block / 2] |= found << (block % 2 * LANES);
}

/* A block of 16 channels of a half, and where it works. */
struct place {
    const struct half *half;
    int block;
    const uint32_t *bits, *weights;    /* what goes in */
    uint32_t *next;                    /* what comes out */
    const float *numbers, *shortcut;
    float *out;
};

/* `pixels` neighbours of row y, from x on, whose taps ky of [top, bottom) and kx of [left, right) lie in
 * the map: convolution, scale, shortcut, RPReLU and signs. */
static inline void strip(const struct place *to, int y, int x, int top, int bottom, int left, int right,
                         int pixels)
{
    const struct half *h = to->half;
    const int pad = h->kernel / 2;
    const int first = (y * h->stride - pad + top) * h->side + x * h->stride - pad + left;
    const int products = (bottom - top) * (right - left) * h->channels;
    const float *scale = to->numbers, *before = scale + LANES, *slope = before + LANES;
    const float *after = slope + LANES, *threshold = after + LANES;
    words counts[PIXELS][PARTS];
    count(to->bits + first * h->words, h->stride * h->words, h->side * h->words,
          to->weights + (top * h->kernel + left) * h->words * LANES, h->kernel * h->words * LANES,
          bottom - top, (right - left) * h->words, pixels, counts);
    for (int p = 0; p < pixels; p++) {
        const int at = y * h->out + x + p;
        reals shortcut[PARTS], values[PARTS];
        if (h->stride > 1)
            pool(to->shortcut, h->side, y, x + p, shortcut);
        else
            for (int v = 0; v < PARTS; v++)
                shortcut[v] = READ(to->shortcut + at * LANES, v);
        for (int v = 0; v < PARTS; v++) {
            const reals sum = TO_REALS((uint32_t)products - 2 * counts[p][v]);
            const reals value = READ(scale, v) * sum + shortcut[v] + READ(before, v);
            const words positive = AT_LEAST(value, (reals){0});
            values[v] = CHOOSE(positive, value, READ(slope, v) * value) + READ(after, v);
            WRITE(to->out + at * LANES, v) = values[v];
        }
        if (h->words_next)
            put(to->next + at * h->words_next, to->block, signs(values, threshold));
    }
}

/* One half of a block: `bits` and `stream` of its input to `next` and `stream` of its output.
 * In place: of blocks that double, an upper one is made before the lower one that both repeat; where
 * the map shrinks, a pixel is written where nothing is read any more. */
static void run_half(const struct net *net, const struct half *h, const uint32_t *bits, uint32_t *next,
                     float *stream)
{
    const int pad = h->kernel / 2, repeats = h->blocks > h->blocks_in, single = h->kernel == 1;
    const int tall = single ? 1 : h->out, wide = single ? h->out * h->out : h->out;    /* 1x1: one long row */
    const int wide_in = single ? wide : h->side;
    if (h->words_next)
        memset(next, 0, (size_t)(h->out * h->out * h->words_next) * sizeof *next);
    for (int j = 0; j < h->blocks; j++) {
        const int block = repeats ? j / 2 + (j % 2 ? 0 : h->blocks_in) : j;
        const struct place to = {
            h, block, bits,
            net->weights + h->weights + block * h->kernel * h->kernel * h->words * LANES, next,
            net->numbers + h->numbers + block * 5 * LANES,
            stream + block % h->blocks_in * h->side * h->side * LANES,
            stream + block * h->out * h->out * LANES,
        };
        for (int y = 0; y < tall; y++) {
            const int above = y * h->stride - pad, below = h->side - h->kernel - above;
            const int top = above < 0 ? -above : 0, bottom = h->kernel + (below < 0 ? below : 0);
            for (int x = 0; x < wide;) {
                const int before = x * h->stride - pad, behind = wide_in - h->kernel - before;
                const int left = before < 0 ? -before : 0, right = h->kernel + (behind < 0 ? behind : 0);
                /* PIXELS at once where the last of them has all its taps, too. */
                if (PIXELS > 1 && left == 0 && behind >= (PIXELS - 1) * h->stride) {
                    strip(&to, y, x, top, bottom, 0, h->kernel, PIXELS);
                    x += PIXELS;
                } else {
                    strip(&to, y, x, top, bottom, left, right, 1);
                    x += 1;
                }
            }
        }
    }
}

/* ------------------------------------------------------------------ both ends */

/* Row y of the image into the row buffer, between two pixels of zeros; rows outside are zeros.
 * levels: what each byte of each colour is. */
static void read_row(const float *floats, const uint8_t *bytes, const float *levels, int side, int y,
                     float *row)
{
    memset(row, 0, (size_t)(3 * (side + 2)) * sizeof *row);
    if (y < 0 || y >= side)
        return;
    for (int x = 0; x < side; x++)
        for (int c = 0; c < 3; c++)
            row[3 * (x + 1) + c] = floats ? floats[(c * side + y) * side + x]
                                          : levels[256 * c + bytes[3 * (y * side + x) + c]];
}

/* Some neighbours of a block of the stem: `rows` are the three of the image, from the first tap on. */
static inline void stem_strip(const float *weights, const float *const *rows, int step, int pixels,
                              float *out, uint32_t *bits, int stem_words, int block)
{
    reals sums[PIXELS][PARTS];
    for (int p = 0; p < pixels; p++)
        for (int v = 0; v < PARTS; v++)
            sums[p][v] = READ(weights + 27 * LANES, v);
    for (int ky = 0; ky < 3; ky++)
        for (int i = 0; i < 9; i++)
            for (int p = 0; p < pixels; p++)
                for (int v = 0; v < PARTS; v++)
                    sums[p][v] += READ(weights + (9 * ky + i) * LANES, v) * rows[ky][i + p * step];
    for (int p = 0; p < pixels; p++) {
        for (int v = 0; v < PARTS; v++)
            WRITE(out + p * LANES, v) = sums[p][v];
        put(bits + p * stem_words, block, signs(sums[p], weights + 28 * LANES));
    }
}

/* The stem: a real-valued 3x3 convolution. `rows` keeps the three rows of the image that it needs. */
static void run_stem(const struct net *net, const float *floats, const uint8_t *bytes,
                     const float *levels, float *rows, uint32_t *bits, float *stream)
{
    const int wide = 3 * (net->side + 2), step = 3 * net->stride;
    memset(bits, 0, (size_t)(net->out * net->out * net->stem_words) * sizeof *bits);
    for (int y = 0, known = -2; y < net->out; y++) {
        for (; known < y * net->stride + 1; known++)
            read_row(floats, bytes, levels, net->side, known + 1, rows + (known + 2) % 3 * wide);
        for (int block = 0; block < net->stem_blocks; block++) {
            const float *weights = net->stem + block * 29 * LANES, *own[3];
            for (int ky = 0; ky < 3; ky++)
                own[ky] = rows + (y * net->stride + ky) % 3 * wide;
            for (int x = 0; x < net->out;) {
                const int at = y * net->out + x, pixels = x + PIXELS <= net->out ? PIXELS : 1;
                float *out = stream + (block * net->out * net->out + at) * LANES;
                uint32_t *pixel = bits + at * net->stem_words;
                if (pixels > 1)
                    stem_strip(weights, own, step, PIXELS, out, pixel, net->stem_words, block);
                else
                    stem_strip(weights, own, step, 1, out, pixel, net->stem_words, block);
                for (int ky = 0; ky < 3; ky++)
                    own[ky] += pixels * step;
                x += pixels;
            }
        }
    }
}

/* The mean over a map of each channel. */
static void run_pool(const float *stream, int channels, int pixels, float *out)
{
    for (int c = 0; c < channels; c += LANES, stream += pixels * LANES)
        for (int v = 0; v < PARTS; v++) {
            reals sum = {0};
            for (int p = 0; p < pixels; p++)
                sum += READ(stream + p * LANES, v);
            WRITE(out + c, v) = sum / (float)pixels;
        }
}

/* A linear layer; returns where the weights of the next one begin. */
static const float *run_linear(const float *weights, const float *in, int inputs, float *out, int outputs,
                               int rectified)
{
    for (int from = 0; from < outputs; from += LANES) {
        reals sums[PARTS];
        float values[LANES];
        for (int v = 0; v < PARTS; v++)
            sums[v] = READ(weights, v);
        weights += LANES;
        for (int i = 0; i < inputs; i++, weights += LANES)
            for (int v = 0; v < PARTS; v++)
                sums[v] += READ(weights, v) * in[i];
        for (int v = 0; v < PARTS; v++)
            WRITE(values, v) = sums[v];
        for (int l = 0; l < LANES && from + l < outputs; l++)
            out[from + l] = rectified && values[l] < 0 ? 0 : values[l];
    }
    return weights;
}

/* The whole network, of an image of floats or of bytes (the other one is NULL). */
static void run(const struct net *net, const float *floats, const uint8_t *bytes, float *levels,
                float *rows, uint32_t *bits, uint32_t *next, float *stream, float *ends, float *out)
{
    static const float mean[3] = {0.485f, 0.456f, 0.406f}, deviation[3] = {0.229f, 0.224f, 0.225f};
    for (int i = 0; bytes && i < 3 * 256; i++)
        levels[i] = ((float)(i % 256) / 255.0f - mean[i / 256]) / deviation[i / 256];
    run_stem(net, floats, bytes, levels, rows, bits, stream);
    for (int i = 0; i < net->count; i++) {
        run_half(net, &net->halves[i], bits, next, stream);
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
