/*
 * Wait groups
 *
 * The word (wordlock.h): the count in the low half, WAITERS while someone
 * waits. A change that leaves someone waiting, or meets no one, is one
 * compare-and-swap; the one that reaches 0 with WAITERS set takes the list,
 * and sets the count to 0 in the same store that drops the inner lock: until
 * then no fast path sees 0, and after it the group may be gone.
 */
#include <weft/waitgroup.h>

#include <errno.h>
#include <limits.h>

#include "sched/sched.h"
#include "sched/waitlist.h"
#include "sched/wordlock.h"

#define GROUP_COUNT ((uint64_t)0xffffffff)
#define GROUP_WAITERS WEFT__WORD_FLAG(0)

struct group {
    weft__au64 word;
    struct weft__waitlist waiters;
    uint64_t spare;
};

_Static_assert(sizeof(struct group) == sizeof(weft_waitgroup_t), "24 bytes");

/* The count was seen to reach 0 with someone waiting; look again under the
 * lock. */
static __attribute__((noinline)) int group_add_slow(struct group *group,
                                                    int64_t n)
{
    struct weft__batch batch = { 0 };
    struct weft__waiter *waiter;
    uint64_t word = weft__word_lock(&group->word);
    int64_t count = (int64_t)(word & GROUP_COUNT) + n;

    if (count < 0 || count > INT32_MAX) {
        weft__word_unlock(&group->word, word);
        return -EINVAL;
    }
    if (count == 0) {
        while ((waiter = weft__waitlist_claim(&group->waiters,
                                              WEFT__CAUSE_OK)))
            weft__batch_add(&batch, waiter->fiber);
        word = 0;
    }
    weft__word_unlock(&group->word,
                      (word & ~GROUP_COUNT) | (uint64_t)count);
    weft__batch_ready(&batch);
    return 0;
}

int weft_waitgroup_add(weft_waitgroup_t *wg, int n)
{
    struct group *group = (struct group *)(void *)wg;
    uint64_t seen;

    if (!group)
        return -EINVAL;
    weft__caller();
    seen = weft__load(&group->word, RELAXED); /* the swap checks it */
    for (;;) {
        int64_t count = (int64_t)(seen & GROUP_COUNT) + n;

        if (seen & WEFT__WORD_INNER ||
            (count == 0 && seen & GROUP_WAITERS))
            return group_add_slow(group, n);
        if (count < 0 || count > INT32_MAX)
            return -EINVAL;
        /* acq_rel: whoever sees 0 sees what came before every done. */
        if (weft__cas(&group->word, &seen,
                      (seen & ~GROUP_COUNT) | (uint64_t)count, ACQ_REL,
                      RELAXED))
            return 0;
    }
}

int weft_waitgroup_done(weft_waitgroup_t *wg)
{
    return weft_waitgroup_add(wg, -1);
}

static __attribute__((noinline)) int
group_wait_slow(struct group *group, struct weft__fiber *self,
                weft_time_t deadline)
{
    struct weft__waiter waiter = { .fiber = self };
    uint64_t word = weft__word_lock(&group->word);
    enum weft__cause cause;

    if (!(word & GROUP_COUNT)) {
        weft__word_unlock(&group->word, word);
        return 0;
    }
    weft__waitlist_push(&group->waiters, &waiter);
    waiter.gen =
        weft__park_open_until(self, 0, "wait group", group, deadline);
    weft__word_unlock(&group->word, word | GROUP_WAITERS);

    cause = weft__park(self);
    if (cause == WEFT__CAUSE_OK)
        return 0; /* the group may be gone */

    word = weft__word_lock(&group->word);
    weft__waitlist_remove(&group->waiters, &waiter);
    weft__word_unlock(&group->word, group->waiters.first
                                        ? word
                                        : word & ~GROUP_WAITERS);
    return weft__cause_code(cause);
}

/* One for all three forms, inlined: what a constant deadline rules out is not
 * asked for. */
static inline __attribute__((always_inline)) int
group_wait(weft_waitgroup_t *wg, weft_time_t deadline)
{
    struct group *group = (struct group *)(void *)wg;
    struct weft__fiber *self;
    int status;

    if (!group)
        return -EINVAL;
    self = weft__caller();
    if (weft__canceled_on_entry(self, deadline))
        return -ECANCELED;
    /* acquire: pairs with the done that reached 0. */
    if (!(weft__load(&group->word, ACQUIRE) & GROUP_COUNT))
        return 0;
    status = weft__wait_refused(self, deadline);
    return status ? status : group_wait_slow(group, self, deadline);
}

int weft_waitgroup_wait_until(weft_waitgroup_t *wg, weft_time_t deadline)
{
    return group_wait(wg, deadline);
}

int weft_waitgroup_wait(weft_waitgroup_t *wg)
{
    return group_wait(wg, WEFT_FOREVER);
}

int weft_waitgroup_wait_try(weft_waitgroup_t *wg)
{
    return group_wait(wg, WEFT_NOW);
}
