/*
 * Waiting for signals, in a host program that has handlers of its own, or
 * none: who gets what, and that the host has its own back.
 */
#include "tests/support_signal.h"

#include <dirent.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

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

static weft__au32 host_value;

static void host_action(int sig, siginfo_t *info, void *context)
{
    (void)sig, (void)context;
    weft__store(&host_value, (uint32_t)info->si_pid, RELEASE);
    (void)weft__fetch_add(&host_got, 1, ACQ_REL);
}

enum host { NO_HANDLER, HANDLER, ACTION, IGNORES, HOSTS };

/* TSan does not know that errno is that of the thread which a fiber is on. */
static __attribute__((no_sanitize("thread"))) int last_error(void)
{
    return errno;
}

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
        ck_assert_int_eq(last_error(), ECHILD);
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
    tcase_add_test(tcase, a_program_that_waits_for_a_signal_is_not_dead);
    tcase_add_test(tcase, a_run_that_ends_leaves_no_handler);
    tcase_add_test(tcase, misuse_has_its_code);
    tcase_add_test(tcase, without_a_descriptor_the_wait_says_so);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
