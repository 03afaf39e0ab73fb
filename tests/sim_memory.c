/*
 * The simulation on itself: memory as x86 orders it.
 *
 * Each litmus test is run under many seeds. What x86 forbids is never seen;
 * what it allows is seen, and only with a store buffer.
 */
#include "tests/sim.h"

#include "sched/atomic.h"
#include "sched/os.h"

enum { RUNS = 2000 };

static struct {
    weft__au32 x, y;
    uint32_t seen[4];
    uint32_t plain;
    unsigned weird; /* runs in which the odd outcome was seen */
} s;

static void fresh(void *arg)
{
    (void)arg;
    weft__init(&s.x, 0);
    weft__init(&s.y, 0);
    for (int i = 0; i < 4; i++)
        s.seen[i] = 0;
    s.plain = 0;
}

/* How many of RUNS runs showed what `odd` looks for. */
static unsigned odd_runs(void (*a)(void *), void (*b)(void *),
                         int (*odd)(void *), unsigned buffer)
{
    void (*const fns[])(void *) = { a, b };
    weft_sim_t sim = sim_of(buffer);

    s.weird = 0;
    ck_assert_int_eq(
        weft__sim_search(&sim, RUNS, fns, 2, NULL, fresh, odd), RUNS);
    return s.weird;
}

/* --- Dekker: each stores, and looks at the other's ----------------------- */

static void dekker_a(void *arg)
{
    (void)arg;
    weft__store(&s.x, 1, RELAXED);
    s.seen[0] = weft__load(&s.y, RELAXED);
}

static void dekker_b(void *arg)
{
    (void)arg;
    weft__store(&s.y, 1, RELEASE);
    s.seen[1] = weft__load(&s.x, ACQUIRE);
}

static void dekker_fenced_a(void *arg)
{
    (void)arg;
    weft__store(&s.x, 1, RELAXED);
    weft__fence(SEQ_CST);
    s.seen[0] = weft__load(&s.y, RELAXED);
}

static void dekker_fenced_b(void *arg)
{
    (void)arg;
    weft__store(&s.y, 1, RELAXED);
    weft__fence(SEQ_CST);
    s.seen[1] = weft__load(&s.x, RELAXED);
}

static void dekker_seq_cst_a(void *arg)
{
    (void)arg;
    weft__store(&s.x, 1, SEQ_CST);
    s.seen[0] = weft__load(&s.y, SEQ_CST);
}

static void dekker_exchange_b(void *arg)
{
    (void)arg;
    (void)weft__exchange(&s.y, 1, RELAXED);
    s.seen[1] = weft__load(&s.x, RELAXED);
}

/* Also one that fails is a full barrier. */
static void dekker_swap_a(void *arg)
{
    uint32_t seen = 9;

    (void)arg;
    weft__store(&s.x, 1, RELAXED);
    sim_expect(!weft__cas(&s.x, &seen, 5, RELAXED, RELAXED) && seen == 1);
    s.seen[0] = weft__load(&s.y, RELAXED);
}

/* The asymmetric form: one pays for both, as in sched/lock.c. */
static void dekker_membarrier_b(void *arg)
{
    (void)arg;
    weft__store(&s.y, 1, RELAXED);
    weft__os_membarrier();
    s.seen[1] = weft__load(&s.x, RELAXED);
}

static int both_saw_nothing(void *arg)
{
    (void)arg;
    if (s.seen[0] == 0 && s.seen[1] == 0)
        s.weird++;
    return 0;
}

START_TEST(dekker_without_fence_is_found_with_a_buffer)
{
    unsigned n = odd_runs(dekker_a, dekker_b, both_saw_nothing, 2);

    printf("sim/dekker odd=%u of %u\n", n, (unsigned)RUNS);
    ck_assert_uint_ge(n, RUNS / 50);
}
END_TEST

START_TEST(dekker_without_fence_is_not_found_without_a_buffer)
{
    ck_assert_uint_eq(
        odd_runs(dekker_a, dekker_b, both_saw_nothing, UINT_MAX), 0);
}
END_TEST

START_TEST(dekker_with_a_barrier_holds)
{
    ck_assert_uint_eq(odd_runs(dekker_fenced_a, dekker_fenced_b,
                               both_saw_nothing, 2), 0);
    ck_assert_uint_eq(odd_runs(dekker_seq_cst_a, dekker_fenced_b,
                               both_saw_nothing, 2), 0);
    ck_assert_uint_eq(odd_runs(dekker_seq_cst_a, dekker_exchange_b,
                               both_saw_nothing, 2), 0);
    ck_assert_uint_eq(odd_runs(dekker_swap_a, dekker_exchange_b,
                               both_saw_nothing, 2), 0);
    ck_assert_uint_eq(odd_runs(dekker_a, dekker_membarrier_b,
                               both_saw_nothing, 8), 0);
}
END_TEST

/* One barrier of the two is not enough. */
START_TEST(dekker_with_one_fence_is_found)
{
    ck_assert_uint_gt(odd_runs(dekker_fenced_a, dekker_b, both_saw_nothing, 2),
                      0);
}
END_TEST

/* --- Message passing: stores of one thread arrive in order --------------- */

static void message_send(void *arg)
{
    (void)arg;
    s.plain = 42;
    weft__store(&s.x, 1, RELAXED);
    weft__store(&s.y, 1, RELEASE);
}

static void message_receive(void *arg)
{
    (void)arg;
    if (weft__load(&s.y, ACQUIRE)) {
        s.seen[0] = 1;
        s.seen[1] = weft__load(&s.x, RELAXED);
        s.seen[2] = s.plain;
    }
}

static int message_torn(void *arg)
{
    (void)arg;
    if (s.seen[0] && (s.seen[1] != 1 || s.seen[2] != 42))
        s.weird++;
    return 0;
}

static int message_whole(void *arg)
{
    (void)arg;
    if (s.seen[0])
        s.weird++;
    return 0;
}

START_TEST(messages_arrive_whole)
{
    ck_assert_uint_eq(odd_runs(message_send, message_receive, message_torn, 2),
                      0);
    /* And they do arrive in some of the runs. */
    ck_assert_uint_ge(odd_runs(message_send, message_receive, message_whole,
                               2), RUNS / 100);
}
END_TEST

/* --- A lost update ------------------------------------------------------- */

static void add_torn(void *arg)
{
    (void)arg;
    weft__store(&s.x, weft__load(&s.x, RELAXED) + 1, RELAXED);
}

static void add_whole(void *arg)
{
    (void)arg;
    (void)weft__fetch_add(&s.x, 1, RELAXED);
}

static int update_lost(void *arg)
{
    (void)arg;
    if (weft__load(&s.x, RELAXED) != 2)
        s.weird++;
    return 0;
}

START_TEST(a_lost_update_is_found)
{
    ck_assert_uint_ge(odd_runs(add_torn, add_torn, update_lost, UINT_MAX),
                      RUNS / 50);
    ck_assert_uint_ge(odd_runs(add_torn, add_torn, update_lost, 2), RUNS / 50);
    ck_assert_uint_eq(odd_runs(add_whole, add_whole, update_lost, 2), 0);
}
END_TEST

/* --- A buffer and its owner ---------------------------------------------- */

static struct {
    union {
        struct {
            weft__au8 low, high;
        } byte;
        weft__au32 word;
    } u;
    weft__au32 flag;
} own;

static void own_reads(void *arg)
{
    (void)arg;
    weft__init(&own.u.word, 0);
    weft__store(&own.flag, 7, RELAXED);
    sim_expect(weft__load(&own.flag, RELAXED) == 7);
    weft__store(&own.flag, 8, RELAXED);
    sim_expect(weft__load(&own.flag, RELAXED) == 8);

    /* A word over two bytes, one of them on its way. */
    weft__store(&own.u.byte.high, 1, RELAXED);
    sim_expect(weft__load(&own.u.word, RELAXED) == 0x100);
    weft__store(&own.u.byte.low, 1, RELEASE);
    sim_expect(weft__load(&own.u.word, ACQUIRE) == 0x101);
    weft__store(&own.u.byte.high, 0, RELAXED);
    sim_expect(weft__fetch_add(&own.u.word, 1, RELAXED) == 1);
    sim_expect(weft__load(&own.u.byte.low, RELAXED) == 2);
}

static void nothing(void *arg)
{
    (void)arg;
}

START_TEST(a_thread_sees_its_own_stores)
{
    void (*const fns[])(void *) = { own_reads, nothing };

    for (unsigned buffer = 1; buffer <= 8; buffer++) {
        weft_sim_t sim = sim_of(buffer);

        ck_assert_int_eq(weft__sim_search(&sim, 500, fns, 2, NULL, NULL, NULL),
                         500);
    }
}
END_TEST

/* Its memory is given back while a store to it waits, and the next owner of
 * the bytes writes to them: the later store wins, as on a real machine. */
static void reuse(void *arg)
{
    (void)arg;
    weft__init(&own.flag, 1);
    weft__store(&own.flag, 0, RELEASE);
    weft__init(&own.flag, 5);
    sim_expect(weft__load(&own.flag, RELAXED) == 5);
    weft__store(&own.flag, 6, RELEASE);
    weft__init(&own.flag, 9);
    weft__fence(SEQ_CST);
    sim_expect(own.flag.v == 9);
}

/* The same by way of a read-modify-write of the next owner's, in another thread:
 * the store that waits is out of date all the same. */
static weft__au32 mine;
static volatile bool handed;

static void hand_over(void *arg)
{
    (void)arg;
    weft__init(&mine, 1);
    weft__store(&mine, 0, RELEASE);
    handed = true;
}

static void take_over(void *arg)
{
    (void)arg;
    while (!handed)
        weft__os_pause();
    weft__init(&mine, 5);
    (void)weft__fetch_add(&mine, 1, RELAXED);
    for (int i = 0; i < 5; i++)
        sim_expect(weft__load(&mine, RELAXED) == 6);
}

static void begin_again(void *arg)
{
    (void)arg;
    handed = false;
}

START_TEST(a_store_that_waits_does_not_undo_a_later_plain_one)
{
    void (*const fns[])(void *) = { reuse, nothing };
    void (*const two[])(void *) = { hand_over, take_over };
    weft_sim_t sim = sim_of(2);

    ck_assert_int_eq(weft__sim_search(&sim, 500, fns, 2, NULL, NULL, NULL),
                     500);
    ck_assert_int_eq(weft__sim_search(&sim, 2000, two, 2, NULL, begin_again,
                                      NULL),
                     2000);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sim_memory");
    TCase *litmus = tcase_create("litmus");
    TCase *buffer = tcase_create("buffer");

    tcase_set_timeout(litmus, SIM_SECONDS);
    tcase_add_test(litmus, dekker_without_fence_is_found_with_a_buffer);
    tcase_add_test(litmus, dekker_without_fence_is_not_found_without_a_buffer);
    tcase_add_test(litmus, dekker_with_a_barrier_holds);
    tcase_add_test(litmus, dekker_with_one_fence_is_found);
    tcase_add_test(litmus, messages_arrive_whole);
    tcase_add_test(litmus, a_lost_update_is_found);
    suite_add_tcase(suite, litmus);

    tcase_set_timeout(buffer, SIM_SECONDS);
    tcase_add_test(buffer, a_thread_sees_its_own_stores);
    tcase_add_test(buffer, a_store_that_waits_does_not_undo_a_later_plain_one);
    suite_add_tcase(suite, buffer);

    return sim_main(suite);
}
