/* Images on stdin, features or classes on stdout, a line for each image.
 *
 *     network < picture.ppm        binary PPMs (P6, 8 bits) of NETWORK_SIDE pixels a side, one or several
 *     network --floats < images    or [3][side][side] normalised floats of this machine
 *     network --numbers            of a classifier: all its outputs, not the best class alone
 *     network --bench N            no input: the mean time of N images
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "network.h"

#define COUNT (3 * NETWORK_SIDE * NETWORK_SIDE)

static struct network_memory memory;
static float floats[COUNT], outputs[NETWORK_OUTPUTS];
static uint8_t bytes[COUNT];

static int refuse(const char *found)
{
    fprintf(stderr, "stdin: found %s; expected %s of %d x %d pixels\n", found,
            "a binary PPM (P6, 8 bits) or, with --floats, normalised floats", NETWORK_SIDE, NETWORK_SIDE);
    return 2;
}

/* A number of a PPM's header, after white space and comments; -1 if there is none. */
static int header_number(void)
{
    int c = getchar(), number = 0;
    while (c == '#' || c == ' ' || c == '\t' || c == '\n' || c == '\r') {
        if (c == '#')
            while (c != '\n' && c != EOF)
                c = getchar();
        c = getchar();
    }
    if (c < '0' || c > '9')
        return -1;
    for (; c >= '0' && c <= '9'; c = getchar())
        if (number < 1000000)
            number = 10 * number + (c - '0');
    return number; /* one byte of white space behind it is read, too */
}

/* 1: an image; 0: the end of the input; -1: something else, told in `found`. */
static int read_ppm(char *found, size_t room)
{
    const int first = getchar(), second = first == EOF ? EOF : getchar();
    if (first == EOF)
        return 0;
    if (first != 'P' || second != '6') {
        snprintf(found, room, "no binary PPM");
        return -1;
    }
    const int width = header_number(), height = header_number(), most = header_number();
    if (width != NETWORK_SIDE || height != NETWORK_SIDE || most != 255) {
        snprintf(found, room, "a PPM of %d x %d pixels, values to %d", width, height, most);
        return -1;
    }
    const size_t got = fread(bytes, 1, COUNT, stdin);
    if (got != COUNT) {
        snprintf(found, room, "a PPM that ends after %lu of %d bytes", (unsigned long)got, COUNT);
        return -1;
    }
    return 1;
}

static int read_floats(char *found, size_t room)
{
    const size_t got = fread(floats, 1, sizeof floats, stdin);
    if (got != 0 && got != sizeof floats)
        snprintf(found, room, "%lu bytes, where an image has %lu", (unsigned long)got,
                 (unsigned long)sizeof floats);
    return got == sizeof floats ? 1 : got == 0 ? 0 : -1;
}

static void show(int numbers)
{
#if NETWORK_CLASSES
    if (!numbers) {
        int best = 0;
        for (int i = 1; i < NETWORK_CLASSES; i++)
            if (outputs[i] > outputs[best])
                best = i;
        printf("%d %s\n", best, network_names[best]);
        return;
    }
#else
    (void)numbers;
#endif
    for (int i = 0; i < NETWORK_OUTPUTS; i++)
        printf("%.9g%c", (double)outputs[i], i + 1 < NETWORK_OUTPUTS ? ' ' : '\n');
}

static int bench(int rounds)
{
    network_of_bytes(bytes, outputs, &memory);
    const clock_t began = clock();
    for (int i = 0; i < rounds; i++)
        network_of_bytes(bytes, outputs, &memory);
    const double seconds = (double)(clock() - began) / CLOCKS_PER_SEC;
    printf("%.4f ms an image, mean of %d (%s)\n", 1000 * seconds / rounds, rounds, network_set());
    return 0;
}

int main(int count, char **words)
{
    int as_floats = 0, numbers = 0, images = 0, got;
    char found[80];
    for (int i = 1; i < count; i++)
        if (!strcmp(words[i], "--bench") && i + 1 < count && atoi(words[i + 1]) > 0) {
            return bench(atoi(words[i + 1]));
        } else if (!strcmp(words[i], "--floats")) {
            as_floats = 1;
        } else if (!strcmp(words[i], "--numbers")) {
            numbers = 1;
        } else {
            fprintf(stderr, "%s: found %s; allowed: --floats, --numbers, --bench N\n", words[0], words[i]);
            return 2;
        }
    while ((got = as_floats ? read_floats(found, sizeof found) : read_ppm(found, sizeof found)) > 0) {
        if (as_floats)
            network_of_floats(floats, outputs, &memory);
        else
            network_of_bytes(bytes, outputs, &memory);
        show(numbers);
        images++;
    }
    if (got < 0)
        return refuse(found);
    return images ? 0 : refuse("nothing");
}
