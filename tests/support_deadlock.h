/*
 * What the tests of deadlocks share: what stderr says, and when it would have.
 */
#ifndef TESTS_SUPPORT_DEADLOCK_H
#define TESTS_SUPPORT_DEADLOCK_H

/* From here on stderr is kept. */
void listen_to_stderr(void);

/* How often `words` stand there. */
int times_said(const char *words);

/* Everyone has lain down, and had time to say what there is to say. */
void watch_them_sleep(void);

#endif
