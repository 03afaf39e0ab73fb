/*
 * Waiting for signals, in a host program that has handlers of its own, none,
 * or signals blocked: who gets what, and that the host has its own back.
 */
#include "tests/support_lane.h"

#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <weft/signal.h>

#include "sched/sanitizer.h"

/* --- The host -------------------------------------------------------------------------- */

static weft__au32 host_got, host_value;

static void host_handler(int sig)
{
    (void)sig;
    (void)weft__fetch_add(&host_got, 1, ACQ_REL);
}

static void host_action(int sig, siginfo_t *info, void *context)
{
    (void)sig, (void)context;
    weft__store(&host_value, (uint32_t)info->si_pid, RELEASE);
    (void)weft__fetch_add(&host_got, 1, ACQ_REL);
}

static void host_takes(int sig)
{
    struct sigaction action = { .sa_handler = host_handler };

    ck_assert_int_eq(sigaction(sig, &action, NULL), 0);
}

static bool host_has(int sig, void (*handler)(int))
{
    struct sigaction now;

    ck_assert_int_eq(sigaction(sig, NULL, &now), 0);
    return !(now.sa_flags & SA_SIGINFO) && now.sa_handler == handler;
}

static sigset_t set_of(int a, int b)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, a);
    if (b != 0)
        sigaddset(&set, b);
    return set;
}

/* Before a start, so that no thread takes it but by a wait. */
static void block(int sig)
{
    sigset_t set = set_of(sig, 0);

    ck_assert_int_eq(pthread_sigmask(SIG_BLOCK, &set, NULL), 0);
}

static void send_one(int sig)
{
    must(kill(getpid(), sig) == 0);
}

static void queue(int sig, int value)
{
    union sigval v = { .sival_int = value };

    must(sigqueue(getpid(), sig, v) == 0);
}

/* Check has handlers of its own, which its children inherit. */
static void no_handlers(void)
{
    signal(SIGTERM, SIG_DFL);
    signal(SIGINT, SIG_DFL);
}

/* A fiber that waits for one. */
struct waiter {
    sigset_t set;
    siginfo_t info;
    weft_time_t until; /* 0: none */
    int answer;
};

static void *wait_one(void *arg)
{
    struct waiter *w = arg;

    if (w->until != 0)
        w->answer = weft_signal_wait_until(&w->set, &w->info, w->until);
    else
        w->answer = weft_signal_wait(&w->set, &w->info);
    return NULL;
}

static struct waiter waiter(int a, int b)
{
    return (struct waiter){ .set = set_of(a, b) };
}

/* --- One signal ----------------------------------------------------------------------------- */

/* It would have killed us. */
WEFT_TEST(a_wait_takes_the_signal)
{
    struct waiter w = waiter(SIGTERM, 0);
    weft_fiber_t f = spawn(wait_one, &w);

    wait_until_parked(f);
    ck_assert(!host_has(SIGTERM, SIG_DFL));
    send_one(SIGTERM);
    join(f);
    ck_code(w.answer, SIGTERM);
    ck_assert_int_eq(w.info.si_signo, SIGTERM);
    ck_assert_int_eq(w.info.si_code, SI_USER);
    ck_assert_int_eq(w.info.si_pid, getpid());
    ck_assert(host_has(SIGTERM, SIG_DFL));
    /* Who does not want to know more need not. */
    w = waiter(SIGTERM, SIGUSR1);
    f = spawn(wait_one, &w);
    wait_until_parked(f);
    send_one(SIGUSR1);
    join(f);
    ck_assert_int_eq(w.answer, SIGUSR1);
    ck_assert(host_has(SIGTERM, SIG_DFL));
    ck_assert(host_has(SIGUSR1, SIG_DFL));
}
END_TEST

WEFT_TEST(the_hosts_handler_is_back_after_the_wait)
{
    struct waiter w = waiter(SIGTERM, SIGINT);
    weft_fiber_t f;

    host_takes(SIGTERM);
    signal(SIGINT, SIG_IGN);
    send_one(SIGTERM);
    wait_for(&host_got, 1);
    f = spawn(wait_one, &w);
    wait_until_parked(f);
    send_one(SIGTERM);
    join(f);
    ck_assert_int_eq(w.answer, SIGTERM);
    ck_assert_uint_eq(weft__load(&host_got, ACQUIRE), 1);
    ck_assert(host_has(SIGTERM, host_handler));
    ck_assert(host_has(SIGINT, SIG_IGN));
    send_one(SIGTERM);
    wait_for(&host_got, 2);
}
END_TEST

/* Whoever comes between has the last word. */
WEFT_TEST(a_handler_that_the_host_puts_up_meanwhile_stays)
{
    struct waiter w = waiter(SIGTERM, SIGUSR1);
    weft_fiber_t f = spawn(wait_one, &w);

    wait_until_parked(f);
    host_takes(SIGTERM);
    send_one(SIGTERM);
    wait_for(&host_got, 1);
    send_one(SIGUSR1);
    join(f);
    ck_assert_int_eq(w.answer, SIGUSR1);
    ck_assert(host_has(SIGTERM, host_handler));
}
END_TEST

/* --- Children ------------------------------------------------------------------------------- */

static pid_t child_that_ends(int status)
{
    pid_t pid = fork();

    if (pid == 0)
        _exit(status);
    ck_assert_int_gt(pid, 0);
    return pid;
}

enum host { NO_HANDLER, HANDLER, ACTION, IGNORES, HOSTS };

static void await_child(int i)
{
    enum host host = (enum host)i;
    struct waiter w = waiter(SIGCHLD, 0);
    weft_fiber_t f = spawn(wait_one, &w);
    int status;
    pid_t pid;

    wait_until_parked(f);
    pid = child_that_ends(3);
    join(f);
    ck_assert_int_eq(w.answer, SIGCHLD);
    ck_assert_int_eq(w.info.si_pid, pid);
    ck_assert_int_eq(w.info.si_code, CLD_EXITED);
    ck_assert_int_eq(w.info.si_status, 3);
    if (host == IGNORES) {
        /* The kernel has buried it, as the host wants. */
        ck_assert_int_eq(waitpid(pid, &status, 0), -1);
        ck_assert_int_eq(errno, ECHILD);
    } else {
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert_int_eq(WEXITSTATUS(status), 3);
    }
    if (host == HANDLER || host == ACTION)
        wait_for(&host_got, 1);
    if (host == ACTION)
        ck_assert_uint_eq(weft__load(&host_value, ACQUIRE), (uint32_t)pid);
}

START_TEST(the_hosts_handler_of_sigchld_is_called_too)
{
    enum host host = (enum host)_i;
    struct sigaction action = { .sa_handler = SIG_DFL }, after;

    if (host == HANDLER)
        action.sa_handler = host_handler;
    if (host == IGNORES)
        action.sa_handler = SIG_IGN;
    if (host == ACTION) {
        action.sa_sigaction = host_action;
        action.sa_flags = SA_SIGINFO;
    }
    ck_assert_int_eq(sigaction(SIGCHLD, &action, NULL), 0);
    run_body(await_child, _i);
    ck_assert_int_eq(sigaction(SIGCHLD, NULL, &after), 0);
    ck_assert(after.sa_handler == action.sa_handler);
    ck_assert_uint_eq(weft__load(&host_got, RELAXED),
                      host == HANDLER || host == ACTION);
}
END_TEST

/* What the child of a fork gets is not ours. */
WEFT_TEST(a_forked_child_has_the_hosts_handlers)
{
    struct waiter w = waiter(SIGTERM, SIGUSR1);
    weft_fiber_t f;
    pid_t pid;
    int status;

    host_takes(SIGUSR1);
    f = spawn(wait_one, &w);
    wait_until_parked(f);
    pid = fork();
    if (pid == 0) {
        sigset_t none;

        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        if (!host_has(SIGUSR1, host_handler))
            _exit(1);
        raise(SIGTERM);
        _exit(2);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
    ck_assert(is_state(f, "parked"));
    send_one(SIGUSR1);
    join(f);
    ck_assert_int_eq(w.answer, SIGUSR1);
}
END_TEST

/* --- Several ---------------------------------------------------------------------------------- */

enum { MANY = 5 };

WEFT_TEST(who_waits_longest_is_first)
{
    struct waiter w[MANY];
    weft_fiber_t f[MANY];

    for (int i = 0; i < MANY; i++) {
        w[i] = waiter(SIGRTMIN, 0);
        f[i] = spawn(wait_one, &w[i]);
        wait_until_parked(f[i]);
    }
    for (int i = 0; i < MANY; i++) {
        queue(SIGRTMIN, i);
        join(f[i]);
        ck_assert_int_eq(w[i].answer, SIGRTMIN);
        ck_assert_int_eq(w[i].info.si_value.sival_int, i);
        ck_assert_int_eq(w[i].info.si_code, SI_QUEUE);
        /* The handler stands as long as one of them waits. */
        ck_assert(host_has(SIGRTMIN, SIG_DFL) == (i == MANY - 1));
    }
}
END_TEST

WEFT_TEST(each_gets_what_it_waits_for)
{
    struct waiter a = waiter(SIGUSR1, 0), b = waiter(SIGUSR2, 0);
    struct waiter both = waiter(SIGUSR1, SIGUSR2);
    weft_fiber_t f = spawn(wait_one, &a), g, h;

    wait_until_parked(f);
    g = spawn(wait_one, &b);
    wait_until_parked(g);
    h = spawn(wait_one, &both);
    wait_until_parked(h);
    send_one(SIGUSR2);
    join(g);
    ck_assert_int_eq(b.answer, SIGUSR2);
    ck_assert(is_state(f, "parked"));
    ck_assert(is_state(h, "parked"));
    send_one(SIGUSR2);
    join(h);
    ck_assert_int_eq(both.answer, SIGUSR2);
    ck_assert(host_has(SIGUSR2, SIG_DFL));
    ck_assert(!host_has(SIGUSR1, SIG_DFL));
    send_one(SIGUSR1);
    join(f);
    ck_assert_int_eq(a.answer, SIGUSR1);
}
END_TEST

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
    unsigned rounds = (unsigned)ROUNDS(5000), ours = 0, ended = 0;
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

/* --- Alone --------------------------------------------------------------------------------------------- */

/* Everyone sleeps, and that is no deadlock: another process will wake us. */
WEFT_TEST(a_program_that_waits_for_a_signal_is_not_dead)
{
    sigset_t set = set_of(SIGUSR1, 0);
    siginfo_t info;
    pid_t parent = getpid(), pid;
    int status;

    signal(SIGUSR1, SIG_IGN);
    pid = fork();
    if (pid == 0) {
        usleep(30000); /* time to lie down */
        while (kill(parent, 0) == 0 && kill(parent, SIGUSR1) == 0)
            usleep(10000);
        _exit(0);
    }
    ck_assert_int_eq(weft_signal_wait(&set, &info), SIGUSR1);
    ck_assert_int_eq(info.si_pid, pid);
    kill(pid, SIGKILL);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
}
END_TEST

static unsigned descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned n = 0;

    ck_assert_ptr_nonnull(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static struct waiter left[3];

static void leave_waiters(int i)
{
    (void)i;
    for (int k = 0; k < 3; k++) {
        left[k] = waiter(SIGTERM, SIGUSR1);
        must_code(weft_go(wait_one, &left[k]), 0);
    }
    wait_until_n_parked(3);
}

START_TEST(a_run_that_ends_leaves_no_handler)
{
    unsigned before;

    run_body(leave_waiters, 0);
    before = descriptors();
    for (int i = 0; i < 5; i++) {
        run_body(leave_waiters, 0);
        for (int k = 0; k < 3; k++)
            ck_assert_int_eq(left[k].answer, -ECANCELED);
        ck_assert(host_has(SIGTERM, SIG_DFL));
        ck_assert(host_has(SIGUSR1, SIG_DFL));
    }
    ck_assert_uint_eq(descriptors(), before);
    while (threads_named("weft-signal") > 0)
        sched_yield();
}
END_TEST

/* --- Misuse ----------------------------------------------------------------------------------------------- */

static void misuse_outside(void *arg)
{
    sigset_t set = set_of(SIGUSR1, 0);

    (void)arg;
    ck_code(weft_signal_wait(&set, NULL), -EPERM);
    ck_code(weft_signal_wait_until(&set, NULL, WEFT_FOREVER), -EPERM);
    ck_code(weft_signal_wait_until(&set, NULL, WEFT_NOW), -EAGAIN);
}

WEFT_TEST(misuse_has_its_code)
{
    const int refused[] = { SIGKILL, SIGSTOP, SIGSEGV, SIGBUS,      SIGFPE,
                            SIGILL,  SIGTRAP, SIGSYS,  SIGABRT,
                            SIGRTMIN + 3 };
    sigset_t set;

    sigemptyset(&set);
    ck_code(weft_signal_wait(&set, NULL), -EINVAL);
    ck_code(weft_signal_wait(NULL, NULL), -EINVAL);
    ck_code(weft_signal_wait_until(NULL, NULL, WEFT_NOW), -EINVAL);
    sigfillset(&set);
    ck_code(weft_signal_wait(&set, NULL), -EINVAL);
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        set = set_of(SIGUSR1, refused[i]);
        ck_code(weft_signal_wait(&set, NULL), -EINVAL);
    }
    set = set_of(SIGUSR1, 0);
    ck_code(weft_signal_wait_until(&set, NULL, WEFT_NOW), -EAGAIN);
    ck_code(weft_signal_wait_until(&set, NULL, weft_now()), -ETIMEDOUT);
    on_thread(misuse_outside, NULL);
    on_lane(misuse_outside, NULL);
    ck_assert_int_eq(weft_cancel(weft_self()), 0);
    ck_code(weft_signal_wait(&set, NULL), -ECANCELED);
    ck_code(weft_signal_wait_until(&set, NULL, WEFT_FOREVER), -ECANCELED);
    weft_cancel_clear();
    ck_assert(host_has(SIGUSR1, SIG_DFL));
}
END_TEST

WEFT_TEST(without_a_descriptor_the_wait_says_so)
{
    struct rlimit old, none;
    sigset_t set = set_of(SIGUSR1, 0);

    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &old), 0);
    none = old;
    none.rlim_cur = 3;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    ck_code(weft_signal_wait(&set, NULL), -EMFILE);
    ck_code(weft_signal_wait_until(&set, NULL, WEFT_FOREVER), -EMFILE);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &old), 0);
    ck_assert(host_has(SIGUSR1, SIG_DFL));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("signal");
    TCase *tcase = tcase_create("signal");

    tcase_add_checked_fixture(tcase, no_handlers, NULL);
    tcase_add_test(tcase, a_wait_takes_the_signal);
    tcase_add_test(tcase, the_hosts_handler_is_back_after_the_wait);
    tcase_add_test(tcase, a_handler_that_the_host_puts_up_meanwhile_stays);
    tcase_add_loop_test(tcase, the_hosts_handler_of_sigchld_is_called_too, 0,
                        HOSTS);
    tcase_add_test(tcase, a_forked_child_has_the_hosts_handlers);
    tcase_add_test(tcase, who_waits_longest_is_first);
    tcase_add_test(tcase, each_gets_what_it_waits_for);
    tcase_add_test(tcase, a_blocked_signal_is_not_lost_between_two_waits);
    tcase_add_test(tcase, queued_signals_come_one_by_one);
    tcase_add_test(tcase, each_signal_is_taken_by_weft_or_by_the_host);
    tcase_add_test(tcase, what_is_pending_is_taken_though_it_is_late);
    tcase_add_loop_test(tcase, a_wait_that_is_ended_leaves_nothing_behind, 0,
                        2);
    tcase_add_loop_test(tcase, no_signal_is_lost_at_the_instant_of_success, 0,
                        2);
    tcase_add_test(tcase, a_program_that_waits_for_a_signal_is_not_dead);
    tcase_add_test(tcase, a_run_that_ends_leaves_no_handler);
    tcase_add_test(tcase, misuse_has_its_code);
    tcase_add_test(tcase, without_a_descriptor_the_wait_says_so);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
