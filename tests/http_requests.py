"""
What a client may ask, and what it earns: by the request's lines, its body, its
size, and the file it names. Run by http_raw.py.
"""

import os
import time
from email.utils import parsedate_to_datetime

from http_wire import (
    BIG, HELLO, Server, Skipped, chunked, get, is_status, lines, post)

# ---- requests and what they earn --------------------------------------------

# Each is one request on a connection of its own, whole.
GOOD = {
    "plain": get("/plaintext"),
    "with everything": get("/plaintext?q=1", "Accept: */*", "X:", "Y:  z  ",
                           "Cookie: " + "a" * 1000),
    "an empty Host": lines("GET /plaintext HTTP/1.1", "Host:"),
    "a Host with a port": lines("GET /plaintext HTTP/1.1", "Host: [::1]:80"),
    "a proxy's form": get("http://a.b:80/plaintext"),
    "HTTP/1.0": lines("GET /plaintext HTTP/1.0"),
    "a body no one wants": get("/plaintext", "Content-Length: 3") + b"abc",
    "an offer to upgrade": get("/plaintext", "Connection: Upgrade",
                               "Upgrade: h2c"),
    "an empty line before": b"\r\n" + get("/plaintext"),
}

BAD = {
    # by its first line
    "no HTTP": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    "only spaces": (400, b"   \r\n\r\n"),
    "an unknown method": (501, get("/", method="FOO")),
    "half a method": (501, get("/", method="GE")),
    "a method in small letters": (501, get("/", method="get")),
    "a method with NUL": (400, get("/", method="GE\0T")),
    "DELETE": (405, get("/", method="DELETE")),
    "OPTIONS *": (405, get("*", method="OPTIONS")),
    "GET *": (400, get("*")),
    "CONNECT": (405, lines("CONNECT a:80 HTTP/1.1", "Host: a:80")),
    "POST of a file": (405, get("/", "Content-Length: 0", method="POST")),
    "POST of a file with a body": (
        405, get("/", "Content-Length: 5", method="POST") + b"12345"),
    "GET of echo": (405, get("/echo")),
    "HTTP/2.0": (505, get("/", version="HTTP/2.0")),
    "HTTP/1.7": (505, get("/", version="HTTP/1.7")),
    "HTTP/0.9": (505, get("/", version="HTTP/0.9")),
    "HTTP/9.1": (505, get("/", version="HTTP/9.1")),
    "HTTP/x.1": (400, get("/", version="HTTP/x.1")),
    "HTTP/1": (400, get("/", version="HTTP/1")),
    "another protocol": (400, get("/", version="FTP/1.1")),
    "a request of HTTP/2": (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "no version": (505, b"GET /\r\n\r\n"),
    "no path": (400, get("plaintext")),
    "an empty target": (400, b"GET  HTTP/1.1\r\nHost: a\r\n\r\n"),
    "another scheme": (400, get("ftp://a/plaintext")),
    "a blank in the target": (400, get("/a b")),
    # by what it says of the host
    "no Host": (400, lines("GET / HTTP/1.1")),
    "two Hosts": (400, get("/", "Host: a")),
    "a Host with a blank": (400, lines("GET / HTTP/1.1", "Host: a b")),
    "a Host with a slash": (400, lines("GET / HTTP/1.1", "Host: a/b")),
    "a Host without end": (400, lines("GET / HTTP/1.1", "Host: " + "a" * 999)),
    # by its other lines
    "a blank before a colon": (400, get("/", "X : y")),
    "a line that goes on": (400, b"GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
    "a line without a colon": (400, get("/", "nonsense")),
    "NUL in a line": (400, get("/", "X: a\0b")),
    "CR in a line": (400, get("/", "X: a\rb")),
    # by its body
    "a length below zero": (400, get("/echo", "Content-Length: -1",
                                     method="POST")),
    "a length with a sign": (400, get("/echo", "Content-Length: +1",
                                      method="POST")),
    "a length that is none": (400, get("/echo", "Content-Length: five",
                                       method="POST")),
    "a length beyond 2^64": (400, get("/echo", "Content-Length: 1" + "0" * 20,
                                      method="POST")),
    "two lengths": (400, post(b"abc", "Content-Length: 4")),
    "a length and chunks": (400, chunked(fields=["Content-Length: 5"])),
    "another coding": (400, get("/echo", "Transfer-Encoding: gzip",
                                method="POST")),
    "a coding after chunked": (400, get(
        "/echo", "Transfer-Encoding: chunked, identity", method="POST")),
    "a chunk's size that is none": (400, chunked(last=b"xyz\r\n")),
    "a chunk's size below zero": (400, chunked(last=b"-1\r\n")),
    "a chunk longer than it says": (400, chunked(last=b"2\r\nabc\r\n")),
    "a chunk's size beyond 2^64": (400, chunked(last=b"1" + b"0" * 20)),
    "a chunk beyond the limit": (413, chunked(last=b"10000000\r\n")),
    "a body beyond the limit": (413, get(
        "/echo", "Content-Length: 2000000", method="POST")),
    "another expectation": (417, post(b"abc", "Expect: coffee")),
}

# The same, by the path that they ask for.
ASTRAY = {
    "up": (400, get("/../root-secret")),
    "up from below": (400, get("/dir/../../outside/secret")),
    "up and in again": (400, get("/dir/../index.html")),
    "up at the end": (400, get("/dir/..")),
    "up, escaped": (400, get("/%2e%2e/outside/secret")),
    "up, half escaped": (400, get("/.%2E/outside/secret")),
    "up, slash escaped": (404, get("/..%2foutside%2fsecret")),
    "up, escaped twice": (404, get("/%252e%252e/outside/secret")),
    "up, backslash": (404, get("/..\\outside\\secret")),
    "up, behind many slashes": (400, get("//..//outside/secret")),
    "absolute behind a slash": (404, get("//etc/passwd")),
    "NUL": (400, get("/index.html\0")),
    "NUL, escaped": (400, get("/index.html%00.txt")),
    "CR LF": (505, get("/a\r\nX-Injected: 1")),
    "CR LF, escaped": (400, get("/a%0d%0aX-Injected:%201")),
    "half an escape": (400, get("/a%")),
    "an escape that is none": (400, get("/%zz")),
    "a byte above ASCII": (400, get("/\xff")),
    "a FIFO": (404, get("/fifo")),
    "a socket": (404, get("/socket")),
    "a device": (404, get("/zero")),
    "a link out": (404, get("/relative")),
    "an absolute link out": (404, get("/absolute")),
    "below a link out": (404, get("/away/secret")),
    "the index of a link out": (404, get("/away/")),
    "a link to itself": (404, get("/loop")),
    "nothing": (404, get("/none")),
    "below a file": (404, get("/index.html/x")),
    "a file as a directory": (404, get("/index.html/")),
    "a directory without an index": (404, get("/empty/")),
    "a name too long": (404, get("/" + "a" * 300)),
    "steps that are none": (400, get("/cpu?n=x")),
    "too many steps": (400, get("/cpu?n=99999999999999999999")),
}


def case_good_requests(server):
    for name, request in GOOD.items():
        answer = server.ask(request)
        assert (answer.status, answer.body) == (200, HELLO), name


# What stands between reads it so, and lets pass or keeps away accordingly.
def case_a_proxys_form_without_a_path_is_the_root(server):
    root = server.ask(get("/"))
    for target in ("http://a", "http://a.b:80", "HTTP://a?x=/plaintext",
                   "http://a/?x=/plaintext"):
        answer = server.ask(get(target))
        assert (answer.status, answer.body) == (root.status, root.body), target


def case_bad_requests_earn_their_status(server):
    for name, (status, request) in {**BAD, **ASTRAY}.items():
        answer = server.ask(request)
        assert answer.status == status, "%s: %d instead of %d" % (
            name, answer.status, status)
        assert (answer["allow"] is not None) == (status == 405), name
        assert b"secret" not in answer.body, name


def case_without_openat2_the_same(server):
    with Server("--walk") as walking:
        for name, (status, request) in ASTRAY.items():
            answer = walking.ask(request)
            assert answer.status == status, name
        for path in ("/", "/dir", "/dir/", "/dir//index.html", "/./dir/.",
                     "/dir/a%20b+c.txt", "/nothing.css"):
            assert walking.ask(get(path)).body == server.ask(get(path)).body
        is_status(walking.ask(get("/inside")), 404)
        walking.stop()


# The parser's input ends at each byte once; nobody can tell from the answer.
def case_split_at_every_byte(server):
    requests = [(200, r) for r in GOOD.values()] + list(BAD.values()) + [
        (200, chunked(b"abc", b"defgh")),
        (200, post(b"abcdef", "Expect: 100-continue")),
    ]
    for status, request in requests:
        if len(request) > 500:
            continue
        clients = [server.connect() for _ in range(1, len(request))]
        for i, c in enumerate(clients, 1):
            c.send(request[:i])
        time.sleep(0.02)
        for i, c in enumerate(clients, 1):
            c.send(request[i:])
        for i, c in enumerate(clients, 1):
            answer = c.answer()
            assert answer.status == status, "%d, not %d: %r + %r" % (
                answer.status, status, request[:i], request[i:])
            c.socket.close()


def case_one_byte_at_a_time(server):
    requests = [(200, r) for r in GOOD.values()] + list(BAD.values()) + [
        (200, chunked(b"abc", b"defgh", last=b"0;x=y\r\nTrailer: z\r\n\r\n")),
    ]
    requests = [r for r in requests if len(r[1]) <= 500]
    clients = [server.connect() for _ in requests]
    for i in range(max(len(r) for _, r in requests)):
        for (_, request), c in zip(requests, clients):
            c.send(request[i:i + 1])
        time.sleep(0.0005)
    for (status, request), c in zip(requests, clients):
        answer = c.answer()
        assert answer.status == status, "%d, not %d: %r" % (
            answer.status, status, request)
        c.socket.close()


# ---- bodies -----------------------------------------------------------------


def case_bodies_come_back(server):
    for body in (b"", b"x", BIG[:16384], BIG[:1 << 20], b"\0\r\n\r\n" * 99):
        answer = server.ask(post(body))
        assert (answer.status, answer.body) == (200, body)
        answer = server.ask(chunked(body) if body else chunked())
        assert (answer.status, answer.body) == (200, body)
    # One byte a chunk; extensions; a trailer.
    answer = server.ask(chunked(*[b"z"] * 5000))
    assert answer.body == b"z" * 5000
    answer = server.ask(chunked(b"abc", last=b"3;a=\"b\"\r\ndef\r\n0\r\n"
                                             b"Host: x\r\nExpect: y\r\n\r\n"))
    assert (answer.status, answer.body) == (200, b"abcdef")


def case_expect_100_continue(server):
    with server.connect() as c:
        # The body is sent only when the server has asked for it.
        request = post(b"abc", "Expect: 100-Continue")
        c.send(request[:-3])
        assert c.line() == b"HTTP/1.1 100 Continue" and c.line() == b""
        c.is_silent()
        c.send(request[-3:])
        assert c.answer().body == b"abc"
        # It need not ask for what is already there.
        c.send(request)
        assert c.answer().body == b"abc"
        # And not where there is none.
        c.send(get("/plaintext", "Expect: 100-continue"))
        answer = c.answer()
        assert (answer.body, answer.interim) == (HELLO, [])
    for status, request in (
            (413, get("/echo", "Content-Length: 2000000",
                      "Expect: 100-continue", method="POST")),
            (405, get("/", "Content-Length: 20", "Expect: 100-continue",
                      method="POST"))):
        answer = server.ask(request)
        assert (answer.status, answer.interim) == (status, [])
    with server.connect() as c:
        c.send(lines("POST /echo HTTP/1.0", "Content-Length: 1",
                     "Expect: 100-continue"))
        c.is_silent()
        c.send(b"x")
        answer = c.answer()
        assert (answer.body, answer.interim) == (b"x", [])


# ---- limits -----------------------------------------------------------------


def case_limits_to_the_byte(server):
    with Server("--header", "600", "--headers", "10", "--uri", "200",
                "--body", "1000") as s:
        def sized(n):
            request = get("/plaintext", "X: ")
            return request[:-4] + b"x" * (n - len(request)) + b"\r\n\r\n"

        for allowed, refused, status in (
                (get("/" + "?" * 199), get("/" + "?" * 200), 414),
                (sized(600), sized(601), 431),
                (get("/", *["X: y"] * 9), get("/", *["X: y"] * 10), 431),
                (post(b"b" * 1000), post(b"b" * 1001), 413),
                (chunked(b"b" * 500, b"b" * 500),
                 chunked(b"b" * 500, b"b" * 501), 413),
                (chunked(b"b", last=b"0\r\n" + b"X: y\r\n" * 8 + b"\r\n"),
                 chunked(b"b", last=b"0\r\n" + b"X: y\r\n" * 9 + b"\r\n"),
                 431)):
            is_status(s.ask(allowed), 200)
            is_status(s.ask(refused), status)
            # Two that are just allowed do not add up to one that is not.
            with s.connect() as c:
                c.send(allowed * 2)
                is_status(c.answer(), 200)
                is_status(c.answer(), 200)
        s.stop()


def case_a_header_of_a_mebibyte(server):
    is_status(server.ask(get("/", "X: " + "x" * (1 << 20))), 431)
    is_status(server.ask(get("/", "x" * (1 << 20) + ": y")), 431)
    is_status(server.ask(get("/" + "x" * (1 << 20))), 414)
    is_status(server.ask(b"\r\n" * (1 << 19)), 400, 431)


def case_ten_thousand_headers(server):
    is_status(server.ask(get("/", *["X: y"] * 10000)), 431)
    is_status(server.ask(get("/", *["X:"] * 10000)), 431)
    is_status(server.ask(chunked(last=b"0\r\n" + b"X: y\r\n" * 10000)), 431)


def case_endless_framing(server):
    is_status(server.ask(chunked(last=b"1;" + b"x" * (1 << 20))), 431)
    with server.connect() as c:
        c.send(chunked(last=b"")[:-2] + b"\r\n")
        for _ in range(100):
            c.send(b"1;" + b"x" * 1000 + b"\r\nb\r\n")
        is_status(c.answer(), 431)
        c.is_closed()


def case_a_body_too_large_is_answered(server):
    """The client sends it all the same, and meets an end and no reset: that
    may overtake the answer."""
    body = BIG[:1200000]
    with server.connect() as c:
        c.socket.sendall(lines("POST /echo HTTP/1.1", "Host: a",
                               "Content-Length: %d" % len(body), body=body))
        is_status(c.answer(), 413)
        assert not c.more()
    is_status(server.ask(chunked(BIG)), 413)
    is_status(server.ask(chunked(*[BIG[:10000]] * 200)), 413)


def case_connections_are_limited(server):
    with Server("-c", "4") as s:
        clients = [s.connect() for _ in range(6)]
        for c in clients:
            c.send(get("/plaintext"))
        for c in clients[:4]:
            assert c.answer().body == HELLO
        for c in clients[4:]:
            c.is_silent()
        for c in clients[:2]:
            c.socket.close()
        for c in clients[4:]:
            assert c.answer().body == HELLO
            c.socket.close()
        for c in clients[2:4]:
            c.socket.close()
        assert s.stop()["connections"] == 6


# ---- files ------------------------------------------------------------------


def case_files(server):
    for path, body, kind in (
            ("/", b"<p>index</p>", "text/html; charset=utf-8"),
            ("/index.html?x#y", b"<p>index</p>", "text/html; charset=utf-8"),
            ("/dir/", b"<p>dir</p>", "text/html; charset=utf-8"),
            ("/dir//index.html", b"<p>dir</p>", "text/html; charset=utf-8"),
            ("/inside", b"<p>dir</p>", "application/octet-stream"),
            ("/dir/a%20b+c.txt", b"blank", "text/plain; charset=utf-8"),
            ("/nothing.css", b"", "text/css; charset=utf-8"),
            ("/buffer.bin", BIG[:16384], "application/octet-stream"),
            ("/big.bin", BIG, "application/octet-stream")):
        answer = server.ask(get(path))
        is_status(answer, 200)
        assert answer.body == body, path
        assert answer["content-type"] == kind, (path, answer["content-type"])
    date = parsedate_to_datetime(answer["date"]).timestamp()
    assert abs(time.time() - date) < 30


def case_a_file_that_may_not_be_read(server):
    if os.geteuid() == 0:
        raise Skipped("root may read everything")
    path = os.path.join(server.root, "closed")
    with open(path, "w"):
        os.chmod(path, 0)
    is_status(server.ask(get("/closed")), 403)
    os.unlink(path)


# Nobody who writes to the FIFO is woken by a request for it.
def case_a_fifo_is_not_opened(server):
    is_status(server.ask(get("/fifo")), 404)
    try:
        os.close(os.open(os.path.join(server.root, "fifo"),
                         os.O_WRONLY | os.O_NONBLOCK))
        assert False, "someone reads the FIFO"
    except OSError:
        pass
