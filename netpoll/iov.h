/*
 * A part of a vector of buffers: what is left of it after some bytes, and no
 * more than so many.
 */
#ifndef WEFT_NETPOLL_IOV_H
#define WEFT_NETPOLL_IOV_H

#include <stddef.h>
#include <sys/uio.h>

/* IOV_MAX, as the kernel has it. */
enum { WEFT__IOV_MAX = 1024 };

static inline size_t weft__iov_total(const struct iovec *iov, int n)
{
    size_t total = 0;

    for (int i = 0; i < n; i++)
        total += iov[i].iov_len;
    return total;
}

/*
 * Copy to out[0] .. out[room - 1] what comes after the first `skip` bytes, at
 * most `most` bytes of it. Returns how many entries; 0: nothing is left.
 */
static inline int weft__iov_slice(struct iovec *out, int room,
                                  const struct iovec *iov, int n, size_t skip,
                                  size_t most)
{
    int made = 0;

    for (int i = 0; i < n && made < room && most > 0; i++) {
        size_t len = iov[i].iov_len;

        if (len <= skip) {
            skip -= len;
            continue;
        }
        len -= skip;
        if (len > most)
            len = most;
        out[made].iov_base = (char *)iov[i].iov_base + skip;
        out[made].iov_len = len;
        made++;
        most -= len;
        skip = 0;
    }
    return made;
}

#endif
