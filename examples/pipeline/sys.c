#include "sys.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* Also against optimisation at link time, which would inline across files. */
#define NOINLINE __attribute__((noinline))

static int answer(int result)
{
    return result < 0 ? -errno : result;
}

NOINLINE int sys_open(int dir, const char *name, int flags, bool cached)
{
    struct open_how how = {
        .flags = (uint64_t)(unsigned)(flags | O_CLOEXEC),
        .resolve = RESOLVE_NO_SYMLINKS,
    };
    long fd;

    if (cached)
        how.resolve |= RESOLVE_CACHED;
    fd = syscall(SYS_openat2, dir, name, &how, sizeof(how));
    if (fd >= 0)
        return (int)fd;

    /* No openat2 here: an old kernel, or a container's filter that answers
     * EPERM for calls it does not know. The last component at least is
     * looked at then. EINVAL: openat2 without RESOLVE_CACHED. */
    if (cached && (errno == ENOSYS || errno == EPERM || errno == EINVAL))
        return -EAGAIN;
    if (errno == ENOSYS || errno == EPERM)
        return answer(openat(dir, name, flags | O_CLOEXEC | O_NOFOLLOW));
    return -errno;
}

NOINLINE ssize_t sys_pread(int fd, void *buf, size_t n, off_t offset,
                           bool nowait)
{
    struct iovec iov = { .iov_base = buf, .iov_len = n };
    ssize_t got;

    do {
        got = preadv2(fd, &iov, 1, offset, nowait ? RWF_NOWAIT : 0);
    } while (got < 0 && errno == EINTR);
    return got < 0 ? -errno : got;
}

NOINLINE int sys_create(int dir, const char *name, int flags)
{
    return answer(openat(
        dir, name, flags | O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666));
}

NOINLINE int sys_write_all(int fd, const void *buf, size_t n)
{
    const char *at = buf;

    while (n > 0) {
        ssize_t put = write(fd, at, n);

        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return -errno;
        at += put;
        n -= (size_t)put;
    }
    return 0;
}

NOINLINE int sys_fstat(int fd, struct stat *st)
{
    return answer(fstat(fd, st));
}

NOINLINE int sys_close(int fd)
{
    return answer(close(fd));
}

NOINLINE int sys_fsync(int fd)
{
    return answer(fsync(fd));
}

NOINLINE int sys_mkdir(int dir, const char *name)
{
    return answer(mkdirat(dir, name, 0777));
}

NOINLINE int sys_unlink(int dir, const char *name)
{
    return answer(unlinkat(dir, name, 0));
}

NOINLINE int sys_rename(int dir, const char *from, const char *to)
{
    return answer(renameat(dir, from, dir, to));
}
