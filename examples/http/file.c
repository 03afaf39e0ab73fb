/*
 * Files below the root, and nothing else
 */
#include "httpd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define BLOCK_SIZE 65536

/* ---- which file ---------------------------------------------------------- */

static int hex_digit(char ch)
{
    if (ch >= '0' && ch <= '9')
        return ch - '0';
    ch = (char)(ch | 0x20);
    return ch >= 'a' && ch <= 'f' ? ch - 'a' + 10 : -1;
}

/*
 * Undo the %XX of the path, in place. 0, or the status that it earned: an
 * escape that is none and a control character are 400. A slash may not come out
 * of an escape (404): "%2f" is a character of a name, and no name has it.
 */
static int path_decode(struct request *r)
{
    char *out = r->path;
    size_t n = r->path_len;

    for (size_t i = 0; i < n; i++) {
        char ch = r->path[i];

        if (ch == '%') {
            int high = i + 2 < n ? hex_digit(r->path[i + 1]) : -1;
            int low = high >= 0 ? hex_digit(r->path[i + 2]) : -1;

            if (low < 0)
                return 400;
            ch = (char)(16 * high + low);
            i += 2;
            if (ch == '/')
                return 404;
        }
        if ((unsigned char)ch < ' ' || ch == 0x7f)
            return 400;
        *out++ = ch;
    }
    *out = '\0';
    return 0;
}

/* No ".." among the components. The kernel would see to it that none leads
 * out; but nothing good asks for one. */
static bool path_goes_up(const char *path)
{
    while (*path != '\0') {
        size_t n = strcspn(path, "/");

        if (n == 2 && path[0] == '.' && path[1] == '.')
            return true;
        path += n;
        path += strspn(path, "/");
    }
    return false;
}

/*
 * First only a handle on the place, which tells what is there: to open a FIFO
 * would wake whoever wants to write to it, and to open a device may do
 * anything. Then the file; should something else have been put there in
 * between, O_NONBLOCK keeps us from waiting for it.
 */
static int file_open_at(const struct server *server, int dir, const char *path,
                        struct stat *st, bool cached, bool index)
{
    bool walk = server->options->walk;
    int place = sys_open_beneath(dir, path, O_PATH, cached, walk);
    int fd;

    if (place < 0)
        return place;
    fd = sys_fstat(place, st);
    if (fd == 0 && S_ISDIR(st->st_mode)) {
        fd = index
                 ? file_open_at(server, place, "index.html", st, cached, false)
                 : -EISDIR;
    } else if (fd == 0) {
        fd = S_ISREG(st->st_mode)
                 ? sys_open_beneath(dir, path, O_RDONLY | O_NONBLOCK | O_NOCTTY,
                                    cached, walk)
                 : -ENOENT;
        if (fd >= 0 && (sys_fstat(fd, st) != 0 || !S_ISREG(st->st_mode))) {
            sys_close(fd);
            fd = -ENOENT;
        }
    }
    sys_close(place);
    return fd;
}

int file_open(const struct server *server, const char *path, struct stat *st,
              bool cached)
{
    return file_open_at(server, server->root_fd, path, st, cached, true);
}

static int file_status(int error)
{
    switch (-error) {
    case ENOENT:
    case ENOTDIR:
    case EISDIR:
    case ELOOP:
    case EXDEV:
    case ENAMETOOLONG:
        return 404;
    case EACCES:
    case EPERM:
        return 403;
    case EAGAIN:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
        return 503;
    default:
        return 500;
    }
}

/* ---- sending it ---------------------------------------------------------- */

static const char *file_type(const char *path)
{
    static const char *const types[][2] = {
        { ".html", "text/html; charset=utf-8" },
        { ".css", "text/css; charset=utf-8" },
        { ".js", "text/javascript; charset=utf-8" },
        { ".json", "application/json" },
        { ".txt", "text/plain; charset=utf-8" },
        { ".md", "text/markdown; charset=utf-8" },
        { ".svg", "image/svg+xml" },
        { ".png", "image/png" },
        { ".jpg", "image/jpeg" },
        { ".gif", "image/gif" },
        { ".ico", "image/x-icon" },
        { ".webp", "image/webp" },
        { ".wasm", "application/wasm" },
        { ".pdf", "application/pdf" },
    };
    const char *name = strrchr(path, '/');
    const char *dot = strrchr(name != NULL ? name : path, '.');

    for (size_t i = 0; dot != NULL && i < sizeof(types) / sizeof(*types); i++)
        if (strcasecmp(dot, types[i][0]) == 0)
            return types[i][1];
    return "application/octet-stream";
}

/* Exactly `size` bytes, as promised: of a file that grows meanwhile no more,
 * and if it shrinks the connection breaks, since that is the one way left to
 * say so. */
static int file_send_blocks(struct conn *c, int fd, uint64_t size, char *block)
{
    while (size > 0) {
        size_t want = size < BLOCK_SIZE ? (size_t)size : BLOCK_SIZE;
        ssize_t got = port_read_file(fd, block, want);
        int broken;

        if (got <= 0)
            return got < 0 ? (int)got : -EIO;
        broken = out_body(c, block, (size_t)got);
        if (broken != 0)
            return broken;
        size -= (uint64_t)got;
    }
    return 0;
}

/* What fits behind its head is read there, and they leave in one write. */
static int file_send(struct conn *c, int fd, uint64_t size)
{
    char *block;
    int broken;

    if (size <= OUT_SIZE - c->out_len) {
        while (size > 0) {
            ssize_t got = port_read_file(fd, c->out + c->out_len, (size_t)size);

            if (got <= 0)
                return got < 0 ? (int)got : -EIO;
            c->out_len += (size_t)got;
            size -= (uint64_t)got;
        }
        return 0;
    }
    block = malloc(BLOCK_SIZE);
    if (block == NULL)
        return -ENOMEM;
    broken = file_send_blocks(c, fd, size, block);
    free(block);
    return broken;
}

int file_answer(struct conn *c)
{
    struct request *r = &c->request;
    int status = path_decode(r);
    const char *path = r->path + strspn(r->path, "/");
    struct stat st;
    int broken;
    int fd;

    if (status != 0)
        return answer_status(c, status);
    if (path_goes_up(path))
        return answer_status(c, 400);
    fd = port_open(c->server, *path != '\0' ? path : ".", &st);
    if (fd < 0)
        return answer_status(c, file_status(fd));
    /* The name of a directory has no type; its index.html has. */
    broken = out_head(c, 200,
                      file_type(*path != '\0' && path[strlen(path) - 1] != '/'
                                    ? path
                                    : "index.html"),
                      (uint64_t)st.st_size, "");
    if (broken == 0 && c->parser.method != HTTP_HEAD)
        broken = file_send(c, fd, (uint64_t)st.st_size);
    port_close(fd);
    return broken;
}
