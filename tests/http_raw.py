"""
Raw clients against the HTTP servers of examples/http. Run by http.sh.

    http_raw.py SERVER [NAME]...    all cases, or those whose name has NAME in it

Each case_ function of http_requests.py and http_clients.py gives a situation
and says what a client must see: an answer that is whole, or a closed
connection, and never silence. After each of them the server is alive and holds
as many descriptors as before.
"""

import resource
import shutil
import sys
import tempfile
import time
import traceback

# Nothing is left beside the sources.
sys.dont_write_bytecode = True

import http_clients
import http_requests
from http_wire import HELLO, Server, Skipped, get, make_root


def main():
    wanted = sys.argv[2:]
    passed = failed = skipped = 0
    top = tempfile.mkdtemp()
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(limit, 20000), limit))
    Server.program, Server.root = sys.argv[1], make_root(top)
    server = None
    cases = {**vars(http_requests), **vars(http_clients)}
    for name, case in cases.items():
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
