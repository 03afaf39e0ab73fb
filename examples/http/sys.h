/*
 * System calls that answer -errno
 *
 * A fiber that parks may go on upon another OS thread, and compilers keep the
 * address of errno over the call that parked it. So errno is looked at only
 * inside these functions, none of which parks, and they are never inlined
 * into one that does.
 */
#ifndef HTTPD_SYS_H
#define HTTPD_SYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#define NS_PER_SEC INT64_C(1000000000)

/*
 * Open `path` below the directory `root` and nowhere else: no "..", no
 * absolute name and no symbolic link leads out (-EXDEV). `cached`: -EAGAIN
 * unless the path is in the kernel's cache, so that the call cannot wait for a
 * disk (Linux 5.12; -EAGAIN always, before that). `walk`, or a kernel without
 * openat2: component by component, and then no symbolic link at all is
 * followed (-ELOOP).
 */
int sys_open_beneath(int root, const char *path, int flags, bool cached,
                     bool walk);

int sys_open(const char *path, int flags);
int sys_fstat(int fd, struct stat *st);
ssize_t sys_read(int fd, void *buf, size_t n);
int sys_close(int fd);
int sys_shutdown(int fd, int how);

/* A listening TCP socket; -EINVAL if host or service is no number. Its
 * connections inherit that blocking calls on them end after `timeout` ns. */
int sys_listen(const char *host, const char *service, int64_t timeout);

/* How long a socket's calls block; `option` is SO_RCVTIMEO or SO_SNDTIMEO. */
int sys_timeout(int fd, int option, int64_t timeout);

/* Small writes leave at once; the connections of a listener inherit it. */
int sys_no_delay(int fd);

int sys_port(int fd);

/* Files enough for `n` connections, as far as the hard limit goes. */
void sys_want_files(size_t n);

/* CLOCK_MONOTONIC in ns, at most a tick of the kernel (4 ms) behind, for a
 * quarter of the cost of the exact one. */
int64_t sys_now(void);

#endif
