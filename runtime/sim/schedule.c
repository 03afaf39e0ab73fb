#include "runtime/sim/schedule.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/mman.h>

#include "runtime/sim/chooser.h"

int weft__schedule_begin(struct weft__schedule *s, uint64_t most)
{
    s->n = 0;
    s->hash = 0xcbf29ce484222325u;
    if (most <= s->room)
        return 0;

    if (s->choice != NULL)
        munmap(s->choice, s->room);
    s->room = 0;
    s->choice = mmap(NULL, most, PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (s->choice == MAP_FAILED) {
        s->choice = NULL;
        return -ENOMEM;
    }
    s->room = most;
    return 0;
}

struct schedule_out {
    char *text;
    size_t size;
    size_t n;
};

static void put(struct schedule_out *out, char c)
{
    if (out->n + 1 < out->size)
        out->text[out->n] = c;
    out->n++;
}

static void put_number(struct schedule_out *out, size_t x)
{
    char digits[20];
    unsigned n = 0;

    do {
        digits[n++] = (char)('0' + x % 10);
        x /= 10;
    } while (x > 0);
    while (n > 0)
        put(out, digits[--n]);
}

size_t weft__schedule_text(const struct weft__schedule *s, char *text,
                           size_t size)
{
    struct schedule_out out = { text, size, 0 };

    for (size_t i = 0, same; i < s->n; i += same) {
        unsigned c = s->choice[i];

        for (same = 1; i + same < s->n && s->choice[i + same] == c; same++)
            ;
        if (i > 0)
            put(&out, ',');
        if (c == WEFT__CHOOSE_TIME) {
            put(&out, 't');
        } else if (c >= WEFT__CHOOSE_DRAW) {
            put(&out, 'd');
            put_number(&out, c - WEFT__CHOOSE_DRAW);
        } else {
            if (c >= WEFT__CHOOSE_FLUSH)
                put(&out, 'f');
            put_number(&out, c % WEFT__CHOOSE_FLUSH);
        }
        if (same > 1) {
            put(&out, 'x');
            put_number(&out, same);
        }
    }
    if (size > 0)
        text[out.n < size ? out.n : size - 1] = '\0';
    return out.n;
}

/* A number without sign below `limit`; *text moves behind it. */
static bool parse_number(const char **text, uint64_t limit, uint64_t *x)
{
    const char *c = *text;

    for (*x = 0; *c >= '0' && *c <= '9'; c++) {
        *x = *x * 10 + (uint64_t)(*c - '0');
        if (*x >= limit)
            return false;
    }
    if (c == *text)
        return false;
    *text = c;
    return true;
}

int weft__schedule_parse(const char **text, unsigned *choice,
                         uint64_t *times)
{
    const char *c = *text;
    uint64_t thread, drawn;

    if (*c == '\0')
        return 0;
    if (*c == 't') {
        c++;
        *choice = WEFT__CHOOSE_TIME;
    } else if (*c == 'd') {
        c++;
        if (!parse_number(&c, WEFT__CHOOSE_DRAWS, &drawn))
            return -EINVAL;
        *choice = WEFT__CHOOSE_DRAW + (unsigned)drawn;
    } else {
        bool flush = *c == 'f';

        if (flush)
            c++;
        if (!parse_number(&c, WEFT__CHOOSE_FLUSH, &thread))
            return -EINVAL;
        *choice = (unsigned)thread + (flush ? WEFT__CHOOSE_FLUSH : 0);
    }

    *times = 1;
    if (*c == 'x') {
        c++;
        if (!parse_number(&c, UINT64_MAX / 20, times) || *times == 0)
            return -EINVAL;
    }
    if (*c == ',' && c[1] != '\0')
        c++;
    else if (*c != '\0')
        return -EINVAL;
    *text = c;
    return 1;
}
