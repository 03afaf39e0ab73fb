"""
What clients do: many requests on a connection, slow ones, clients that go, and
some who are there when the server is stopped. Run by http_raw.py.
"""

import random
import signal
import socket
import struct
import time

from http_requests import ASTRAY, BAD, GOOD
from http_wire import (
    BIG, HANG, HELLO, HUGE, Server, chunked, get, is_status, lines, post,
    until)

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
        start = time.monotonic()
        drip = s.connect()
        drip.socket.settimeout(0.1)
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
    request = post(body, "Expect: 100-continue")
    n = 1000
    with Server("--grace", "1000", "--idle", "1000", "--total", "1000") as s:
        clients = [s.connect() for _ in range(n)]
        for i, c in enumerate(clients):
            if i % 20 == 3:
                c.send(get("/big.bin"))
            else:
                c.send(request[:len(request) * (i % 4 + 1) // 5])
        # It is at each: has begun to answer, or said that it goes on reading.
        for c in clients:
            assert c.more()
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


# Who does not want to wait for the grace period asks twice.
def case_a_second_signal_kills(server):
    with Server("--grace", "1000", "--idle", "1000", "--total", "1000") as s:
        half = s.connect()
        half.send(post(b"abc", "Expect: 100-continue")[:-3])
        assert half.more()
        s.signal()
        until(lambda: refused(s), lambda: "it still accepts")
        s.signal()
        s.process.wait(HANG)
        assert s.process.returncode == -signal.SIGTERM, s.process.returncode
        half.socket.close()


def case_stop_cuts_who_does_not_finish(server):
    with Server("--grace", "0.3", "--idle", "1000", "--total", "1000") as s:
        half, reader, hog = (s.connect(buffer=4096) for _ in range(3))
        half.send(post(b"abc", "Expect: 100-continue")[:-1])
        reader.send(get("/huge.bin"))
        assert half.more() and reader.more()
        half.buffer = b""  # 100 Continue
        before = s.cpu()
        hog.send(get("/cpu?n=100000000") * 1000)
        until(lambda: s.cpu() > before + 0.05, lambda: "it does not compute")
        s.signal()
        report = s.end()
        assert report["cut"] == 3, report
        half.is_closed()
        for c in (half, reader, hog):
            c.socket.close()
