/* Connecting: weft_connect(), and the calls that take names. */
#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "netpoll/resolve.h"
#include "tests/support_net.h"

#define ANY(where) (struct sockaddr *)&(where), sizeof(where)

static void close_at(int fd)
{
    ck_code(weft_close(fd), 0);
}

/* A listener whose queue is full: the kernel drops what comes. */
struct full {
    struct sockaddr_in where;
    int listener;
    int waiting[8];
    int count;
};

static void full_open(struct full *full)
{
    int status = 0;

    full->listener = net_listen(1, &full->where);
    full->count = 0;
    while (status == 0 && full->count < 8) {
        int fd = weft_socket(AF_INET, SOCK_STREAM, 0);

        status = weft_connect_until(fd, ANY(full->where),
                                    weft_after(WEFT_MS(30)));
        full->waiting[full->count++] = fd;
    }
    ck_code(status, -ETIMEDOUT);
}

static void full_close(struct full *full)
{
    while (full->count > 0)
        close_at(full->waiting[--full->count]);
    close_at(full->listener);
}

/* --- weft_connect ----------------------------------------------------------------- */

struct connector {
    int fd;
    struct sockaddr_in where;
    int answer;
};

static void *connect_one(void *arg)
{
    struct connector *c = arg;

    c->answer = weft_connect(c->fd, ANY(c->where));
    return NULL;
}

static void connect_elsewhere(void *arg)
{
    struct full *full = arg;
    int fd = weft_socket(AF_INET, SOCK_STREAM, 0);

    ck_code(weft_connect_until(fd, ANY(full->where), WEFT_FOREVER), -EPERM);
    close_at(fd);
}

/* Nothing answers: the deadline, a cancel, a close, a call that may not wait.
 * The attempt goes on, and a later call waits for its end. */
WEFT_TEST(an_attempt_under_way)
{
    struct full full;
    struct connector c = { 0 };
    char port[8];
    weft_fiber_t f;
    int fd;

    full_open(&full);
    c.where = full.where;
    c.fd = weft_socket(AF_INET, SOCK_STREAM, 0);
    f = spawn(connect_one, &c);
    wait_until_parked(f);
    ck_code(weft_cancel(f), 0);
    join(f);
    ck_code(c.answer, -ECANCELED);
    ck_code(weft_connect_until(c.fd, ANY(full.where), WEFT_NOW), -EAGAIN);
    ck_code(weft_connect_until(c.fd, ANY(full.where), weft_now()),
            -ETIMEDOUT);
    f = spawn(connect_one, &c);
    wait_until_parked(f);
    close_at(c.fd);
    join(f);
    ck_code(c.answer, -EBADF);
    on_thread(connect_elsewhere, &full);
    snprintf(port, sizeof(port), "%d", ntohs(full.where.sin_port));
    ck_code(weft_tcp_connect_until("127.0.0.1", port, WEFT_NOW), -EAGAIN);
    ck_code(weft_tcp_connect_until("127.0.0.1", port,
                                   weft_after(WEFT_MS(5))),
            -ETIMEDOUT);

    /* There is room: the kernel sends again after a second. */
    fd = weft_accept(full.listener, NULL, NULL);
    ck_assert_int_ge(fd, 0);
    close_at(fd);
    fd = weft_accept(full.listener, NULL, NULL);
    ck_assert_int_ge(fd, 0);
    close_at(fd);
    ck_code(weft_connect(full.waiting[full.count - 1], ANY(full.where)), 0);
    full_close(&full);
}
END_TEST

/* Connected is connected, and says so. */
WEFT_TEST(connected_is_connected)
{
    struct sockaddr_in where, other;
    int listener = net_listen(4, &where), fd = net_connect(&where);

    ck_code(weft_connect_until(fd, ANY(where), WEFT_FOREVER), -EISCONN);
    close_at(fd);
    close_at(listener);

    /* A datagram socket may change its peer. */
    fd = net_udp(&where);
    other = net_nobody();
    ck_code(weft_connect(fd, ANY(where)), 0);
    ck_code(weft_connect(fd, ANY(other)), 0);
    close_at(fd);
}
END_TEST

/* Refused; and the same socket connects where somebody listens. */
WEFT_TEST(refused_and_tried_again)
{
    struct sockaddr_in nobody = net_nobody(), where;
    int listener = net_listen(4, &where);
    int fd = weft_socket(AF_INET, SOCK_STREAM, 0);

    for (int i = 0; i < 5; i++)
        ck_code(weft_connect_until(fd, ANY(nobody), WEFT_FOREVER), -ECONNREFUSED);
    ck_code(weft_connect(fd, ANY(where)), 0);
    ck_assert_int_eq(weft_write(fd, "x", 1), 1);
    close_at(fd);
    close_at(listener);
}
END_TEST

WEFT_TEST(nonsense_is_refused)
{
    struct sockaddr_in nobody = net_nobody(), odd = nobody;
    struct sockaddr_in6 six = { .sin6_family = AF_INET6 };
    struct sockaddr_un path = { .sun_family = AF_UNIX };
    int fds[2], fd = weft_socket(AF_INET, SOCK_STREAM, 0);

    ck_code(weft_connect_until(fd, NULL, 0, WEFT_FOREVER), -EINVAL);
    ck_code(weft_connect_until(fd, (struct sockaddr *)&nobody, 3, WEFT_FOREVER),
            -EINVAL);
    ck_code(weft_connect_until(fd, (struct sockaddr *)(uintptr_t)8, 16,
                                WEFT_FOREVER),
            -EFAULT);
    ck_code(weft_connect_until(fd, ANY(six), WEFT_FOREVER), -EAFNOSUPPORT);
    odd.sin_addr.s_addr = htonl(INADDR_BROADCAST);
    ck_code(weft_connect_until(fd, ANY(odd), WEFT_FOREVER), -ENETUNREACH);
    ck_code(weft_connect_until(-1, ANY(nobody), WEFT_FOREVER), -EBADF);
    ck_code(weft_connect_until(9999, ANY(nobody), WEFT_FOREVER), -EBADF);
    ck_code(weft_cancel(weft_self()), 0);
    ck_code(weft_connect_until(fd, ANY(nobody), WEFT_FOREVER), -ECANCELED);
    weft_cancel_clear();
    close_at(fd);
    net_pair(NET_PIPE, fds);
    ck_code(weft_connect_until(fds[0], ANY(nobody), WEFT_FOREVER), -ENOTSOCK);
    net_close(fds);

    fd = weft_socket(AF_UNIX, SOCK_STREAM, 0);
    strcpy(path.sun_path, "/nowhere/at/all");
    ck_code(weft_connect_until(fd, ANY(path), WEFT_FOREVER), -ENOENT);
    strcpy(path.sun_path, "/dev/null/at/all");
    ck_code(weft_connect_until(fd, ANY(path), WEFT_FOREVER), -ENOTDIR);
    close_at(fd);
    fd = net_udp(&nobody);
    odd.sin_port = htons(9);
    ck_code(weft_connect_until(fd, ANY(odd), WEFT_FOREVER), -EACCES); /* broadcast */
    close_at(fd);
}
END_TEST

/* --- Names of several addresses ------------------------------------------------------ */

/* A name server that knows one name, of these addresses in this order; how
 * many it has told, and how many of them weft has freed. */
static struct sockaddr_in known[3];
static int known_n = 2;
static weft__au32 told, freed;
enum { OURS = 4711 };

static int ask(const char *node, const char *service,
               const struct addrinfo *hints, struct addrinfo **res)
{
    struct addrinfo numeric = { .ai_flags = AI_NUMERICHOST,
                                .ai_socktype = hints->ai_socktype };
    struct addrinfo *list = NULL;

    (void)node;
    for (int i = known_n - 1; i >= 0; i--) {
        struct addrinfo *one;

        must(getaddrinfo("127.0.0.1", service, &numeric, &one) == 0);
        must(one->ai_next == NULL);
        memcpy(one->ai_addr, &known[i], sizeof(known[i]));
        one->ai_family = known[i].sin_family;
        one->ai_flags = OURS;
        one->ai_next = list;
        list = one;
        (void)weft__fetch_add(&told, 1, RELAXED);
    }
    *res = list;
    return 0;
}

/* Weft calls this one: it stands before libc's. */
void freeaddrinfo(struct addrinfo *list)
{
    void (*libcs)(struct addrinfo *);

    *(void **)&libcs = dlsym(RTLD_NEXT, "freeaddrinfo");
    for (struct addrinfo *ai = list; ai; ai = ai->ai_next)
        (void)weft__fetch_add(&freed, ai->ai_flags == OURS, RELAXED);
    libcs(list);
}

static void run_with_names(void (*body)(int), int i)
{
    weft__resolver = (struct weft__resolver){ ask, freeaddrinfo };
    run_body(body, i);
    ck_assert_uint_gt(weft__load(&told, RELAXED), 0);
    ck_assert_uint_eq(weft__load(&freed, RELAXED), weft__load(&told, RELAXED));
}

static void check_peer(int fd, const struct sockaddr_in *where)
{
    struct sockaddr_in peer;
    socklen_t size = sizeof(peer);

    ck_code(fd < 0 ? fd : 0, 0);
    ck_assert_int_eq(getpeername(fd, (struct sockaddr *)&peer, &size), 0);
    ck_assert_uint_eq(peer.sin_port, where->sin_port);
}

/* The time between two attempts, of which none has failed. */
#define DELAY WEFT_MS(250)

enum first { REFUSES, DEAD, DEAD_AND_REFUSES, FIRSTS };

static void connect_later(int i)
{
    struct sockaddr_in where;
    int listener = net_listen(16, &where);
    weft_time_t quickest = WEFT_SEC(60);
    enum first first = (enum first)i;
    struct full full;
    unsigned before;

    known[0] = known[1] = net_nobody();
    if (first != REFUSES) {
        full_open(&full);
        known[0] = full.where;
    }
    known_n = first == DEAD_AND_REFUSES ? 3 : 2;
    known[known_n - 1] = where;
    before = open_descriptors();
    for (int n = 0; n < (first == DEAD ? 1 : 5); n++) {
        weft_time_t begin = weft_now(), took;
        int fd = weft_tcp_connect("some.addresses", "80");

        took = weft_now() - begin;
        quickest = took < quickest ? took : quickest;
        check_peer(fd, &where);
        ck_assert_uint_eq(open_descriptors(), before + 1);
        close_at(fd);
    }
    /* The dead one is given its time; one that refuses is not waited for. */
    if (first != REFUSES) {
        ck_assert_int_ge(quickest, DELAY);
        full_close(&full);
    }
    if (first != DEAD)
        ck_assert_int_lt(quickest, first == REFUSES ? DELAY : 2 * DELAY);
    close_at(listener);
}

/* Nobody listens at the first address, or its host is dead; or one is dead and
 * one refuses. */
START_TEST(a_later_address_is_connected_to)
{
    run_with_names(connect_later, _i);
}
END_TEST

/* Two addresses that fail, each at once or by an answer. */
static void connect_to_none(int i)
{
    struct sockaddr_in nobody = net_nobody(), no_way = nobody, alien = nobody;
    unsigned before = open_descriptors();
    const struct {
        const struct sockaddr_in *at[2];
        int code;
    } none[] = {
        { { &nobody, &nobody }, -ECONNREFUSED },
        { { &no_way, &nobody }, -ECONNREFUSED },
        { { &nobody, &no_way }, -ENETUNREACH },
        /* Not one of a family that this machine lacks: unless all are. */
        { { &nobody, &alien }, -ECONNREFUSED },
        { { &alien, &no_way }, -ENETUNREACH },
        { { &alien, &alien }, -EAFNOSUPPORT },
    };

    no_way.sin_addr.s_addr = htonl(INADDR_BROADCAST);
    alien.sin_family = 4711;
    for (int k = 0; k < 2; k++)
        known[k] = *none[i].at[k];
    ck_code(weft_tcp_connect("some.addresses", "80"), none[i].code);
    ck_code(weft_tcp_connect_until("some.addresses", "80", WEFT_FOREVER),
            none[i].code);
    ck_assert_uint_eq(open_descriptors(), before);
}

START_TEST(the_address_that_fails_last_has_its_say)
{
    run_with_names(connect_to_none, _i);
}
END_TEST

struct name_connector {
    weft_time_t until;
    int answer;
};

static void *connect_by_name(void *arg)
{
    struct name_connector *c = arg;

    c->answer = weft_tcp_connect_until("some.addresses", "80", c->until);
    return NULL;
}

static void connect_late(int i)
{
    struct name_connector c = { .until = WEFT_FOREVER };
    unsigned before;
    struct full full;
    weft_fiber_t f;
    int fd;

    (void)i;
    full_open(&full);
    known[0] = full.where;
    known[1] = net_nobody();
    before = open_descriptors();
    f = spawn(connect_by_name, &c);
    while (open_descriptors() == before)
        weft_yield();
    wait_until_parked(f);
    /* There is room: the kernel sends again after a second. */
    for (int n = 0; n < 2; n++) {
        fd = weft_accept(full.listener, NULL, NULL);
        ck_assert_int_ge(fd, 0);
        close_at(fd);
    }
    join(f);
    check_peer(c.answer, &full.where);
    ck_assert_uint_eq(open_descriptors(), before + 1);
    close_at(c.answer);
    full_close(&full);
}

/* The second is refused meanwhile: that is not the end. */
START_TEST(the_first_address_may_answer_late)
{
    run_with_names(connect_late, 0);
}
END_TEST

/* Two hosts that are dead. */
static void call_off(int how)
{
    struct name_connector c = { .until = WEFT_FOREVER };
    unsigned before;
    struct full full;
    weft_fiber_t f;

    full_open(&full);
    known[0] = known[1] = full.where;
    before = open_descriptors();
    if (how == 1)
        c.until = weft_after(DELAY + WEFT_MS(50));
    f = spawn(connect_by_name, &c);
    if (how == 0) {
        while (open_descriptors() < before + 2)
            weft_yield();
        wait_until_parked(f);
        ck_code(weft_cancel(f), 0);
    }
    join(f);
    ck_code(c.answer, how == 0 ? -ECANCELED : -ETIMEDOUT);
    ck_assert_uint_eq(open_descriptors(), before);
    full_close(&full);
}

START_TEST(attempts_that_are_called_off_leave_nothing)
{
    run_with_names(call_off, _i);
}
END_TEST

/* --- Unix --------------------------------------------------------------------------- */

struct place {
    char folder[40];
    char path[64];
};

static void place_make(struct place *p)
{
    strcpy(p->folder, "/tmp/weft-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(p->folder));
    snprintf(p->path, sizeof(p->path), "%s/socket", p->folder);
}

static void place_remove(struct place *p)
{
    unlink(p->path);
    ck_assert_int_eq(rmdir(p->folder), 0);
}

struct unix_connector {
    const char *path;
    int answer;
};

static void *unix_connect(void *arg)
{
    struct unix_connector *c = arg;

    c->answer = weft_unix_connect(c->path);
    return NULL;
}

static void unix_elsewhere(void *path)
{
    ck_code(weft_unix_connect_until(path, WEFT_FOREVER), -EPERM);
}

/* The queue of a Unix listener is full: who connects waits until one is
 * accepted. */
WEFT_TEST(unix_listener_that_is_full)
{
    weft_listen_t opt = WEFT_LISTEN_INIT;
    struct place p;
    struct unix_connector c = { .path = p.path };
    weft_fiber_t f;
    int listener, waiting[8], n = 0, fd;

    place_make(&p);
    opt.backlog = 1;
    listener = weft_unix_listen(p.path, &opt);
    ck_code(listener < 0 ? listener : 0, 0);
    while ((fd = weft_unix_connect_until(p.path, WEFT_NOW)) >= 0) {
        ck_assert_int_lt(n, 8);
        waiting[n++] = fd;
    }
    ck_code(fd, -EAGAIN);
    ck_code(weft_unix_connect_until(p.path, WEFT_NOW), -EAGAIN);
    ck_code(weft_unix_connect_until(p.path, weft_after(WEFT_MS(5))),
            -ETIMEDOUT);
    on_thread(unix_elsewhere, p.path);
    f = spawn(unix_connect, &c);
    wait_until_parked(f);
    ck_code(weft_cancel(f), 0);
    join(f);
    ck_code(c.answer, -ECANCELED);

    f = spawn(unix_connect, &c);
    wait_until_parked(f);
    fd = weft_accept(listener, NULL, NULL);
    ck_assert_int_ge(fd, 0);
    close_at(fd);
    join(f);
    ck_assert_int_ge(c.answer, 0);
    close_at(c.answer);
    while (n > 0)
        close_at(waiting[--n]);
    close_at(listener);
    ck_code(weft_unix_connect_until(p.path, WEFT_FOREVER), -ECONNREFUSED);
    place_remove(&p);
}
END_TEST

/* The socket is closed under one who waits for room. */
WEFT_TEST(close_under_a_connect_to_a_full_listener)
{
    weft_listen_t opt = WEFT_LISTEN_INIT;
    struct place p;
    int listener, waiting[8], n = 0, fd;

    place_make(&p);
    opt.backlog = 1;
    listener = weft_unix_listen(p.path, &opt);
    while ((fd = weft_unix_connect_until(p.path, WEFT_NOW)) >= 0)
        waiting[n++] = fd;
    {
        struct unix_connector c = { .path = p.path };
        weft_fiber_t f = spawn(unix_connect, &c);

        wait_until_parked(f);
        /* It has the lowest number that was free. */
        fd = dup(listener);
        close(fd);
        ck_code(weft_close(fd - 1), 0);
        join(f);
        ck_code(c.answer, -EBADF);
    }
    while (n > 0)
        close_at(waiting[--n]);
    close_at(listener);
    place_remove(&p);
}
END_TEST

WEFT_TEST(unix_paths)
{
    weft_listen_t opt = WEFT_LISTEN_INIT;
    char path[200];
    struct place p;
    int listener, fd;

    memset(path, 'x', sizeof(path));
    path[0] = '/';
    path[108] = '\0';
    ck_code(weft_unix_listen(path, NULL), -ENAMETOOLONG);
    ck_code(weft_unix_connect_until(path, WEFT_FOREVER), -ENAMETOOLONG);
    ck_code(weft_unix_listen(NULL, NULL), -EINVAL);
    ck_code(weft_unix_listen("", NULL), -EINVAL);
    ck_code(weft_unix_connect_until(NULL, WEFT_FOREVER), -EINVAL);
    ck_code(weft_unix_connect_until("", WEFT_FOREVER), -EINVAL);
    ck_code(weft_unix_listen("/nowhere/at/all", NULL), -ENOENT);
    ck_code(weft_unix_listen("/dev/null/at/all", NULL), -ENOTDIR);
    ck_code(weft_unix_connect_until("/nowhere/at/all", WEFT_FOREVER), -ENOENT);
    ck_code(weft_unix_connect_until("/dev/null/at/all", WEFT_FOREVER),
            -ENOTDIR);

    place_make(&p);
    opt.size = 3;
    ck_code(weft_unix_listen(p.path, &opt), -EINVAL);
    listener = weft_unix_listen(p.path, NULL);
    ck_assert_int_ge(listener, 0);
    ck_code(weft_unix_listen(p.path, NULL), -EADDRINUSE);
    fd = weft_unix_connect(p.path);
    ck_assert_int_ge(fd, 0);
    close_at(fd);
    ck_code(weft_cancel(weft_self()), 0);
    ck_code(weft_unix_connect_until(p.path, WEFT_FOREVER), -ECANCELED);
    weft_cancel_clear();
    close_at(listener);
    place_remove(&p);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("connect");
    TCase *tc = tcase_create("connect");

    suite_add_tcase(suite, tc);
    tcase_add_test(tc, an_attempt_under_way);
    tcase_add_test(tc, connected_is_connected);
    tcase_add_test(tc, refused_and_tried_again);
    tcase_add_test(tc, nonsense_is_refused);
    tcase_add_loop_test(tc, a_later_address_is_connected_to, 0, FIRSTS);
    tcase_add_loop_test(tc, the_address_that_fails_last_has_its_say, 0, 6);
    tcase_add_test(tc, the_first_address_may_answer_late);
    tcase_add_loop_test(tc, attempts_that_are_called_off_leave_nothing, 0, 2);
    tcase_add_test(tc, unix_listener_that_is_full);
    tcase_add_test(tc, close_under_a_connect_to_a_full_listener);
    tcase_add_test(tc, unix_paths);
    return run_suite(suite);
}
