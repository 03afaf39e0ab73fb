"""
What the cases of http_raw.py share: a server in a process of its own, a client
that sees bytes, requests, and the files that are served.
"""

import json
import os
import random
import signal
import socket
import stat
import subprocess
import time

# Longer than any of this takes: who waits for so long hangs.
HANG = 60 * float(os.environ.get("CK_TIMEOUT_MULTIPLIER", "1"))

HELLO = b"Hello, World!"


class Skipped(Exception):
    pass


# ---- the server -------------------------------------------------------------


class Server:
    program = None
    root = None  # the directory that it serves

    def __init__(self, *options):
        self.process = subprocess.Popen(
            [self.program, "-r", self.root, *options],
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

    def cpu(self):
        """Seconds of processor time that it has used."""
        with open("/proc/%d/stat" % self.process.pid) as f:
            fields = f.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

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
