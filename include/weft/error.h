/*
 * Errors
 *
 * A weft call returns 0 or a count on success and a negative errno value on
 * failure. errno itself is never part of the contract: it belongs to an OS
 * thread, and a fiber may wake up on another one. One code has one meaning
 * everywhere:
 *
 *     -EAGAIN      a _try form would have had to wait
 *     -ETIMEDOUT   the deadline passed; nothing was taken or given
 *     -ECANCELED   the calling fiber was cancelled; the effect did not happen
 *     -EDEADLK     waiting would never end: a self-join, a relock, or the
 *                  whole program asleep with nothing left to wake it
 *     -EPERM       wrong owner or wrong context
 *     -EPIPE       no one is left at the other end
 *     -ESRCH       a stale fiber id
 *     -EBADF       no open descriptor, or one that was closed meanwhile
 *     -EBUSY       someone else is already at it
 *     -EINVAL, -ENOMEM, -EMFILE, -ENOSYS   as in POSIX
 */
#ifndef WEFT_ERROR_H
#define WEFT_ERROR_H

#include <weft/api.h>

WEFT_BEGIN_DECLS

/*
 * The sentence for a code, as strerror(3) would say it. Codes may be given
 * with either sign; 0 is "Success".
 *
 * Blocks:   never. From anywhere, before a start and after a stop too.
 * Returns:  a constant string; for a code it does not know "Unknown error".
 * Memory:   static; never freed.
 */
WEFT_API const char *weft_strerror(int code);

/*
 * The name of a code: "EPIPE" for -EPIPE.
 *
 * Blocks:   never. From anywhere.
 * Returns:  a constant string; "0" for 0, "?" for a code it does not know.
 * Memory:   static; never freed.
 */
WEFT_API const char *weft_err_name(int code);

WEFT_END_DECLS

#endif
