/*
 * No signal is lost: between two waits, before the first, at the instant at
 * which a wait is ended. Weft keeps it, or the host has it.
 */
#include "tests/support_signal.h"

#include <sched.h>
#include <unistd.h>

#include "sched/sanitizer.h"

/* --- Between two waits ---------------------------------------------------------------------------- */

static weft__au32 seen;

static void send_terms(void *arg)
{
    uint32_t n = *(uint32_t *)arg;

    for (uint32_t i = 0; i < n; i++) {
        send_one(SIGTERM);
        while (weft__load(&seen, ACQUIRE) <= i)
            sched_yield();
    }
}

/* Each comes when it pleases: while someone waits, or before, or after. */
static void take_terms(int i)
{
    struct waiter w = waiter(SIGTERM, 0);
    uint32_t n = (uint32_t)ROUNDS(2000), random = 9;
    struct foreign sender;

    (void)i;
    foreign_start(&sender, send_terms, &n);
    for (uint32_t k = 0; k < n; k++) {
        must(weft_signal_wait(&w.set, NULL) == SIGTERM);
        must(host_has(SIGTERM, SIG_DFL));
        (void)weft__fetch_add(&seen, 1, ACQ_REL);
        for (uint32_t y = next_random(&random) % 4; y > 0; y--)
            weft_yield();
    }
    foreign_join(&sender);
}

/* The program blocks it before the start: then none kills it between two
 * waits, though its disposition is to die, and none is lost. */
START_TEST(a_blocked_signal_is_not_lost_between_two_waits)
{
    block(SIGTERM);
    run_body(take_terms, 0);
    ck_assert(host_has(SIGTERM, SIG_DFL));
}
END_TEST

enum { VALUES = 200 };

static void take_values(int i)
{
    struct waiter w = waiter(SIGRTMIN + 1, 0);

    (void)i;
    for (int k = 0; k < VALUES; k++)
        queue(SIGRTMIN + 1, k);
    for (int k = 0; k < VALUES; k++) {
        ck_code(weft_signal_wait(&w.set, &w.info), SIGRTMIN + 1);
        ck_assert_int_eq(w.info.si_value.sival_int, k);
    }
    ck_code(weft_signal_wait_until(&w.set, &w.info, WEFT_NOW), -EAGAIN);
}

START_TEST(queued_signals_come_one_by_one)
{
    block(SIGRTMIN + 1);
    run_body(take_values, 0);
}
END_TEST

/* Not blocked: then what comes between two waits is the host's; and no signal
 * is both, or neither. */
WEFT_TEST(each_signal_is_taken_by_weft_or_by_the_host)
{
    unsigned rounds = (unsigned)ROUNDS(2000), ours = 0;
    struct waiter w = waiter(SIGRTMIN, 0);

#ifdef WEFT__TSAN
    return; /* it delivers one of several that wait for a thread */
#endif
    host_takes(SIGRTMIN);
    for (unsigned i = 0; i < rounds; i++) {
        struct waiter one = waiter(SIGRTMIN, 0);
        weft_fiber_t f = spawn(wait_one, &one);

        wait_until_parked(f);
        queue(SIGRTMIN, 1);
        queue(SIGRTMIN, 2);
        queue(SIGRTMIN, 3);
        join(f);
        must(one.answer == SIGRTMIN);
        ours++;
        /* Those that came while the handler stood have been kept, or are
         * about to be. */
        while (ours + weft__load(&host_got, ACQUIRE) < 3 * (i + 1)) {
            if (weft_signal_wait_until(&w.set, &w.info, WEFT_NOW) ==
                SIGRTMIN)
                ours++;
            weft_yield();
        }
    }
    ck_assert_uint_eq(ours + weft__load(&host_got, ACQUIRE), 3 * rounds);
    ck_code(weft_signal_wait_until(&w.set, &w.info, WEFT_NOW), -EAGAIN);
}
END_TEST

/* --- What is pending already ----------------------------------------------------------------------- */

static void take_pending(void *arg)
{
    struct waiter *w = arg;

    send_one(SIGUSR1);
    ck_code(weft_signal_wait_until(&w->set, &w->info, WEFT_NOW), SIGUSR1);
    ck_assert_int_eq(w->info.si_pid, getpid());
    send_one(SIGUSR1);
    ck_code(weft_signal_wait_until(&w->set, NULL, weft_now()), SIGUSR1);
    ck_code(weft_signal_wait_until(&w->set, NULL, WEFT_NOW), -EAGAIN);
}

static void pending(int i)
{
    struct waiter w = waiter(SIGUSR1, 0);

    (void)i;
    take_pending(&w);
    on_thread(take_pending, &w);
    on_lane(take_pending, &w);
    ck_assert_uint_eq(threads_named("weft-signal"), 0);
}

START_TEST(what_is_pending_is_taken_though_it_is_late)
{
    block(SIGUSR1);
    run_body(pending, 0);
}
END_TEST

/* --- Waits that end early ---------------------------------------------------------------------------- */

WEFT_TEST(a_wait_that_is_ended_leaves_nothing_behind)
{
    struct waiter w = waiter(SIGTERM, SIGUSR2), other = waiter(SIGUSR2, 0);
    weft_fiber_t g = spawn(wait_one, &other), f;

    wait_until_parked(g);
    f = spawn(wait_one, &w);
    wait_until_parked(f);
    if (_i == 0) {
        ck_assert_int_eq(weft_cancel(f), 0);
    } else {
        ck_assert(expire(f));
    }
    join(f);
    ck_code(w.answer, _i == 0 ? -ECANCELED : -ETIMEDOUT);
    ck_assert(host_has(SIGTERM, SIG_DFL));
    ck_assert(!host_has(SIGUSR2, SIG_DFL));
    send_one(SIGUSR2);
    join(g);
    ck_assert_int_eq(other.answer, SIGUSR2);
    ck_assert(host_has(SIGUSR2, SIG_DFL));

    w = waiter(SIGTERM, 0);
    w.until = weft_after(WEFT_MS(5));
    wait_one(&w);
    ck_code(w.answer, -ETIMEDOUT);
    ck_assert_int_ge(weft_now(), w.until);
    ck_assert(host_has(SIGTERM, SIG_DFL));
}
END_TEST

static void *cancel_it(void *arg)
{
    (void)weft_cancel(*(weft_fiber_t *)arg);
    return NULL;
}

/* A signal and a cancel, or a deadline, together: it is taken, or the host's,
 * or kept. */
WEFT_TEST(no_signal_is_lost_at_the_instant_of_success)
{
    bool deadline = _i;
    unsigned rounds = instants(5000), ours = 0, ended = 0;
    struct waiter rest = waiter(SIGRTMIN, 0);
    uint32_t random = 11;

    host_takes(SIGRTMIN);
    for (unsigned i = 0; i < rounds; i++) {
        struct waiter w = waiter(SIGRTMIN, 0);
        weft_fiber_t f, g;

        if (deadline)
            w.until = weft_after(1 + next_random(&random) % 60000);
        f = spawn(wait_one, &w);
        for (uint32_t n = next_random(&random) % 8; n > 0; n--)
            weft_yield();
        queue(SIGRTMIN, (int)i);
        if (!deadline) {
            g = spawn(cancel_it, &f);
            join(g);
        }
        join(f);
        if (w.answer == SIGRTMIN)
            ours++;
        else if (w.answer == (deadline ? -ETIMEDOUT : -ECANCELED))
            ended++;
        else
            ck_abort_msg("a wait answers %d", w.answer);
        while (ours + weft__load(&host_got, ACQUIRE) < i + 1) {
            if (weft_signal_wait_until(&rest.set, NULL, WEFT_NOW) ==
                SIGRTMIN)
                ours++;
            weft_yield();
        }
    }
    ck_assert_uint_eq(ours + weft__load(&host_got, ACQUIRE), rounds);
    ck_assert(host_has(SIGRTMIN, host_handler));
    ck_assert_uint_gt(ours, 0);
    ck_assert_uint_gt(ended, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("signal_kept");
    TCase *tcase = tcase_create("signal_kept");

    tcase_add_checked_fixture(tcase, no_handlers, NULL);
    tcase_add_test(tcase, a_blocked_signal_is_not_lost_between_two_waits);
    tcase_add_test(tcase, queued_signals_come_one_by_one);
    tcase_add_test(tcase, each_signal_is_taken_by_weft_or_by_the_host);
    tcase_add_test(tcase, what_is_pending_is_taken_though_it_is_late);
    tcase_add_loop_test(tcase, a_wait_that_is_ended_leaves_nothing_behind, 0,
                        2);
    tcase_add_loop_test(tcase, no_signal_is_lost_at_the_instant_of_success, 0,
                        2);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
