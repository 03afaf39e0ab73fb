/*
 * A forked child has none of weft's threads. Each call there answers -EPERM,
 * or what it answers to a foreign thread, and none hangs.
 */
#include "tests/support.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "netpoll/offload.h"
#include "sched/os.h"
#include "sched/sched.h"

static struct {
    weft_fiber_t live;  /* asleep on `never` */
    weft_fiber_t ended; /* and not joined */
    weft_fiber_t self;
    weft_chan_t *never;
    weft_chan_t *box; /* holds one signal, and is full */
    weft_queue_t *queue;
    weft_mutex_t held; /* by the fiber that forks */
    weft_mutex_t free;
    weft_waitgroup_t group;
} had;

static int wrong;

/* As ck_code(), for a process that is no child of Check. */
static void expect(const char *call, long long code, long long should)
{
    char line[200];
    int n;

    log_code(call, code);
    if (code == should)
        return;
    wrong++;
    n = snprintf(line, sizeof(line), "in the child %s is %s, not %s\n", call,
                 weft_err_name((int)code), weft_err_name((int)should));
    if (n > 0)
        weft__os_say(line, (size_t)n);
}

#define EXPECT(call, should) expect(#call, (long long)(call), should)

static void *nothing(void *arg)
{
    return arg;
}

static int entry(void *arg)
{
    (void)arg;
    return 0;
}

static void call_fibers(void)
{
    weft_fiber_t f;

    EXPECT(weft_spawn(&f, nothing, NULL), -EPERM);
    EXPECT(weft_spawn_with(&f, NULL, nothing, NULL), -EPERM);
    EXPECT(weft_go(nothing, NULL), -EPERM);
    EXPECT(weft_self(), 0);
    EXPECT(weft_name("child"), -EPERM);
    EXPECT(weft_checkpoint(), 0);
    EXPECT(weft_stack_left() == SIZE_MAX, true);
    weft_yield();
    EXPECT(weft_join(had.self, NULL), -EINVAL); /* detached */
    EXPECT(weft_join(had.live, NULL), -EPERM);
    EXPECT(weft_join_try(had.live, NULL), -EAGAIN);
    EXPECT(weft_join(had.ended, NULL), 0);
    EXPECT(weft_join(had.ended, NULL), -ESRCH);
    EXPECT(weft_detach(had.live), 0);
    EXPECT(weft_blocking(nothing, NULL, NULL), -EPERM);
}

static void call_runtime(void)
{
    weft_stats_t stats = { .size = sizeof(stats) };
    weft_worker_stats_t worker;

    EXPECT(weft_run(NULL, entry, NULL, NULL), -EPERM);
    EXPECT(weft_workers(), 0);
    EXPECT(weft_stats(&stats), 0);
    EXPECT(stats.live, 0);
    EXPECT(weft_stats_worker(0, &worker), -EINVAL);
    EXPECT(weft_dump(STDERR_FILENO), -EPERM);
    EXPECT(weft_audit(NULL), -EPERM);
    EXPECT(weft_now() > 0, true);
}

static void call_primitives(void)
{
    int value = 1;

    EXPECT(weft_mutex_unlock(&had.held), -EPERM);
    EXPECT(weft_mutex_lock(&had.held), -EPERM);
    EXPECT(weft_mutex_lock_try(&had.held), -EAGAIN);
    EXPECT(weft_mutex_lock(&had.free), 0);
    EXPECT(weft_mutex_lock(&had.free), -EDEADLK);
    EXPECT(weft_mutex_unlock(&had.free), 0);
    EXPECT(weft_waitgroup_wait(&had.group), -EPERM);
    EXPECT(weft_waitgroup_wait_try(&had.group), -EAGAIN);
    EXPECT(weft_waitgroup_done(&had.group), 0);
    EXPECT(weft_waitgroup_wait(&had.group), 0);
    EXPECT(weft_chan_send(had.box, NULL), -EPERM);
    EXPECT(weft_chan_send_try(had.box, NULL), -EAGAIN);
    EXPECT(weft_chan_recv(had.box, NULL), 0);
    EXPECT(weft_chan_recv(had.box, NULL), -EPERM);
    EXPECT(weft_chan_recv_try(had.box, NULL), -EAGAIN);
    EXPECT(weft_chan_close(had.box), 0);
    EXPECT(weft_chan_close(had.never), 0); /* with one asleep on it */
    EXPECT(weft_queue_put(had.queue, &value), 0);
    EXPECT(weft_queue_put(had.queue, &value), -EPERM);
    EXPECT(weft_queue_put_try(had.queue, &value), -EAGAIN);
    EXPECT(weft_queue_join(had.queue), -EPERM);
    EXPECT(weft_queue_get(had.queue, &value), 0);
    EXPECT(weft_queue_get(had.queue, &value), -EPERM);
    EXPECT(weft_queue_done(had.queue), 0);
    EXPECT(weft_queue_join(had.queue), 0);
}

/* In a child of its own; -1 is a hang or a crash. */
static int count_wrong_in_child(void)
{
    pid_t child = fork();
    int status = 0;

    if (child == 0) {
        alarm(20); /* its end is a signal then */
        call_fibers();
        call_runtime();
        call_primitives();
        _exit(wrong);
    }
    if (child < 0 || waitpid(child, &status, 0) != child ||
        !WIFEXITED(status))
        return -1;
    return WEXITSTATUS(status);
}

static void *receive(void *arg)
{
    return (void *)(intptr_t)weft_chan_recv(arg, NULL);
}

static void have_all(void)
{
    had.self = weft_self();
    had.never = new_chan(0, 0);
    had.box = new_chan(0, 1);
    ck_assert_int_eq(weft_chan_send(had.box, NULL), 0);
    ck_assert_int_eq(
        weft_queue_create(&had.queue, WEFT_FIFO, sizeof(int), 1, NULL), 0);
    ck_assert_int_eq(weft_mutex_lock(&had.held), 0);
    ck_assert_int_eq(weft_waitgroup_add(&had.group, 1), 0);
    had.live = spawn(receive, had.never);
    had.ended = spawn(nothing, NULL);
    wait_until_parked(had.live);
    wait_until_ended(had.ended);
}

/* What the child did, it did to its own copies. */
static void use_all(void)
{
    ck_assert_int_eq(weft_mutex_unlock(&had.held), 0);
    ck_assert_int_eq(weft_chan_send(had.never, NULL), 0);
    ck_assert_ptr_null(join(had.live));
    join(had.ended);
    ck_assert_int_eq(weft_chan_recv(had.box, NULL), 0);
    weft_chan_unref(had.never);
    weft_chan_unref(had.box);
    weft_queue_unref(had.queue);
    ck_assert_int_eq(weft_audit(stderr), 0);
}

WEFT_TEST(the_child_of_a_fiber_is_answered)
{
    have_all();
    ck_assert_int_eq(count_wrong_in_child(), 0);
    use_all();
}
END_TEST

static void *fork_in_a_job(void *arg)
{
    *(int *)arg = count_wrong_in_child();
    return NULL;
}

WEFT_TEST(the_child_of_a_blocking_job_is_answered)
{
    int answer = 1;

    have_all();
    ck_assert_int_eq(weft_blocking(fork_in_a_job, &answer, NULL), 0);
    ck_assert_int_eq(answer, 0);
    use_all();
}
END_TEST

/* No runtime ran in the parent: the child may have one. */
START_TEST(a_child_of_a_process_at_rest_may_run)
{
    pid_t child;
    int status = 0;

    ck_assert_int_eq(weft_run(NULL, entry, NULL, NULL), 0);
    child = fork();
    if (child == 0) {
        alarm(20);
        _exit(weft_run(NULL, entry, NULL, NULL) == 0 ? 0 : 1);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), 0);
}
END_TEST

static int eventfds(void)
{
    char path[300], is[64];
    DIR *dir = opendir("/proc/self/fd");
    int n = 0;

    ck_assert_ptr_nonnull(dir);
    for (struct dirent *d; (d = readdir(dir));) {
        ssize_t got;

        snprintf(path, sizeof(path), "/proc/self/fd/%s", d->d_name);
        got = readlink(path, is, sizeof(is) - 1);
        is[got > 0 ? got : 0] = 0;
        n += strcmp(is, "anon_inode:[eventfd]") == 0;
    }
    closedir(dir);
    return n;
}

/* Who waits for a descriptor in blocking mode is called out of it by an eventfd
 * that is kept for the next: with one that it shares, a child would hear its
 * parent's calls, and the parent miss them. */
START_TEST(a_child_waits_by_eventfds_of_its_own)
{
    int fds[2], status = 0;
    pid_t child;
    char c;

    ck_assert_int_eq(weft_run(NULL, entry, NULL, NULL), 0);
    ck_assert_int_eq(pipe(fds), 0);
    /* The time may be over before there is anything to wait for. */
    do {
        ck_assert_int_eq(
            weft_read_until(fds[0], &c, 1, weft_after(WEFT_MS(5))),
            -ETIMEDOUT);
    } while (eventfds() == 0);
    child = fork();
    if (child == 0) {
        alarm(20);
        _exit(eventfds());
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    ck_assert_int_eq(eventfds(), 1);
}
END_TEST

/* As if another thread asked for the lanes' figures: it is not there any more. */
START_TEST(a_child_waits_for_no_thread_of_its_parents)
{
    int status = 0;
    pid_t child;

    ck_assert_int_eq(weft_run(NULL, entry, NULL, NULL), 0);
    for (int i = 0; i < WEFT__LANES; i++)
        weft__lock_acquire(&weft__lanes[i].lock);
    ck_assert(weft__visit_begin());
    child = fork();
    if (child == 0) {
        alarm(20);
        _exit(weft_run(NULL, entry, NULL, NULL) == 0 ? 0 : 1);
    }
    for (int i = 0; i < WEFT__LANES; i++)
        weft__lock_release(&weft__lanes[i].lock);
    weft__visit_end(true);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("fork");
    TCase *tcase = tcase_create("fork");

    tcase_add_test(tcase, the_child_of_a_fiber_is_answered);
    tcase_add_test(tcase, the_child_of_a_blocking_job_is_answered);
    tcase_add_test(tcase, a_child_of_a_process_at_rest_may_run);
    tcase_add_test(tcase, a_child_waits_by_eventfds_of_its_own);
    tcase_add_test(tcase, a_child_waits_for_no_thread_of_its_parents);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
