#include "tests/support_signal.h"

#include <pthread.h>
#include <unistd.h>

weft__au32 host_got;

void host_handler(int sig)
{
    (void)sig;
    (void)weft__fetch_add(&host_got, 1, ACQ_REL);
}

void host_takes(int sig)
{
    struct sigaction action = { .sa_handler = host_handler };

    ck_assert_int_eq(sigaction(sig, &action, NULL), 0);
}

bool host_has(int sig, void (*handler)(int))
{
    struct sigaction now;

    ck_assert_int_eq(sigaction(sig, NULL, &now), 0);
    return !(now.sa_flags & SA_SIGINFO) && now.sa_handler == handler;
}

sigset_t set_of(int a, int b)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, a);
    if (b != 0)
        sigaddset(&set, b);
    return set;
}

void block(int sig)
{
    sigset_t set = set_of(sig, 0);

    ck_assert_int_eq(pthread_sigmask(SIG_BLOCK, &set, NULL), 0);
}

void send_one(int sig)
{
    must(kill(getpid(), sig) == 0);
}

void queue(int sig, int value)
{
    union sigval v = { .sival_int = value };

    must(sigqueue(getpid(), sig, v) == 0);
}

void no_handlers(void)
{
    signal(SIGTERM, SIG_DFL);
    signal(SIGINT, SIG_DFL);
}

void *wait_one(void *arg)
{
    struct waiter *w = arg;

    if (w->until != 0)
        w->answer = weft_signal_wait_until(&w->set, &w->info, w->until);
    else
        w->answer = weft_signal_wait(&w->set, &w->info);
    return NULL;
}

struct waiter waiter(int a, int b)
{
    return (struct waiter){ .set = set_of(a, b) };
}
