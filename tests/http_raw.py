"""
Raw clients against the HTTP servers of examples/http. Run by http.sh.

    http_raw.py SERVER [NAME]...    all cases, or those whose name has NAME in it

Each case_ function gives a situation and says what a client must see: an answer
that is whole, or a closed connection, and never silence. After each of them the
server is alive and holds as many descriptors as before.
"""

import json
import os
import random
import resource
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import time
import traceback
from email.utils import parsedate_to_datetime

# Longer than any of this takes: who waits for so long hangs.
HANG = 60 * float(os.environ.get("CK_TIMEOUT_MULTIPLIER", "1"))

SERVER = sys.argv[1]
HELLO = b"Hello, World!"


class Skipped(Exception):
    pass


# ---- the server -------------------------------------------------------------


class Server:
    def __init__(self, *options):
        self.process = subprocess.Popen(
            [SERVER, "-r", ROOT, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        line = self.process.stdout.readline().split()
        if line[:1] != [b"listening"]:
            self.process.kill()
            raise AssertionError(self.process.communicate()[1].decode())
        self.port = int(line[1])

    def connect(self, buffer=None):
        s = socket.socket()
        s.settimeout(HANG)
        if buffer is not None:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        s.connect(("127.0.0.1", self.port))
        return Client(s)

    def descriptors(self):
        return len(os.listdir("/proc/%d/fd" % self.process.pid))

    def steady(self):
        """How many descriptors it has once its start is over."""
        n, since = self.descriptors(), time.monotonic()
        while time.monotonic() < since + 0.1:
            if self.descriptors() != n:
                n, since = self.descriptors(), time.monotonic()
            time.sleep(0.01)
        return n

    def settles_at(self, descriptors):
        until(lambda: self.descriptors() <= descriptors,
              lambda: "%d descriptors, and there were %d" %
              (self.descriptors(), descriptors), HANG / 6)

    def ask(self, request, **how):
        """The answer to a request on a connection of its own."""
        with self.connect() as c:
            c.send(request)
            return c.answer(**how)

    def signal(self):
        self.process.send_signal(signal.SIGTERM)

    def end(self):
        """What it says at its end."""
        try:
            out, err = self.process.communicate(timeout=HANG)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError("the server did not stop")
        assert self.process.returncode == 0, (self.process.returncode, err)
        assert err == b"", err.decode()
        return json.loads(out)

    def stop(self):
        self.signal()
        return self.end()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()


# ---- a client ---------------------------------------------------------------


class Answer:
    def __init__(self, status, fields, body, interim):
        self.status = status
        self.fields = fields
        self.body = body
        self.interim = interim

    def __getitem__(self, name):
        return self.fields.get(name)


class Client:
    def __init__(self, s):
        self.socket = s
        self.buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.socket.close()

    def send(self, data):
        """What is sent to someone who has closed is lost; that is no error."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def finish(self):
        self.socket.shutdown(socket.SHUT_WR)

    def more(self):
        data = self.socket.recv(65536)
        self.buffer += data
        return data != b""

    def line(self):
        while b"\r\n" not in self.buffer:
            assert self.more(), "closed after %r" % self.buffer
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line

    def body(self, n):
        while len(self.buffer) < n:
            assert self.more(), "closed at %d of %d" % (len(self.buffer), n)
        body, self.buffer = self.buffer[:n], self.buffer[n:]
        return body

    def answer(self, head=False):
        interim = []
        while True:
            version, status, reason = self.line().split(b" ", 2)
            assert version == b"HTTP/1.1" and reason != b""
            fields = {}
            while True:
                line = self.line()
                if line == b"":
                    break
                name, value = line.split(b": ", 1)
                name = name.decode().lower()
                assert name not in fields, line
                fields[name] = value.decode()
            if int(status) >= 200:
                break
            interim.append(int(status))
        body = b"" if head else self.body(int(fields["content-length"]))
        return Answer(int(status), fields, body, interim)

    def is_closed(self):
        """Nothing more comes, by an end or by a reset."""
        try:
            assert not self.more(), "more came: %r" % self.buffer
        except ConnectionResetError:
            pass
        assert self.buffer == b"", self.buffer

    def is_silent(self):
        self.socket.settimeout(0.05)
        try:
            assert False, "came: %r" % self.socket.recv(100)
        except socket.timeout:
            pass
        self.socket.settimeout(HANG)


def until(condition, say, limit=HANG):
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end, say()
        time.sleep(0.01)


def is_status(answer, *expected):
    assert answer.status in expected, "%d instead of %s: %r" % (
        answer.status, expected, answer.body[:100])


def lines(*what, body=b""):
    return "".join(line + "\r\n" for line in what).encode("latin-1") + \
        b"\r\n" + body


def get(target, *fields, method="GET", version="HTTP/1.1"):
    return lines("%s %s %s" % (method, target, version), "Host: a", *fields)


def post(body, *fields):
    return lines("POST /echo HTTP/1.1", "Host: a",
                 "Content-Length: %d" % len(body), *fields, body=body)


def chunked(*chunks, last=b"0\r\n\r\n", fields=()):
    return lines("POST /echo HTTP/1.1", "Host: a",
                 "Transfer-Encoding: chunked", *fields,
                 body=b"".join(b"%x\r\n%s\r\n" % (len(c), c)
                               for c in chunks) + last)


# ---- the files --------------------------------------------------------------

BIG = bytes(random.Random(1).getrandbits(8) for _ in range(100000)) * 30
HUGE = 1 << 28


def make_root(top):
    root = os.path.join(top, "root")
    os.makedirs(os.path.join(root, "dir"))
    os.makedirs(os.path.join(root, "empty"))
    os.makedirs(os.path.join(top, "outside"))
    for name, data in {
        "root/index.html": b"<p>index</p>",
        "root/dir/index.html": b"<p>dir</p>",
        "root/dir/a b+c.txt": b"blank",
        "root/nothing.css": b"",
        "root/big.bin": BIG,
        "root/buffer.bin": BIG[:16384],
        "outside/secret": b"secret",
        "outside/index.html": b"secret",
        "root-secret": b"secret",
    }.items():
        with open(os.path.join(top, name), "wb") as f:
            f.write(data)
    # Larger than all buffers on its way, and no bytes on the disk.
    with open(os.path.join(root, "huge.bin"), "wb") as f:
        f.truncate(HUGE)
    os.symlink("dir/index.html", os.path.join(root, "inside"))
    os.symlink("../outside/secret", os.path.join(root, "relative"))
    os.symlink(os.path.join(top, "outside/secret"),
               os.path.join(root, "absolute"))
    os.symlink("../outside", os.path.join(root, "away"))
    os.symlink("loop", os.path.join(root, "loop"))
    os.mkfifo(os.path.join(root, "fifo"))
    s = socket.socket(socket.AF_UNIX)
    s.bind(os.path.join(root, "socket"))
    s.close()
    try:
        os.mknod(os.path.join(root, "zero"), stat.S_IFCHR | 0o666,
                 os.makedev(1, 5))
    except PermissionError:
        pass
    return root


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


# ---- one connection, many requests ------------------------------------------


def case_pipelined_in_order(server):
    bodies = [b"%d" % i * (i % 50) for i in range(300)]
    with server.connect() as c:
        c.send(b"".join(
            post(body) + get("/cpu?n=%d" % (i + 1)) + chunked(body, body)
            if body else get("/dir/") * 3 for i, body in enumerate(bodies)))
        for i, body in enumerate(bodies):
            if body:
                assert c.answer().body == body
                assert len(c.answer().body) == 17
                assert c.answer().body == body + body
            else:
                for _ in range(3):
                    assert c.answer().body == b"<p>dir</p>"
        c.is_silent()


# All requests are there before the first answer is read.
def case_pipelined_behind_a_large_file(server):
    with server.connect() as c:
        c.send(get("/big.bin") * 3 + get("/plaintext"))
        for _ in range(3):
            assert c.answer().body == BIG
        assert c.answer().body == HELLO


def case_nothing_after_a_bad_one(server):
    with server.connect() as c:
        c.send(get("/plaintext") + get("/", method="FOO") + get("/plaintext"))
        assert c.answer().body == HELLO
        answer = c.answer()
        is_status(answer, 501)
        assert answer["connection"] == "close"
        c.is_closed()


def case_what_is_not_there_leaves_the_connection(server):
    with server.connect() as c:
        for path, status in (("/none", 404), ("/fifo", 404), ("/../x", 400),
                             ("/echo", 405), ("/plaintext", 200)):
            c.send(get(path))
            is_status(c.answer(), status)
        c.is_silent()


def case_head(server):
    with server.connect() as c:
        for path in ("/plaintext", "/cpu?n=5", "/", "/big.bin", "/none"):
            c.send(get(path, method="HEAD") + get(path))
            head, whole = c.answer(head=True), c.answer()
            assert head.status == whole.status
            for name in ("content-length", "content-type"):
                assert head[name] == whole[name], (path, name)
        c.is_silent()


def case_keep_alive_or_not(server):
    old = "GET /plaintext HTTP/1.0"
    new = "GET /plaintext HTTP/1.1"
    for request, stays in (
            (lines(old), False),
            (lines(old, "Connection: close"), False),
            (lines(old, "Connection: keep-alive"), True),
            (lines(new, "Host: a"), True),
            (lines(new, "Host: a", "Connection: keep-alive"), True),
            (lines(new, "Host: a", "Connection: close"), False),
            (lines(new, "Host: a", "Connection: x, Close"), False)):
        with server.connect() as c:
            c.send(request)
            answer = c.answer()
            assert answer.body == HELLO
            if stays:
                assert answer["connection"] != "close"
                c.send(lines(old))
                assert c.answer().body == HELLO
            else:
                assert answer["connection"] == "close"
            c.is_closed()


def case_half_close(server):
    with server.connect() as c:
        c.send(get("/plaintext") + get("/big.bin"))
        c.finish()
        assert c.answer().body == HELLO
        assert c.answer().body == BIG
        c.is_closed()
    for part in (b"G", get("/")[:-1], post(b"abc")[:-1], chunked(b"a")[:-2]):
        with server.connect() as c:
            c.send(part)
            c.finish()
            is_status(c.answer(), 400)
            c.is_closed()
    with server.connect() as c:
        c.finish()
        c.is_closed()


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


# ---- time -------------------------------------------------------------------


def case_slow_clients(server):
    with Server("--idle", "0.5", "--total", "1.5") as s:
        before = s.steady()
        quiet, after, head, body, reader = (
            s.connect(buffer=4096) for _ in range(5))
        start = time.monotonic()
        head.send(get("/")[:-2])
        body.send(post(b"abc")[:-1])
        after.send(get("/plaintext"))
        reader.send(get("/huge.bin"))
        # Silent before a request, and behind one: closed without a word.
        quiet.is_closed()
        assert after.answer().body == HELLO
        after.is_closed()
        # In the middle of one.
        for c in (head, body):
            answer = c.answer()
            is_status(answer, 408)
            assert answer["connection"] == "close"
            c.is_closed()
        assert 0.4 < time.monotonic() - start < HANG
        # Never silent for long, and never done.
        drip = s.connect()
        drip.socket.settimeout(0.1)
        start = time.monotonic()
        drip.send(b"GET / HTTP/1.1\r\nX: ")
        while time.monotonic() < start + HANG:
            drip.send(b"x")
            try:
                if not drip.more():
                    break
                drip.socket.settimeout(HANG)
            except socket.timeout:
                pass
        is_status(drip.answer(), 408)
        assert time.monotonic() - start > 1.3
        # It takes nothing of its answer: it gets what was under way.
        try:
            while reader.more():
                pass
        except ConnectionResetError:
            pass
        assert 0 < len(reader.buffer) < HUGE
        for c in (quiet, after, head, body, drip, reader):
            c.socket.close()
        s.settles_at(before)
        s.stop()


# It takes some of its answer now and then: it is the total time that ends it.
def case_a_slow_reader_is_cut_by_the_total_time(server):
    with Server("--idle", "600", "--total", "1.5") as s:
        before = s.steady()
        start = time.monotonic()
        with s.connect(buffer=4096) as c:
            c.send(get("/huge.bin"))
            while s.descriptors() <= before:
                pass
            while s.descriptors() > before:
                assert time.monotonic() < start + HANG, "it is not cut"
                c.socket.recv(100)
                time.sleep(0.01)
            assert time.monotonic() - start > 1.3
        s.stop()


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
    path = os.path.join(ROOT, "closed")
    with open(path, "w"):
        os.chmod(path, 0)
    is_status(server.ask(get("/closed")), 403)
    os.unlink(path)


# Nobody who writes to the FIFO is woken by a request for it.
def case_a_fifo_is_not_opened(server):
    is_status(server.ask(get("/fifo")), 404)
    try:
        os.close(os.open(os.path.join(ROOT, "fifo"),
                         os.O_WRONLY | os.O_NONBLOCK))
        assert False, "someone reads the FIFO"
    except OSError:
        pass


# ---- those who go -----------------------------------------------------------


def reset(c):
    c.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                        struct.pack("ii", 1, 0))
    c.socket.close()


def case_clients_that_go(server):
    for request in (b"", b"GET", get("/big.bin"), get("/big.bin") * 20,
                    post(BIG[:1 << 20])[:-1], get("/cpu?n=1000000")):
        for leave in (reset, lambda c: c.socket.close()):
            for wait in (0, 0.01):
                c = server.connect(buffer=4096)
                c.send(request)
                time.sleep(wait)
                leave(c)


def case_noise(server):
    """Requests with errors of all kinds, each as likely as another."""
    rng = random.Random(7)
    corpus = list(GOOD.values()) + [r for _, r in BAD.values()] + [
        r for _, r in ASTRAY.values()] + [
        chunked(b"abc", b"de"), post(b"abc")]
    clients = []
    for _ in range(1500):
        data = bytearray(rng.choice(corpus))
        for _ in range(rng.randrange(4)):
            at = rng.randrange(len(data) + 1)
            what = rng.randrange(4)
            if what == 0:
                data[at:at + 1] = bytes([rng.randrange(256)])
            elif what == 1:
                del data[at:at + rng.randrange(9)]
            elif what == 2:
                data[at:at] = rng.choice((b"\r\n", b"\0", b"%", b"/", b":",
                                          b" ", b"\xff", b"9" * 30))
            else:
                other = rng.choice(corpus)
                data[at:] = other[rng.randrange(len(other)):]
        c = server.connect()
        c.send(bytes(data))
        c.finish()
        clients.append((c, bytes(data)))
        if len(clients) == 50:
            drain(clients)
    drain(clients)


# Each of them gets whole answers, and an end.
def drain(clients):
    for c, data in clients:
        head = data.lstrip(b"\r\n").startswith(b"HEAD")
        try:
            while c.buffer != b"" or c.more():
                c.answer(head=head)
        except ConnectionResetError:
            pass
        except AssertionError as e:
            raise AssertionError("%r: %s" % (data, e))
        c.socket.close()
    clients.clear()


# ---- the end ----------------------------------------------------------------


def case_it_counts(server):
    with Server() as s:
        for i in range(7):
            with s.connect() as c:
                c.send(get("/plaintext") * 3)
                for _ in range(3):
                    c.answer()
        report = s.stop()
        assert (report["requests"], report["connections"]) == (21, 7), report
        assert report["user_us"] + report["system_us"] > 0
        assert report["cut"] == 0


def case_stop_closes_who_is_idle(server):
    with Server("--grace", "1000", "--idle", "1000") as s:
        clients = [s.connect() for _ in range(100)]
        for c in clients[50:]:
            c.send(get("/plaintext"))
            assert c.answer().body == HELLO
        s.signal()
        for c in clients:
            c.is_closed()
            c.socket.close()
        report = s.end()
        assert (report["connections"], report["cut"]) == (100, 0)


# Each of a thousand clients has sent half of its request, or has not read its
# answer, when the server is told to stop: all are served to their end.
def case_stop_while_a_thousand_are_busy(server):
    body = b"x" * 20000
    request = post(body)
    n = 1000
    with Server("--grace", "1000", "--idle", "1000", "--total", "1000") as s:
        clients = [s.connect() for _ in range(n)]
        for i, c in enumerate(clients):
            if i % 20 == 3:
                c.send(get("/big.bin"))
            else:
                c.send(request[:len(request) * (i % 4 + 1) // 5])
        for c in clients[3::20]:
            c.more()
        time.sleep(0.2)
        s.signal()
        until(lambda: refused(s), lambda: "it still accepts")
        for i, c in enumerate(clients):
            if i % 20 != 3:
                c.send(request[len(request) * (i % 4 + 1) // 5:])
        for i, c in enumerate(clients):
            answer = c.answer()
            if i % 20 == 3:
                assert answer.body == BIG
            else:
                assert answer.body == body
                assert answer["connection"] == "close"
            c.is_closed()
            c.socket.close()
        report = s.end()
        assert (report["requests"], report["cut"]) == (n, 0), report


def refused(s):
    try:
        socket.create_connection(("127.0.0.1", s.port), HANG).close()
        return False
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:
        return False


def case_stop_cuts_who_does_not_finish(server):
    with Server("--grace", "0.3", "--idle", "1000", "--total", "1000") as s:
        half, reader, hog = (s.connect(buffer=4096) for _ in range(3))
        half.send(post(b"abc")[:-1])
        reader.send(get("/huge.bin"))
        assert reader.more()
        hog.send(get("/cpu?n=100000000") * 1000)
        time.sleep(0.2)
        s.signal()
        report = s.end()
        assert report["cut"] == 3, report
        half.is_closed()
        for c in (half, reader, hog):
            c.socket.close()


# ---- running them -----------------------------------------------------------


def main():
    global ROOT
    wanted = sys.argv[2:]
    passed = failed = skipped = 0
    top = tempfile.mkdtemp()
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(limit, 20000), limit))
    ROOT = make_root(top)
    server = None
    for name, case in list(globals().items()):
        # What is broken so badly may hang in every case.
        if failed == 3:
            print("    and so on")
            break
        if not name.startswith("case_") or \
                (wanted and not any(w in name for w in wanted)):
            continue
        start = time.monotonic()
        try:
            # A case that failed may have left it in any state.
            server = server or Server("--idle", "600", "--total", "600")
            before = server.steady()
            case(server)
            server.settles_at(before)
            assert server.ask(get("/plaintext")).body == HELLO
            server.settles_at(before)
            passed += 1
            result = "ok"
        except Skipped as e:
            skipped += 1
            result = "skipped: %s" % e
        except Exception:
            failed += 1
            result = "FAILED\n" + traceback.format_exc()
            if server is not None:
                server.process.kill()
                result += server.process.communicate()[1].decode()
            server = None
        print("    %-46s %5.1f s  %s" % (name[5:].replace("_", " "),
                                         time.monotonic() - start, result),
              flush=True)
    try:
        if server is not None:
            server.stop()
            passed += 1
    except AssertionError as e:
        failed += 1
        print("    at the end: %s" % e)
    shutil.rmtree(top)
    print("%d passed, %d failed, %d skipped" % (passed, failed, skipped))
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
