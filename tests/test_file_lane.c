/*
 * Regular files and what else epoll refuses: what is read at once and what
 * goes to the lane, and what a read or write answers.
 */
#include "tests/support_lane.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "netpoll/blocking.h"
#include "netpoll/file.h"

static ssize_t rw(int fd, bool write, void *buf, size_t n, weft_time_t until)
{
    struct iovec iov = { buf, n };

    return weft__file_rw(self(), fd, write, &iov, 1, until);
}

/* A file on a disk, with something in it, and gone from its folder. */
static int new_file(const char *text, size_t n)
{
    char path[] = TEST_BINARY_DIR "/file_lane.XXXXXX";
    int fd = mkostemp(path, O_CLOEXEC);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(write(fd, text, n), (ssize_t)n);
    ck_assert_int_eq(lseek(fd, 0, SEEK_SET), 0);
    return fd;
}

/* Does this file's system promise not to wait? (tmpfs does not.) */
static bool reads_at_once(int fd)
{
    char c;
    struct iovec iov = { &c, 1 };
    ssize_t n = preadv2(fd, &iov, 1, 0, RWF_NOWAIT);

    return n >= 0;
}

/* --- Reading ------------------------------------------------------------------------ */

WEFT_TEST(what_is_cached_is_read_without_a_thread)
{
    int fd = new_file("0123456789", 10);
    char buf[16] = "";
    bool at_once = reads_at_once(fd);

    ck_assert_int_eq(rw(fd, false, buf, 4, WEFT_FOREVER), 4);
    ck_assert_str_eq(buf, "0123");
    /* More than there is: a short count, and that is the end. */
    ck_assert_int_eq(rw(fd, false, buf, 16, WEFT_FOREVER), 6);
    ck_assert_mem_eq(buf, "456789", 6);
    ck_assert_int_eq(rw(fd, false, buf, 16, WEFT_FOREVER), 0);
    if (at_once)
        ck_assert_uint_eq(jobs_begun(WEFT__LANE_FILE), 0);
    else
        ck_assert_uint_gt(jobs_begun(WEFT__LANE_FILE), 0);
    close(fd);
}
END_TEST

/* What can be had at once is had, however late it is; so no call that finds
 * its page in the cache ever answers -ETIMEDOUT. */
WEFT_TEST(what_is_cached_is_read_though_it_is_late)
{
    int fd = new_file("0123456789", 10);
    char buf[4];

    if (reads_at_once(fd)) {
        ck_assert_int_eq(rw(fd, false, buf, 4, WEFT_NOW), 4);
        ck_assert_int_eq(rw(fd, false, buf, 4, weft_now()), 4);
    }
    close(fd);
}
END_TEST

/* A file in memory makes no promise: it is read in the lane. */
WEFT_TEST(what_makes_no_promise_is_read_in_the_lane)
{
    int fd = memfd_create("file", MFD_CLOEXEC);
    char buf[4] = "";

    ck_assert_int_eq(write(fd, "0123", 4), 4);
    ck_assert_int_eq(lseek(fd, 0, SEEK_SET), 0);
    if (!reads_at_once(fd)) {
        ck_assert_int_eq(rw(fd, false, buf, 4, WEFT_NOW), -EAGAIN);
        ck_assert_int_eq(rw(fd, false, buf, 4, weft_now()), -ETIMEDOUT);
        ck_assert_uint_eq(jobs_begun(WEFT__LANE_FILE), 0);
    }
    ck_assert_int_eq(rw(fd, false, buf, 4, WEFT_FOREVER), 4);
    ck_assert_mem_eq(buf, "0123", 4);
    close(fd);
}
END_TEST

WEFT_TEST(proc_is_read_to_its_end)
{
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    char buf[8192];
    size_t n = 0;
    ssize_t r;

    ck_assert_int_ge(fd, 0);
    while ((r = rw(fd, false, buf + n, sizeof(buf) - 1 - n, WEFT_FOREVER)) >
           0)
        n += (size_t)r;
    ck_assert_int_eq(r, 0);
    buf[n] = '\0';
    ck_assert_ptr_nonnull(strstr(buf, "Threads:"));
    close(fd);
}
END_TEST

enum { BIG = 3 << 20 };

/* Dropped from the cache, so that some is there and some is not. */
WEFT_TEST(a_big_file_comes_whole_cached_or_not)
{
    char *text = malloc(BIG), *buf = malloc(BIG);
    int fd;

    for (int i = 0; i < BIG; i++)
        text[i] = (char)(i * 7 + i / 251);
    fd = new_file(text, BIG);
    ck_assert_int_eq(fsync(fd), 0);
    for (size_t part = 64 << 10; part <= BIG; part *= 7) {
        size_t n = 0;

        memset(buf, 0, BIG);
        ck_assert_int_eq(lseek(fd, 0, SEEK_SET), 0);
        (void)posix_fadvise(fd, 0, BIG, POSIX_FADV_DONTNEED);
        while (n < BIG) {
            size_t want = BIG - n < part ? BIG - n : part;
            ssize_t r = rw(fd, false, buf + n, want, WEFT_FOREVER);

            /* In the middle of a file no read is short. */
            ck_assert_int_eq(r, (ssize_t)want);
            n += want;
        }
        ck_assert(memcmp(text, buf, BIG) == 0);
    }
    free(text);
    free(buf);
    close(fd);
}
END_TEST

/* Many small buffers, more than the fiber's own part of the call holds. */
WEFT_TEST(many_buffers_are_filled_in_order)
{
    enum { N = 1024 };
    static char text[3 * N], buf[3 * N];
    static struct iovec iov[N];
    int fd;

    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = (char)('a' + i % 26);
    fd = new_file(text, sizeof(text));
    for (int i = 0; i < N; i++)
        iov[i] = (struct iovec){ buf + 3 * i, i % 5 ? 3 : 0 };
    ck_assert_int_eq(weft__file_rw(self(), fd, false, iov, N, WEFT_FOREVER),
                     3 * (N - (N + 4) / 5));
    for (int i = 0, at = 0; i < N; i++) {
        if (i % 5 == 0)
            continue;
        ck_assert_mem_eq(buf + 3 * i, text + at, 3);
        at += 3;
    }
    ck_assert_int_eq(
        weft__file_rw(self(), fd, false, iov, N + 1, WEFT_FOREVER), -EINVAL);
    ck_assert_int_eq(weft__file_rw(self(), fd, false, iov, -1, WEFT_FOREVER),
                     -EINVAL);
    ck_assert_int_eq(weft__file_rw(self(), fd, false, iov, 0, WEFT_FOREVER),
                     0);
    close(fd);
}
END_TEST

/* --- Writing ------------------------------------------------------------------------ */

WEFT_TEST(what_is_written_is_read_again)
{
    int fd = new_file("", 0);
    char part[] = "weft", buf[9] = "";

    ck_assert_int_eq(rw(fd, true, part, 4, WEFT_FOREVER), 4);
    ck_assert_int_eq(rw(fd, true, part, 4, WEFT_FOREVER), 4);
    ck_assert_int_eq(lseek(fd, 0, SEEK_CUR), 8);
    ck_assert_int_eq(pread(fd, buf, 8, 0), 8);
    ck_assert_str_eq(buf, "weftweft");
    close(fd);
}
END_TEST

WEFT_TEST(devices_take_and_give)
{
    char buf[8] = "1234567";
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int zero = open("/dev/zero", O_RDWR | O_CLOEXEC);
    int full = open("/dev/full", O_RDWR | O_CLOEXEC);

    ck_assert_int_eq(rw(null, true, buf, 8, WEFT_FOREVER), 8);
    ck_assert_int_eq(rw(null, false, buf, 8, WEFT_FOREVER), 0);
    ck_assert_int_eq(rw(zero, false, buf, 8, WEFT_FOREVER), 8);
    ck_assert_mem_eq(buf, "\0\0\0\0\0\0\0", 8);
    ck_assert_int_eq(rw(full, true, buf, 8, WEFT_FOREVER), -ENOSPC);
    close(null);
    close(zero);
    close(full);
}
END_TEST

/* --- What is refused ------------------------------------------------------------------ */

WEFT_TEST(a_directory_is_one)
{
    char buf[8] = "";
    int fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    ck_assert_int_eq(rw(fd, false, buf, 8, WEFT_FOREVER), -EISDIR);
    ck_assert_int_eq(rw(fd, true, buf, 8, WEFT_FOREVER), -EISDIR);
    close(fd);
}
END_TEST

WEFT_TEST(a_mode_that_does_not_fit_is_said)
{
    char buf[8] = "";
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

    ck_assert_int_eq(rw(fd, true, buf, 8, WEFT_FOREVER), -EBADF);
    close(fd);
    ck_assert_int_eq(rw(fd, false, buf, 8, WEFT_FOREVER), -EBADF);
    ck_assert_int_eq(rw(fd, true, buf, 8, WEFT_FOREVER), -EBADF);
}
END_TEST

static void read_outside(void *arg)
{
    int fd = *(int *)arg;
    char buf[4];
    struct iovec iov = { buf, 4 };

    ck_assert_int_eq(weft__file_rw(NULL, fd, false, &iov, 1, WEFT_FOREVER),
                     4);
    ck_assert_mem_eq(buf, "0123", 4);
}

WEFT_TEST(a_thread_that_is_no_fiber_reads_by_itself)
{
    int fd = memfd_create("file", MFD_CLOEXEC);

    ck_assert_int_eq(write(fd, "01230123", 8), 8);
    ck_assert_int_eq(lseek(fd, 0, SEEK_SET), 0);
    on_thread(read_outside, &fd);
    on_lane(read_outside, &fd);
    ck_assert_uint_eq(jobs_begun(WEFT__LANE_FILE), 0);
    close(fd);
}
END_TEST

/* --- Waits that end early ------------------------------------------------------------- */

static weft__au32 gate;

static void *wait_at_gate(void *arg)
{
    while (!weft__load(&gate, ACQUIRE))
        weft_yield();
    return arg;
}

static void *fill_lane(void *arg)
{
    ck_assert_int_eq(weft__lane_run(&weft__lanes[WEFT__LANE_FILE], self(),
                                    wait_at_gate, arg, NULL, WEFT_FOREVER),
                     0);
    return NULL;
}

static void *write_one(void *arg)
{
    char c = 'x';

    return (void *)(intptr_t)rw(*(int *)arg, true, &c, 1, WEFT_FOREVER);
}

/* It stood in the queue: nothing was written. */
static void end_queued(int how)
{
    int fd = memfd_create("file", MFD_CLOEXEC);
    weft_fiber_t busy = spawn(fill_lane, NULL), f;
    struct weft__blocking_close c;
    static const int codes[] = { -ECANCELED, -ETIMEDOUT, -EBADF };

    wait_for_jobs(WEFT__LANE_FILE, 1, 0);
    f = spawn(write_one, &fd);
    wait_for_jobs(WEFT__LANE_FILE, 1, 1);
    wait_until_parked(f);
    if (how == 0)
        ck_assert_int_eq(weft_cancel(f), 0);
    else if (how == 1)
        ck_assert(expire(f));
    else
        weft__blocking_close_begin(&c, fd);
    ck_assert_int_eq((intptr_t)join(f), codes[how]);
    if (how == 2)
        weft__blocking_close_end(&c);
    weft__store(&gate, 1, RELEASE);
    join(busy);
    ck_assert_int_eq(lseek(fd, 0, SEEK_END), 0);
    close(fd);
}

START_TEST(a_write_that_is_ended_in_the_queue_wrote_nothing)
{
    weft_config_t config = WEFT_CONFIG_INIT;

    config.file_threads = 1;
    ck_code(run_with(&config, end_queued, _i), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("file_lane");
    TCase *tcase = tcase_create("file_lane");

    tcase_add_test(tcase, what_is_cached_is_read_without_a_thread);
    tcase_add_test(tcase, what_is_cached_is_read_though_it_is_late);
    tcase_add_test(tcase, what_makes_no_promise_is_read_in_the_lane);
    tcase_add_test(tcase, proc_is_read_to_its_end);
    tcase_add_test(tcase, a_big_file_comes_whole_cached_or_not);
    tcase_add_test(tcase, many_buffers_are_filled_in_order);
    tcase_add_test(tcase, what_is_written_is_read_again);
    tcase_add_test(tcase, devices_take_and_give);
    tcase_add_test(tcase, a_directory_is_one);
    tcase_add_test(tcase, a_mode_that_does_not_fit_is_said);
    tcase_add_test(tcase, a_thread_that_is_no_fiber_reads_by_itself);
    tcase_add_loop_test(tcase,
                        a_write_that_is_ended_in_the_queue_wrote_nothing, 0,
                        3);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
