/*
 * Fatal errors and the log.
 *
 * A broken invariant stops the program with a sentence: WEFT__CHECK(cond,
 * "what it means"). What a user should know but need not die of goes to the
 * log, which weft_set_log() may redirect.
 */
#ifndef WEFT_SCHED_FATAL_H
#define WEFT_SCHED_FATAL_H

#define WEFT__CHECK(cond, what)                                             \
    ((cond) ? (void)0 : weft__fatal(__FILE__, __LINE__, (what)))

/* The same where a debug build pays for the look and a release does not. */
#ifdef WEFT_DEBUG
#define WEFT__DCHECK(cond, what) WEFT__CHECK(cond, what)
#else
#define WEFT__DCHECK(cond, what) ((void)0)
#endif

_Noreturn void weft__fatal(const char *file, int line, const char *what);

/* One line to the log; level is one of WEFT_LOG_*. Cut at 500 bytes. */
void weft__log(int level, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Where log lines go; NULL: stderr. */
void weft__log_to(void (*fn)(int level, const char *line, void *arg),
                  void *arg);

/* In a forked child: no other thread sets the log. */
void weft__log_forked(void);

#endif
