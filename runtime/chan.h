/*
 * Channels as select sees them: several locked at once, looked at, and waited
 * for by one fiber. Between lock and unlock, but for check.
 */
#ifndef WEFT_RUNTIME_CHAN_H
#define WEFT_RUNTIME_CHAN_H

#include <stdbool.h>
#include <weft/chan.h>

#include "sched/waitlist.h"

enum weft__chan_end { WEFT__CHAN_RECV, WEFT__CHAN_SEND };

/* 0, or -EINVAL: such a value cannot be sent, or received into. */
int weft__chan_check(weft_chan_t *ch, const void *value);

void weft__chan_lock(weft_chan_t *ch);
void weft__chan_unlock(weft_chan_t *ch);

/* Is a move likely to succeed? Those who wait may have given up: ask it. */
bool weft__chan_ready(const weft_chan_t *ch, enum weft__chan_end end);

/* Move one value, if that needs no waiting: as weft_chan_send_try() and
 * weft_chan_recv_try(). *woken is for weft__ready() after the unlock. */
int weft__chan_move(weft_chan_t *ch, enum weft__chan_end end, void *value,
                    struct weft__fiber **woken);

/* Stand in line, and leave it. */
void weft__chan_enter(weft_chan_t *ch, enum weft__chan_end end,
                      struct weft__waiter *waiter);
void weft__chan_leave(weft_chan_t *ch, enum weft__chan_end end,
                      struct weft__waiter *waiter);

#endif
