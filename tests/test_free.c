/*
 * An object may be freed by the one it just woke, before the call that woke
 * it has returned; and so may one that a fast path just found done.
 *
 * A giver and a taker meet at a fresh object, round after round. The taker
 * frees it as soon as its own call returns; the giver's call may still be
 * under way. Under ASan a late touch ends the test: mutexes and wait groups
 * lie on the heap, and of a free channel or queue all but the lock is
 * poisoned. Without ASan these are plain races.
 */
#include "tests/support_prim.h"


enum path { SLOW, FAST };

/* One situation: what lies between, and the two calls. */
struct situation {
    const char *name;
    void *(*make)(void);
    /* By the giver, before the taker begins; may be NULL. */
    void (*prepare)(void *object);
    void (*give)(void *object);
    int (*take)(void *object);     /* parks */
    int (*take_try)(void *object); /* 0 when it has happened */
    void (*destroy)(void *object);
};

/* --- Mutex ------------------------------------------------------------------- */

/* Both would use it once more; the last one frees it. */
static void *mutex_make(void)
{
    return calloc(1, sizeof(weft_mutex_t));
}

static void mutex_prepare(void *m)
{
    must_code(weft_mutex_lock(m), 0);
}

static void mutex_give(void *m)
{
    must_code(weft_mutex_unlock(m), 0);
}

/* The mutex is handed over: the other side of the slow path. */
static void mutex_give_late(void *m)
{
    weft_time_t end = weft_now() + WEFT_MS(1);

    while (weft_now() <= end)
        ;
    must_code(weft_mutex_unlock(m), 0);
}

static int mutex_take(void *m)
{
    int status = weft_mutex_lock(m);

    return status ? status : weft_mutex_unlock(m);
}

static int mutex_take_try(void *m)
{
    int status = weft_mutex_lock_try(m);

    return status ? status : weft_mutex_unlock(m);
}

/* --- Wait group ---------------------------------------------------------------- */

static void *group_make(void)
{
    weft_waitgroup_t *wg = calloc(1, sizeof(*wg));

    must_code(weft_waitgroup_add(wg, 1), 0);
    return wg;
}

static void group_give(void *wg)
{
    must_code(weft_waitgroup_done(wg), 0);
}

static int group_take(void *wg)
{
    return weft_waitgroup_wait(wg);
}

static int group_take_try(void *wg)
{
    return weft_waitgroup_wait_try(wg);
}

/* --- Semaphore, condition -------------------------------------------------------- */

static void *sem_make(void)
{
    return calloc(1, sizeof(weft_sem_t));
}

static void sem_give(void *sem)
{
    must_code(weft_sem_release(sem, 2), 0);
}

static int sem_take(void *sem)
{
    return weft_sem_acquire(sem, 2);
}

static int sem_take_try(void *sem)
{
    return weft_sem_acquire_try(sem, 2);
}

struct guarded {
    weft_mutex_t m;
    weft_cond_t c;
};

static void *cond_make(void)
{
    return calloc(1, sizeof(struct guarded));
}

static void cond_signal(void *object)
{
    must_code(weft_cond_signal(&((struct guarded *)object)->c), 0);
}

static void cond_broadcast(void *object)
{
    must_code(weft_cond_broadcast(&((struct guarded *)object)->c), 0);
}

static int cond_take(void *object)
{
    struct guarded *g = object;
    int status;

    must_code(weft_mutex_lock(&g->m), 0);
    status = weft_cond_wait(&g->c, &g->m);
    return status ? status : weft_mutex_unlock(&g->m);
}

/* --- Channel -------------------------------------------------------------------- */

static void *chan_make(void)
{
    return new_chan(sizeof(long), 0);
}

static void *chan_make_buffered(void)
{
    return new_chan(sizeof(long), 1);
}

/* The reference goes with the value. */
static void chan_send(void *ch)
{
    must_code(weft_chan_send(ch, &(long){ 42 }), 0);
}

static void chan_send_try(void *ch)
{
    must_code(weft_chan_send_try(ch, &(long){ 42 }), 0);
}

static void chan_send_n(void *ch)
{
    must_code(weft_chan_send_n(ch, &(long){ 42 }, 1), 1);
}

static void chan_close(void *ch)
{
    must_code(weft_chan_close(ch), 0);
}

static int chan_recv(void *ch)
{
    long x = 0;
    int status = weft_chan_recv(ch, &x);

    must(x == 42 || status != 0);
    return status;
}

static int chan_recv_try(void *ch)
{
    long x = 0;
    int status = weft_chan_recv_try(ch, &x);

    must(x == 42 || status != 0);
    return status;
}

static int chan_recv_closed(void *ch)
{
    return chan_recv(ch) == -EPIPE ? 0 : -EINVAL;
}

static int chan_recv_closed_try(void *ch)
{
    return chan_recv_try(ch) == -EPIPE ? 0 : -EAGAIN;
}

/* The other way round: the sender frees it when its value was taken. */
static void chan_give_recv(void *ch)
{
    must_code(chan_recv(ch), 0);
}

static void chan_give_recv_n(void *ch)
{
    long x;

    must_code(weft_chan_recv_n(ch, &x, 1), 1);
}

static int chan_take_send(void *ch)
{
    return weft_chan_send(ch, &(long){ 42 });
}

/* By a select, which also waits elsewhere. */
static int chan_select(void *ch)
{
    static weft_chan_t *other;
    long x = 0;

    if (!other)
        other = new_chan(sizeof(long), 0);
    {
        weft_case_t cases[] = { WEFT_RECV(other, &x), WEFT_RECV(ch, &x) };
        int answer = weft_select(cases, 2);

        must(answer == 1 && (x == 42 || cases[1].status != 0));
        return cases[1].status;
    }
}

static int chan_select_try(void *ch)
{
    long x = 0;
    weft_case_t cases[] = { WEFT_RECV(NULL, &x), WEFT_RECV(ch, &x) };
    int answer = weft_select_try(cases, 2);

    return answer < 0 ? answer : cases[1].status;
}

static int chan_select_closed(void *ch)
{
    return chan_select(ch) == -EPIPE ? 0 : -EINVAL;
}

static int chan_select_send(void *ch)
{
    weft_case_t cases[] = { WEFT_AFTER(WEFT_FOREVER),
                            WEFT_SEND(ch, &(long){ 42 }) };

    return weft_select(cases, 2) == 1 ? cases[1].status : -EINVAL;
}

/* The other way round: what a select moves wakes one who then frees it. */
static void chan_give_select(void *ch)
{
    long y = 42;
    weft_case_t cases[] = { WEFT_SEND(ch, &y) };

    must_code(weft_select(cases, 1), 0);
}

static void chan_destroy(void *ch)
{
    weft_chan_unref(ch);
}

/* --- Queue ---------------------------------------------------------------------- */

static void *queue_make(void)
{
    weft_queue_t *q;

    must_code(weft_queue_create(&q, WEFT_FIFO, sizeof(long), 1, NULL), 0);
    return q;
}

/* Full, so that a put waits. */
static void *queue_make_full(void)
{
    void *q = queue_make();

    must_code(weft_queue_put(q, &(long){ 42 }), 0);
    return q;
}

/* One is got and not done, so that a join waits. */
static void *queue_make_busy(void)
{
    void *q = queue_make_full();
    long x;

    must_code(weft_queue_get(q, &x), 0);
    return q;
}

static void queue_put(void *q)
{
    must_code(weft_queue_put(q, &(long){ 42 }), 0);
}

static void queue_give_get(void *q)
{
    long x;

    must_code(weft_queue_get(q, &x), 0);
}

static void queue_done(void *q)
{
    must_code(weft_queue_done(q), 0);
}

static void queue_close(void *q)
{
    must_code(weft_queue_close(q), 0);
}

static int queue_get(void *q)
{
    long x;

    return weft_queue_get(q, &x);
}

static int queue_get_try(void *q)
{
    long x;

    return weft_queue_get_try(q, &x);
}

static int queue_get_closed(void *q)
{
    return queue_get(q) == -EPIPE ? 0 : -EINVAL;
}

static int queue_get_closed_try(void *q)
{
    return queue_get_try(q) == -EPIPE ? 0 : -EAGAIN;
}

static int queue_take_put(void *q)
{
    return weft_queue_put(q, &(long){ 42 });
}

static int queue_take_put_try(void *q)
{
    return weft_queue_put_try(q, &(long){ 42 });
}

static int queue_join(void *q)
{
    return weft_queue_join(q);
}

static int queue_join_try(void *q)
{
    return weft_queue_join_try(q);
}

static void queue_destroy(void *q)
{
    weft_queue_unref(q);
}

/* --- All of them ------------------------------------------------------------------- */

static const struct situation situations[] = {
    { "mutex", mutex_make, mutex_prepare, mutex_give, mutex_take,
      mutex_take_try, free },
    { "mutex handed over", mutex_make, mutex_prepare, mutex_give_late,
      mutex_take, NULL, free },
    { "wait group", group_make, NULL, group_give, group_take, group_take_try,
      free },
    { "wait group, waited for", group_make, NULL, group_give, NULL,
      group_take, free },
    { "release", sem_make, NULL, sem_give, sem_take, sem_take_try, free },
    { "signal", cond_make, NULL, cond_signal, cond_take, NULL, free },
    { "broadcast", cond_make, NULL, cond_broadcast, cond_take, NULL, free },
    { "send", chan_make, NULL, chan_send, chan_recv, NULL, chan_destroy },
    { "send to a buffer", chan_make_buffered, NULL, chan_send, chan_recv,
      chan_recv_try, chan_destroy },
    { "send_try", chan_make_buffered, NULL, chan_send_try, chan_recv,
      chan_recv_try, chan_destroy },
    { "send_n", chan_make_buffered, NULL, chan_send_n, chan_recv,
      chan_recv_try, chan_destroy },
    { "close of a channel", chan_make_buffered, NULL, chan_close,
      chan_recv_closed, chan_recv_closed_try, chan_destroy },
    { "recv", chan_make, NULL, chan_give_recv, chan_take_send, NULL,
      chan_destroy },
    { "recv_n", chan_make, NULL, chan_give_recv_n, chan_take_send, NULL,
      chan_destroy },
    { "send to a select", chan_make, NULL, chan_send, chan_select,
      NULL, chan_destroy },
    { "send to a buffer, to a select", chan_make_buffered, NULL, chan_send,
      chan_select, chan_select_try, chan_destroy },
    { "close under a select", chan_make, NULL, chan_close, chan_select_closed,
      NULL, chan_destroy },
    { "recv from a select", chan_make, NULL, chan_give_recv, chan_select_send,
      NULL, chan_destroy },
    { "send by a select", chan_make, NULL, chan_give_select, chan_recv, NULL,
      chan_destroy },
    { "put", queue_make, NULL, queue_put, queue_get, queue_get_try,
      queue_destroy },
    { "get", queue_make_full, NULL, queue_give_get, queue_take_put,
      queue_take_put_try, queue_destroy },
    { "done", queue_make_busy, NULL, queue_done, queue_join, queue_join_try,
      queue_destroy },
    { "close of a queue", queue_make, NULL, queue_close, queue_get_closed,
      queue_get_closed_try, queue_destroy },
};
enum { SITUATIONS = sizeof(situations) / sizeof(situations[0]) };

/* --- The rounds ---------------------------------------------------------------------- */

enum { OVER = INT32_MAX };

static struct {
    const struct situation *of;
    enum path path;
    uint32_t rounds;
    weft_time_t until; /* or when: threads that wait for each other on a
                          busy machine are slow */
    weft_fiber_t taker;
    void *object;
    weft__au32 made;     /* the round whose object is there; or OVER */
    weft__au32 prepared; /* the round whose giver has prepared it */
    weft__au32 given;    /* the round whose giver has returned */
} s;

static void give_all(void *arg)
{
    (void)arg;
    for (uint32_t i = 1;; i++) {
        wait_for(&s.made, i);
        if (weft__load(&s.made, ACQUIRE) == OVER)
            return;
        if (s.of->prepare)
            s.of->prepare(s.object);
        weft__store(&s.prepared, i, RELEASE);
        if (s.path == SLOW)
            wait_until_parked(s.taker);
        s.of->give(s.object);
        weft__store(&s.given, i, RELEASE);
    }
}

static void *give_fiber(void *arg)
{
    give_all(arg);
    return NULL;
}

/* On a fast path: no yield, which would take longer than what is raced with;
 * but with one worker the giver must get a turn. */
static void take_fast(void *object, unsigned n)
{
    int status;

    if (!s.of->take_try)
        ck_abort_msg("%s has no fast path", s.of->name);
    do {
        status = s.of->take_try(object);
        if (status == -EAGAIN && (n == 1 || ++n % 1000 == 0))
            weft_yield();
    } while (status == -EAGAIN);
    must_code(status, 0);
}

static void *take_all(void *arg)
{
    unsigned n = workers();

    for (uint32_t i = 1; i <= s.rounds && weft_now() < s.until; i++) {
        s.object = s.of->make();
        weft__store(&s.made, i, RELEASE);
        wait_for(&s.prepared, i);
        if (s.path == SLOW)
            must_code(s.of->take(s.object), 0);
        else
            take_fast(s.object, n);
        s.of->destroy(s.object);
        /* The memory is not used again before the giver is out. */
        wait_for(&s.given, i);
    }
    weft__store(&s.made, OVER, RELEASE);
    return arg;
}

/* A fast path that is a wait may also park: then it was slow. */
static void set_up(int i, enum path path)
{
    s.of = &situations[i];
    s.path = path;
    s.rounds = 5000;
    s.until = weft_now() + WEFT_MS(100);
    s.taker = spawn(take_all, NULL);
}

static bool has(int i, enum path path)
{
    return path == SLOW ? situations[i].take != NULL
                        : situations[i].take_try != NULL;
}

/* The giver is a fiber: what it wakes runs there next, or is stolen. */
WEFT_TEST(freed_by_the_one_it_woke_while_a_fiber_gives)
{
    int which = _i / 2;

    if (!has(which, (enum path)(_i % 2)))
        return;
    set_up(which, (enum path)(_i % 2));
    join(spawn(give_fiber, NULL));
    join(s.taker);
}
END_TEST

/* The giver is a thread of its own: what it wakes runs beside it at once. */
WEFT_TEST(freed_by_the_one_it_woke_while_a_thread_gives)
{
    struct foreign t;
    int which = _i / 2;

    if (!has(which, (enum path)(_i % 2)))
        return;
    set_up(which, (enum path)(_i % 2));
    foreign_start(&t, give_all, NULL);
    foreign_join(&t);
    join(s.taker);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("free");
    TCase *tcase = tcase_create("free");

    tcase_add_loop_test(tcase, freed_by_the_one_it_woke_while_a_fiber_gives,
                        0, 2 * SITUATIONS);
    tcase_add_loop_test(tcase, freed_by_the_one_it_woke_while_a_thread_gives,
                        0, 2 * SITUATIONS);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
