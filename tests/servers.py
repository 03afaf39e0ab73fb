#!/usr/bin/env python3
"""Run by ctest (servers.sh): the small servers of examples/, from outside.

    servers.py BUILD_DIR

Each check starts its programs on a free port of the loopback, talks to them
with plain sockets, and stops them. Prints a line a check, and the sum.
"""

import contextlib
import hashlib
import http.server
import os
import re
import socket
import subprocess
import sys
import threading
import time

EXAMPLES = os.path.join(sys.argv[1], "examples")
SECONDS = 60


@contextlib.contextmanager
def server(workers, *command):
    """A program that prints `listening PORT`; stopped at the end."""
    env = dict(os.environ, WEFT_WORKERS=str(workers))
    process = subprocess.Popen(
        [os.path.join(EXAMPLES, command[0]), *map(str, command[1:])],
        stdout=subprocess.PIPE,
        env=env,
    )
    try:
        line = process.stdout.readline().decode()
        port = re.match(r"listening (\d+)", line)
        assert port, f"{command[0]} said {line!r}"
        yield int(port.group(1))
        assert process.poll() is None, f"{command[0]} has ended"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def connect(port):
    return socket.create_connection(("127.0.0.1", port), timeout=SECONDS)


def read_all(sock):
    parts = []
    while part := sock.recv(65536):
        parts.append(part)
    return b"".join(parts)


def send_from_thread(sock, data, after=None):
    def run():
        sock.sendall(data)
        if after is not None:
            sock.shutdown(after)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def stream(n):
    """n bytes that do not repeat soon."""
    out = bytearray()
    block = b"weft"
    while len(out) < n:
        block = hashlib.sha256(block).digest()
        out += block
    return bytes(out[:n])


def echoed(port, data):
    with connect(port) as sock:
        thread = send_from_thread(sock, data, socket.SHUT_WR)
        got = read_all(sock)
        thread.join()
    assert got == data, f"{len(got)} bytes came back of {len(data)}"


def check_echo_gives_back_what_it_gets(workers):
    with server(workers, "echo", 0) as port:
        echoed(port, b"x")
        echoed(port, stream(3_000_000))
        threads = [
            threading.Thread(target=echoed, args=(port, stream(50_000 + i)))
            for i in range(40)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def check_proxy_passes_both_directions_at_once(workers):
    with server(workers, "echo", 0) as target:
        with server(workers, "proxy", 0, "127.0.0.1", target) as port:
            echoed(port, b"x")
            echoed(port, stream(3_000_000))


def check_proxy_passes_a_half_close_on(workers):
    """The client ends its direction first, and still gets an answer."""
    listener = socket.create_server(("127.0.0.1", 0))
    target = listener.getsockname()[1]
    with listener, server(workers, "proxy", 0, "localhost", target) as port:
        with connect(port) as client:
            client.sendall(b"question")
            client.shutdown(socket.SHUT_WR)
            peer, _ = listener.accept()
            with peer:
                peer.settimeout(SECONDS)
                assert read_all(peer) == b"question"
                peer.sendall(b"answer")
            assert read_all(client) == b"answer"


def check_proxy_without_a_target_closes(workers):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        nobody = listener.getsockname()[1]
    with server(workers, "proxy", 0, "127.0.0.1", nobody) as port:
        for _ in range(3):
            with connect(port) as client:
                try:
                    assert read_all(client) == b""
                except ConnectionResetError:
                    pass


def lines_of(sock, n):
    got = b""
    while got.count(b"\n") < n:
        part = sock.recv(65536)
        assert part, f"the server has left after {got!r}"
        got += part
    return got.split(b"\n")[:-1]


def heard_to_the_end(sock, ends):
    """Reads until each of these lines has come; nothing is behind them."""
    ends = set(ends)
    got = b""
    sock.settimeout(SECONDS)
    while ends or not got.endswith(b"\n"):
        part = sock.recv(65536)
        assert part, "hung up"
        got += part
        ends -= set(got.split(b"\n"))


def check_chat_tells_all_others(workers):
    with server(workers, "chat", 0) as port, contextlib.ExitStack() as stack:
        clients = []
        for _ in range(5):
            clients.append(stack.enter_context(connect(port)))
        # Everyone is in when everyone has heard of everyone.
        for speaker in clients:
            word = b"word of %d\n" % clients.index(speaker)
            waiting = [c for c in clients if c is not speaker]
            while waiting:
                speaker.sendall(word)
                waiting[0].settimeout(0.2)
                with contextlib.suppress(TimeoutError):
                    if word in waiting[0].recv(65536):
                        waiting.pop(0)
                        continue
        # What each said before has come when its last line has.
        for speaker in clients:
            speaker.sendall(b"end of %d\n" % clients.index(speaker))
        for c in clients[1:]:
            others = [i for i, o in enumerate(clients) if o is not c]
            heard_to_the_end(c, [b"end of %d" % i for i in others])
        clients[0].close()
        clients[1].sendall(b"one\ntwo\n")
        for c in clients[2:]:
            assert lines_of(c, 2) == [b"one", b"two"]


def check_chat_slow_client_hurts_nobody(workers):
    """One never reads; the others hear every line meanwhile."""
    with server(workers, "chat", 0) as port:
        slow = connect(port)
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with slow, connect(port) as speaker, connect(port) as listener:
            heard = b""
            listener.settimeout(0.2)
            while b"ready" not in heard:
                speaker.sendall(b"ready\n")
                with contextlib.suppress(TimeoutError):
                    heard = listener.recv(65536)
            speaker.sendall(b"end\n")
            if not heard.endswith(b"end\n"):
                heard_to_the_end(listener, [b"end"])
            listener.settimeout(SECONDS)
            # More than the slow one's queue, socket and kernel can hold; a
            # listener that keeps up loses none.
            for i in range(20_000):
                line = b"%06d %s" % (i, b"." * 200)
                speaker.sendall(line + b"\n")
                if i % 20 == 19:
                    last = lines_of(listener, 20)[-1]
                    assert last == line, (last, line)


class Pages(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    lock = threading.Lock()
    now = most = 0

    def do_GET(self):
        cls = type(self)
        with cls.lock:
            cls.now += 1
            cls.most = max(cls.most, cls.now)
        time.sleep(0.02)
        size = re.fullmatch(r"/(\d+)", self.path)
        body = stream(int(size.group(1))) if size else b"none"
        self.send_response(200 if size else 404)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        # Before the answer is out: who has it may ask for the next one.
        with cls.lock:
            cls.now -= 1
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


def check_download_is_bounded_and_in_order(workers):
    pages = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    Pages.most = 0
    thread = threading.Thread(target=pages.serve_forever)
    thread.start()
    try:
        sizes = [i * i * 37 % 90_001 for i in range(60)]
        done = subprocess.run(
            [
                os.path.join(EXAMPLES, "download"),
                "4",
                "127.0.0.1",
                str(pages.server_port),
                *[f"/{n}" for n in sizes],
                "/nothing",
            ],
            env=dict(os.environ, WEFT_WORKERS=str(workers)),
            stdout=subprocess.PIPE,
            timeout=SECONDS,
        )
    finally:
        pages.shutdown()
        thread.join()
        pages.server_close()
    expected = [f"/{n} 200 {n}" for n in sizes] + ["/nothing 404 4"]
    assert done.stdout.decode().splitlines() == expected, done.stdout
    assert done.returncode == 1
    assert 1 < Pages.most <= 4, f"{Pages.most} at once"


def check_download_of_nobody_says_so(workers):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        nobody = listener.getsockname()[1]
    done = subprocess.run(
        [os.path.join(EXAMPLES, "download"), "2", "127.0.0.1", str(nobody)]
        + ["/a", "/b"],
        env=dict(os.environ, WEFT_WORKERS=str(workers)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        timeout=SECONDS,
    )
    assert done.stdout == b"/a ECONNREFUSED\n/b ECONNREFUSED\n", done.stdout
    assert done.returncode == 1


def check_download_of_half_a_page_says_so(workers):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def die_half_way():
            with listener.accept()[0] as peer:
                peer.recv(4096)
                peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")

        thread = threading.Thread(target=die_half_way)
        thread.start()
        done = subprocess.run(
            [
                os.path.join(EXAMPLES, "download"),
                "1",
                "127.0.0.1",
                str(listener.getsockname()[1]),
                "/half",
            ],
            env=dict(os.environ, WEFT_WORKERS=str(workers)),
            stdout=subprocess.PIPE,
            timeout=SECONDS,
        )
        thread.join()
    assert done.stdout == b"/half EPIPE\n", done.stdout
    assert done.returncode == 1


# More than fits where the request is put together.
def check_download_of_a_long_path_says_so(workers):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        path = "/" + "a" * 60_000
        done = subprocess.run(
            [
                os.path.join(EXAMPLES, "download"),
                "1",
                "127.0.0.1",
                str(listener.getsockname()[1]),
                path,
            ],
            env=dict(os.environ, WEFT_WORKERS=str(workers)),
            stdout=subprocess.PIPE,
            timeout=SECONDS,
        )
    assert done.stdout.decode() == f"{path} EMSGSIZE\n", done.stdout[-50:]
    assert done.returncode == 1


def main():
    checks = [
        (name[6:].replace("_", " "), fn)
        for name, fn in globals().items()
        if name.startswith("check_")
    ]
    passed = failed = 0
    for name, fn in checks:
        for workers in (1, 2, 4):
            try:
                fn(workers)
                passed += 1
                print(f"ok      {name}, {workers} workers", flush=True)
            except Exception as error:  # a check that dies has failed
                failed += 1
                print(f"FAILED  {name}, {workers} workers: {error!r}",
                      flush=True)
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


sys.exit(main())
