/*
 * What the condition variable wants to know of a mutex.
 */
#ifndef WEFT_RUNTIME_MUTEX_H
#define WEFT_RUNTIME_MUTEX_H

#include <stdbool.h>
#include <weft/mutex.h>

struct weft__fiber;

/* Does the calling fiber, `self`, hold it? */
bool weft__mutex_held(weft_mutex_t *mutex, const struct weft__fiber *self);

#endif
