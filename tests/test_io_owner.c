/*
 * A number that changes hands while a call that is about to use it waits for
 * the end of a close: what the call was given is gone, and the next owner's is
 * left alone.
 */
#include <errno.h>
#include <unistd.h>
#include <weft/select.h>
#include <weft/serve.h>

#include "netpoll/desc.h"
#include "tests/support_net.h"

/* As if someone were inside close(2) for the number, which is somebody else's
 * already: from outside, or else it would have a record of its own. */
static uint64_t lingers(int fd)
{
    struct weft__desc *d = weft__desc_look(fd);
    uint64_t word = weft__load(&d->word, ACQUIRE);

    weft__store(&d->word,
                word | WEFT__DESC_CLOSING | WEFT__DESC_FREEING, RELEASE);
    return word;
}

/* The close is over, and the number has changed hands so often since. */
static void over(int fd, uint64_t word, unsigned hands)
{
    weft__store(&weft__desc_look(fd)->word, word + hands * WEFT__DESC_GEN_ONE,
                RELEASE);
}

enum { READ, CLOSE, POLL, SELECT, DUMP, CALLS };

struct caller {
    int call;
    int fds[2];
    long answer;
};

static void *call_one(void *arg)
{
    struct caller *c = arg;
    struct pollfd polls[] = { { .fd = c->fds[0], .events = POLLIN },
                              { .fd = c->fds[1], .events = POLLIN } };
    weft_case_t cases[] = { WEFT_READABLE(c->fds[0]),
                            WEFT_READABLE(c->fds[1]) };
    char byte;

    switch (c->call) {
    case READ:
        c->answer = weft_read(c->fds[0], &byte, 1);
        break;
    case CLOSE:
        c->answer = weft_close(c->fds[0]);
        break;
    case POLL:
        c->answer = weft_poll(polls, 2);
        if (c->answer == 1 && polls[1].revents == POLLNVAL)
            c->answer = -EBADF;
        break;
    case SELECT:
        c->answer = weft_select(cases, 2);
        if (c->answer >= 0)
            c->answer = cases[c->answer].status;
        break;
    default:
        c->answer = weft_dump(c->fds[0]);
        break;
    }
    return NULL;
}

static weft_fiber_t waiting(struct caller *c)
{
    weft_fiber_t f = spawn_one(call_one, c);

    /* It has looked often. */
    wait_until_parked(f);
    return f;
}

WEFT_TEST(who_waited_for_a_number_that_changed_hands_leaves_it_alone)
{
    static const int calls[] = { READ, CLOSE, DUMP };
    struct caller c = { .call = calls[_i] };
    weft_fiber_t f;
    uint64_t word;
    char byte;

    net_pair(NET_UNIX, c.fds);
    ck_code(weft_write(c.fds[1], "x", 1), 1);
    word = lingers(c.fds[0]);
    f = waiting(&c);
    over(c.fds[0], word, 1);
    join(f);
    ck_assert_int_eq(c.answer, -EBADF);
    ck_code(weft_read(c.fds[0], &byte, 1), 1);
    net_close(c.fds);
}
END_TEST

WEFT_TEST(who_waited_for_a_number_that_stayed_goes_on)
{
    struct caller c = { .call = _i };
    weft_fiber_t f;
    uint64_t word;

    net_pair(NET_UNIX, c.fds);
    word = lingers(c.fds[0]);
    f = waiting(&c);
    over(c.fds[0], word, 0);
    if (_i == READ || _i == POLL || _i == SELECT)
        ck_code(weft_write(c.fds[1], "x", 1), 1);
    join(f);
    ck_assert_int_ge(c.answer, 0);
    ck_code(weft_close(c.fds[0]), _i == CLOSE ? -EBADF : 0);
    ck_code(weft_close(c.fds[1]), 0);
}
END_TEST

/* The first is waited for, and meanwhile the second is another's. */
WEFT_TEST(of_several_each_is_the_one_that_was_named)
{
    struct caller c = { .call = _i == 0 ? POLL : SELECT };
    weft_fiber_t f;
    uint64_t word;

    net_pair(NET_UNIX, c.fds);
    word = lingers(c.fds[0]);
    f = waiting(&c);
    over(c.fds[1], weft__load(&weft__desc_look(c.fds[1])->word, ACQUIRE), 1);
    over(c.fds[0], word, 0);
    join(f);
    ck_assert_int_eq(c.answer, -EBADF);
    net_close(c.fds);
}
END_TEST

struct server {
    int listener;
    weft_serve_t opt;
    weft__au32 inside; /* handlers that have begun */
    long answer;
};

static void handler(int fd, void *arg)
{
    struct server *s = arg;
    char byte;

    weft__fetch_add(&s->inside, 1, RELEASE);
    (void)weft_read(fd, &byte, 1);
}

static void *server_main(void *arg)
{
    struct server *s = arg;

    s->answer = weft_serve(s->listener, handler, s, &s->opt);
    return NULL;
}

/* It looks at the listener now and then, and does not wait for the close. */
WEFT_TEST(a_server_at_its_limit_leaves_a_number_that_lingers)
{
    struct server s = { .opt = WEFT_SERVE_INIT };
    struct sockaddr_in where;
    weft_fiber_t f;
    uint64_t word;
    int client;

    s.listener = net_listen(5, &where);
    s.opt.max_connections = 1;
    s.opt.grace = -1;
    f = spawn_one(server_main, &s);
    client = net_connect(&where);
    wait_for(&s.inside, 1);
    word = lingers(s.listener);
    join(f);
    ck_assert_int_eq(s.answer, -EBADF);
    over(s.listener, word, 0);
    ck_code(weft_close(client), 0);
    ck_code(weft_close(s.listener), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("io_owner");
    TCase *tc = tcase_create("io_owner");

    suite_add_tcase(suite, tc);
    tcase_add_loop_test(
        tc, who_waited_for_a_number_that_changed_hands_leaves_it_alone, 0, 3);
    tcase_add_loop_test(tc, who_waited_for_a_number_that_stayed_goes_on, 0,
                        CALLS);
    tcase_add_loop_test(tc, of_several_each_is_the_one_that_was_named, 0, 2);
    tcase_add_test(tc, a_server_at_its_limit_leaves_a_number_that_lingers);
    return run_suite(suite);
}
