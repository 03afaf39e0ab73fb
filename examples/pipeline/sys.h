/*
 * System calls that answer -errno
 *
 * A fiber that parks may go on upon another OS thread, and compilers keep the
 * address of errno over the call that parked it. So errno is looked at only
 * inside these functions, none of which parks, and they are never inlined
 * into one that does. (A job for port_block() stays on its thread; there
 * errno is safe.)
 */
#ifndef PIPELINE_SYS_H
#define PIPELINE_SYS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/types.h>

/*
 * Open `name` below `dir` without following a symbolic link anywhere in it,
 * so that a link put in place of a directory behind the walker's back is an
 * error and not a way out of the tree. `cached`: answer -EAGAIN unless the
 * whole path is in the kernel's cache, so that the call cannot wait for a
 * disk (Linux 5.12; -EAGAIN always, before that).
 */
int sys_open(int dir, const char *name, int flags, bool cached);

/* `nowait`: only what is in the page cache, -EAGAIN if that is nothing, and
 * -EOPNOTSUPP from file systems that cannot say. May be short. */
ssize_t sys_pread(int fd, void *buf, size_t n, off_t offset, bool nowait);

int sys_create(int dir, const char *name, int flags);
int sys_write_all(int fd, const void *buf, size_t n);
int sys_fstat(int fd, struct stat *st);
int sys_close(int fd);
int sys_fsync(int fd);
int sys_mkdir(int dir, const char *name);
int sys_unlink(int dir, const char *name);
int sys_rename(int dir, const char *from, const char *to);

#endif
