/*
 * A chat server: a line from one client goes to all others.
 *
 * A client is two fibers. Its reader takes lines from the socket and puts each
 * into the queue of every other client; its writer takes from the client's own
 * queue and writes. A queue holds 64 lines, and a reader never waits for one:
 * a line that finds a queue full is not for that client. So a slow client
 * loses lines, and hurts nobody.
 *
 * Usage: chat PORT
 */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <weft.h>

#include "port.h"

enum { LINE = 256, BACKLOG = 64 };

struct line {
    size_t n;
    char text[LINE];
};

struct client {
    int fd;
    weft_chan_t *lines;
    struct client *next;
};

static struct {
    weft_mutex_t mutex;
    struct client *first;
} room;

static void enter(struct client *c)
{
    weft_mutex_lock(&room.mutex);
    c->next = room.first;
    room.first = c;
    weft_mutex_unlock(&room.mutex);
}

static void leave(struct client *c)
{
    struct client **link = &room.first;

    weft_mutex_lock(&room.mutex);
    while (*link != c)
        link = &(*link)->next;
    *link = c->next;
    weft_mutex_unlock(&room.mutex);
}

static void broadcast(const struct client *from, const struct line *line)
{
    weft_mutex_lock(&room.mutex);
    for (struct client *c = room.first; c; c = c->next)
        if (c != from && weft_chan_send_try(c->lines, line) != 0)
            continue; /* its queue is full: it misses this one */
    weft_mutex_unlock(&room.mutex);
}

static void *writer(void *arg)
{
    struct client *c = arg;
    struct line line;

    while (weft_chan_recv(c->lines, &line) == 0)
        if (weft_write_full(c->fd, line.text, line.n, NULL) != 0)
            break;
    /* Whatever it was, the reader shall see it. */
    weft_shutdown(c->fd, SHUT_RD);
    return NULL;
}

/* Lines from a client, until it leaves. One that is too long is cut. */
static void reader(struct client *c)
{
    struct line line = { 0 };
    char buf[1024];
    ssize_t n;

    while ((n = weft_read(c->fd, buf, sizeof(buf))) > 0) {
        for (ssize_t i = 0; i < n; i++) {
            if (line.n < LINE - 1 || buf[i] == '\n')
                line.text[line.n++] = buf[i];
            if (buf[i] == '\n') {
                broadcast(c, &line);
                line.n = 0;
            }
        }
    }
}

static void serve(int fd, void *arg)
{
    struct client c = { .fd = fd };
    weft_fiber_t f;

    (void)arg;
    if (weft_chan_create(&c.lines, sizeof(struct line), BACKLOG) != 0)
        return;
    if (weft_spawn(&f, writer, &c) == 0) {
        enter(&c);
        reader(&c);
        leave(&c);
        weft_chan_close(c.lines);
        /* A peer that does not read could keep the writer for ever. */
        weft_cancel(f);
        weft_shield_begin();
        weft_join(f, NULL);
        weft_shield_end();
    }
    weft_chan_unref(c.lines);
}

static int entry(void *port)
{
    int fd = weft_tcp_listen(NULL, port, NULL);

    if (fd < 0)
        return fd;
    say_port(fd);
    return weft_serve(fd, serve, NULL, NULL);
}

int main(int argc, char **argv)
{
    int result = 0;
    int status = weft_run(NULL, entry, argc > 1 ? argv[1] : "7777", &result);

    if (status == 0)
        status = result;
    fprintf(stderr, "chat: %s\n", weft_strerror(status));
    return 1;
}
