/*
 * Of the situations in waits.h those of mutexes, semaphores and conditions.
 */
#ifndef TESTS_WAITS_LOCK_H
#define TESTS_WAITS_LOCK_H

#include "tests/waits_spot.h"

/* --- Mutexes -------------------------------------------------------------------- */

static void make_mutex(struct spot *s)
{
    must(weft_mutex_lock(&s->mutex) == 0);
}

static int call_lock(struct spot *s, weft_time_t deadline)
{
    return TELL(weft_mutex_lock_until(&s->mutex, deadline));
}

static void give_mutex(struct spot *s)
{
    must(weft_mutex_unlock(&s->mutex) == 0);
}

/* Locked by the waiter, or by nobody; and nothing is left in its word. */
static void check_lock(struct spot *s, int status)
{
    if (status == 0)
        must(s->inside++ == 0 && --s->inside == 0);
    must(weft_mutex_unlock(&s->mutex) == (status == 0 ? 0 : -EPERM));
    must(weft_mutex_lock_try(&s->mutex) == 0);
    must(weft_mutex_unlock(&s->mutex) == 0);
}

/* Others want it too, and more than once: they pass a waiter that was woken,
 * and depend on it if it leaves. */
static void *lock_too(void *arg)
{
    struct spot *s = arg;

    for (int i = 0; i < 2; i++) {
        must(weft_mutex_lock(&s->mutex) == 0);
        must(s->inside++ == 0);
        if (i == 0)
            weft_yield();
        must(--s->inside == 0);
        must(weft_mutex_unlock(&s->mutex) == 0);
    }
    return NULL;
}

static void make_mutex_crowd(struct spot *s)
{
    must(weft_mutex_lock(&s->mutex) == 0);
    for (int i = 0; i < WAIT_OTHERS; i++)
        wait_spawn(s, i, lock_too);
}

static void check_lock_crowd(struct spot *s, int status)
{
    if (status == 0) {
        must(s->inside++ == 0 && --s->inside == 0);
        must(weft_mutex_unlock(&s->mutex) == 0);
    }
    for (int i = 0; i < WAIT_OTHERS; i++)
        wait_join(s, i);
    must(weft_mutex_unlock(&s->mutex) == -EPERM);
    must(weft_mutex_lock_try(&s->mutex) == 0);
    must(weft_mutex_unlock(&s->mutex) == 0);
}

/* --- Semaphores ------------------------------------------------------------------ */

static void make_sem(struct spot *s)
{
    must(weft_sem_acquire_try(&s->sem, 1) == -EAGAIN);
}

static int call_sem(struct spot *s, weft_time_t deadline)
{
    return TELL(weft_sem_acquire_until(&s->sem, 1, deadline));
}

static void give_sem(struct spot *s)
{
    must(weft_sem_release(&s->sem, 1) == 0);
}

/* The permit was taken, or is there. */
static void check_sem(struct spot *s, int status)
{
    must(weft_sem_acquire_try(&s->sem, 1) == (status == 0 ? -EAGAIN : 0));
    must(weft_sem_acquire_try(&s->sem, 1) == -EAGAIN);
}

/* The waiter wants two permits and another in line wants one: if the waiter is
 * before it and leaves, the one that is there already is the other's. */
static void *acquire_too(void *arg)
{
    struct spot *s = arg;

    if (s->turn % 2)
        weft_yield();
    must(weft_sem_acquire(&s->sem, 1) == 0);
    return NULL;
}

static void make_sem_crowd(struct spot *s)
{
    make_sem(s);
    wait_spawn(s, 0, acquire_too);
}

static int call_sem_two(struct spot *s, weft_time_t deadline)
{
    return TELL(weft_sem_acquire_until(&s->sem, 2, deadline));
}

static void give_sem_three(struct spot *s)
{
    must(weft_sem_release(&s->sem, 1) == 0);
    must(weft_sem_release(&s->sem, 2) == 0);
}

static void check_sem_crowd(struct spot *s, int status)
{
    wait_join(s, 0);
    must(weft_sem_acquire_try(&s->sem, 2) == (status == 0 ? -EAGAIN : 0));
    must(weft_sem_acquire_try(&s->sem, 1) == -EAGAIN);
}

/* --- Conditions ------------------------------------------------------------------ */

static void make_cond(struct spot *s)
{
    s->tokens = 0;
}

/* Wait for a token, and take it. */
static int take_token(struct spot *s, weft_time_t deadline)
{
    int status = 0;

    must(weft_mutex_lock(&s->mutex) == 0);
    while (s->tokens == 0 && status == 0) {
        status = TELL(weft_cond_wait_until(&s->cond, &s->mutex, deadline));
        must(s->inside++ == 0 && --s->inside == 0);
    }
    if (status == 0)
        s->tokens--;
    must(weft_mutex_unlock(&s->mutex) == 0);
    return status;
}

static void give_token(struct spot *s)
{
    must(weft_mutex_lock(&s->mutex) == 0);
    must(s->inside++ == 0);
    s->tokens++;
    must(weft_cond_signal(&s->cond) == 0);
    must(--s->inside == 0);
    must(weft_mutex_unlock(&s->mutex) == 0);
}

static void check_cond(struct spot *s, int status)
{
    must(s->tokens == (status == 0 ? 0 : 1));
    check_lock(s, -1);
}

/* One token and two who want it: a signal that found one who left is not the
 * other's loss. */
static void *take_token_too(void *arg)
{
    struct spot *s = arg;

    if (s->turn % 2)
        weft_yield();
    must(take_token(s, WEFT_FOREVER) == 0);
    return NULL;
}

static void make_cond_crowd(struct spot *s)
{
    make_cond(s);
    wait_spawn(s, 0, take_token_too);
}

static void check_cond_crowd(struct spot *s, int status)
{
    if (status == 0)
        give_token(s);
    wait_join(s, 0);
    must(s->tokens == 0);
    check_lock(s, -1);
}

#endif
