/*
 * Signals
 *
 * A fiber waits for a signal as sigwaitinfo(2) does, and the program need not
 * do anything for it beforehand:
 *
 *     sigset_t set;
 *
 *     sigemptyset(&set);
 *     sigaddset(&set, SIGTERM);
 *     if (weft_signal_wait(&set, NULL) == SIGTERM)
 *         shut_down();
 *
 * While someone waits, a handler of weft's stands in for the program's own;
 * when no one waits any more the program's is back. So what a signal does
 * between two waits is the program's business: SIGTERM kills it, unless it
 * said otherwise. One that waits in a loop and must not miss a signal blocks
 * it before weft_run(), as for sigwait(3): then it stays pending until the
 * next wait, which takes it.
 *
 *     sigprocmask(SIG_BLOCK, &set, NULL);
 *     weft_run(NULL, serve, NULL, NULL);
 *
 * A signal that came while weft's handler stood, and that no one was there to
 * take any more, is kept for the next wait that names it in the same run: of
 * signals below 32 one each, as the kernel does.
 */
#ifndef WEFT_SIGNAL_H
#define WEFT_SIGNAL_H

#include <signal.h>

#include <weft/api.h>
#include <weft/time.h>

WEFT_BEGIN_DECLS

/* sigset_t and siginfo_t are POSIX: a program compiled as plain C11 has none,
 * and does without what follows. */
#if defined(_POSIX_C_SOURCE) && _POSIX_C_SOURCE >= 199309L

/*
 * Wait until a signal of `set` comes to the process, and take it. Of several
 * who wait for one signal each gets one, who came first the first.
 *
 * The program's handler is not called for a signal that a wait takes, except
 * that of SIGCHLD, which is: others may live by it. A signal that is sent to
 * one thread, and is blocked there, is not seen.
 *
 * Blocks:   the calling fiber, until a signal comes or `deadline`. A
 *           cancellation point. From a fiber only, but for what is pending.
 * Returns:  the number of the signal
 *           -ETIMEDOUT   the deadline passed first
 *           -ECANCELED   the fiber was cancelled first
 *           -EAGAIN      `deadline` is WEFT_NOW and none is pending; or the
 *                        system gives no thread
 *           -EINVAL      set is NULL or empty, or names a signal that cannot
 *                        be waited for: SIGKILL, SIGSTOP; SIGSEGV, SIGBUS,
 *                        SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT, which a
 *                        thread brings upon itself; SIGRTMIN + 3, weft's own
 *           -EPERM       not on a fiber, and none is pending
 *           -EMFILE, -ENFILE, -ENOMEM   what the wait could not get
 * Memory:   `set` is copied. *info is filled in when a signal was taken; info
 *           may be NULL.
 */
WEFT_API WEFT_MUST_CHECK int weft_signal_wait_until(const sigset_t *set,
                                                    siginfo_t *info,
                                                    weft_time_t deadline);

/* weft_signal_wait_until() without a deadline. */
WEFT_API int weft_signal_wait(const sigset_t *set, siginfo_t *info);

#endif

WEFT_END_DECLS

#endif
