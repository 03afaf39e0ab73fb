/*
 * The heap of a priority queue against a sorted list, operation by operation.
 */
#include "tests/support_prim.h"

#include "runtime/heap.h"

enum { ROOM = 200 };

/* What a value starts with; the rest of it is made of `n`. */
struct item {
    int key;
    int n;
};

static int compared;

static int by_key(const void *a, const void *b)
{
    struct item x, y;

    compared++;
    memcpy(&x, a, sizeof(x));
    memcpy(&y, b, sizeof(y));
    return (x.key > y.key) - (x.key < y.key);
}

static int never_the_same_way(const void *a, const void *b)
{
    return by_key(a, b) * 1000000;
}

/* The list: a value goes behind all whose key is not above its own. */
struct sorted {
    struct item item[ROOM];
    size_t len;
};

static void sorted_put(struct sorted *s, struct item x)
{
    size_t i = s->len++;

    for (; i > 0 && s->item[i - 1].key > x.key; i--)
        s->item[i] = s->item[i - 1];
    s->item[i] = x;
}

static struct item sorted_get(struct sorted *s)
{
    struct item x = s->item[0];

    s->len--;
    memmove(s->item, s->item + 1, s->len * sizeof(*s->item));
    return x;
}

static void make(unsigned char *value, size_t size, struct item x)
{
    memset(value, x.n & 0xff, size);
    memcpy(value, &x, sizeof(x));
}

static void expect(const unsigned char *value, size_t size, struct item x)
{
    struct item got;

    memcpy(&got, value, sizeof(got));
    must(got.key == x.key && got.n == x.n);
    for (size_t i = sizeof(x); i < size; i++)
        must(value[i] == (unsigned char)(x.n & 0xff));
}

/* Keys from few (so that most are equal) to many; sizes around the slot's. */
static const int key_ranges[] = { 1, 2, 5, 50, 1000000 };
static const size_t sizes[] = { 8, 15, 16, 17, 100 };

START_TEST(it_gives_what_a_sorted_list_gives)
{
    size_t size = sizes[_i % 5];
    int range = key_ranges[_i / 5];
    struct weft__heap heap = { size, never_the_same_way, 0 };
    char *array = malloc((ROOM + 2) * weft__heap_slot(size));
    struct sorted s = { .len = 0 };
    unsigned char value[100];
    uint32_t state = (uint32_t)_i + 1;
    int n = 0;

    for (int i = 0; i < 20000; i++) {
        /* It fills up and runs empty in turns. */
        unsigned up = i / 1000 % 2 ? 40 : 60;
        bool put = s.len == 0 ||
                   (s.len < ROOM && next_random(&state) % 100 < up);

        if (put) {
            struct item x = { (int)(next_random(&state) % (uint32_t)range),
                              n++ };

            make(value, size, x);
            weft__heap_put(&heap, array, s.len, value);
            sorted_put(&s, x);
        } else {
            weft__heap_get(&heap, array, s.len, value);
            expect(value, size, sorted_get(&s));
        }
    }
    while (s.len > 0) {
        weft__heap_get(&heap, array, s.len, value);
        expect(value, size, sorted_get(&s));
    }
    free(array);
}
END_TEST

/* Every order in which six values can come, with all keys and with pairs. */
START_TEST(it_sorts_every_order_of_six)
{
    struct weft__heap heap = { sizeof(struct item), by_key, 0 };
    char *array = malloc(8 * weft__heap_slot(sizeof(struct item)));
    int order[6] = { 0 };

    for (int code = 0; code < 6 * 6 * 6 * 6 * 6 * 6; code++) {
        struct sorted s = { .len = 0 };
        struct item x;

        for (int i = 0, c = code; i < 6; i++, c /= 6)
            order[i] = c % 6;
        for (int i = 0; i < 6; i++) {
            x = (struct item){ order[i], i };
            weft__heap_put(&heap, array, (size_t)i, &x);
            sorted_put(&s, x);
        }
        for (size_t len = 6; len > 0; len--) {
            struct item want = sorted_get(&s);

            weft__heap_get(&heap, array, len, &x);
            must(x.key == want.key && x.n == want.n);
        }
    }
    free(array);
}
END_TEST

/* A put or get looks at one path, not at all of it. */
START_TEST(it_compares_logarithmically_often)
{
    enum { N = 1 << 14 };
    struct weft__heap heap = { sizeof(struct item), by_key, 0 };
    char *array = malloc((N + 2) * weft__heap_slot(sizeof(struct item)));
    struct item x;

    for (int i = 0; i < N; i++) {
        x = (struct item){ -i, i };
        compared = 0;
        weft__heap_put(&heap, array, (size_t)i, &x);
        must(compared <= 15);
    }
    for (int i = N; i > 0; i--) {
        compared = 0;
        weft__heap_get(&heap, array, (size_t)i, &x);
        must(compared <= 30 && x.key == -i + 1);
    }
    free(array);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("heap");
    TCase *tcase = tcase_create("heap");

    tcase_add_loop_test(tcase, it_gives_what_a_sorted_list_gives, 0, 25);
    tcase_add_test(tcase, it_sorts_every_order_of_six);
    tcase_add_test(tcase, it_compares_logarithmically_often);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
