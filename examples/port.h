/* Which port a server has got: a line on stdout, for people and scripts. */
#ifndef EXAMPLES_PORT_H
#define EXAMPLES_PORT_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>

static inline void say_port(int fd)
{
    /* The port lies at the same place for IPv4 and IPv6. */
    struct sockaddr_in6 sa;
    socklen_t len = sizeof(sa);

    if (getsockname(fd, (struct sockaddr *)&sa, &len) == 0)
        printf("listening %u\n", ntohs(sa.sin6_port));
    fflush(stdout);
}

#endif
