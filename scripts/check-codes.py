#!/usr/bin/env python3
"""Run it after the tests, with the log of codes they wrote.

    CK_CODE_LOG=/tmp/codes ctest ...
    scripts/check-codes.py /tmp/codes include/weft

Each line of the log is "<name of the code> <text of the call>"; a count is
logged as 0. The public headers say what each function returns. Both must
agree: every code that is documented was produced by some test, and none was
seen that is not documented. Prints what is missing on either side and exits 1
if there is any.

How a comment is read: the label "Returns:" lists the codes; whatever else it
says (0, "how many ...") stands for success. "as weft_x()" brings x's codes
along, without those in "(not -E..., not -E...)". A comment without the label
speaks of another function by name: that one's codes may come, and those the
comment itself names must.
"""

import re
import sys
from pathlib import Path

LABELS = r"(?:Blocks|Returns|Memory):"
CODE = re.compile(r"-(E[A-Z0-9_]+)")


class Function:
    def __init__(self, where, name, comment):
        self.where, self.name = where, name
        text = " ".join(
            re.sub(r"^\s*/?\*+/?", "", line).strip()
            for line in comment.splitlines()
        )
        returns = re.search(rf"Returns:(.*?)(?:{LABELS}|\*/|$)", text)
        self.labelled = returns is not None
        self.text = returns.group(1) if returns else text
        self.heir_of = []  # (function, codes that do not come along)
        pattern = r"\bas (weft_\w+)\(\)((?: \(not [^)]*\))?)"
        if not self.labelled:
            pattern = r"\b(weft_\w+)\([^)]*\)()"
        for name, but in re.findall(pattern, self.text):
            if name != self.name:
                self.heir_of.append((name, set(CODE.findall(but))))
        own = re.sub(r"\(not [^)]*\)", "", self.text)
        self.codes = set(CODE.findall(own))
        if self.labelled and re.match(r"\s*-E", self.text):
            self.succeeds = bool(self.heir_of)
        else:
            self.succeeds = True


def functions(folder):
    """Every function of the headers that answers a code."""
    found = {}
    item = re.compile(
        r"(?P<comment>/\*(?:(?!\*/).)*\*/)?\s*"
        r"WEFT_API\s+(?:WEFT_MUST_CHECK\s+)?"
        r"(?P<type>[\w ]+?[\s*]+)(?P<name>weft_\w+)\(",
        re.S,
    )
    for path in sorted(Path(folder).glob("*.h")):
        source = path.read_text()
        for m in item.finditer(source):
            if m["type"].strip() not in ("int", "ssize_t"):
                continue
            line = source.count("\n", 0, m.start("name")) + 1
            found[m["name"]] = Function(
                f"{path}:{line}", m["name"], m["comment"] or ""
            )
    return found


def documented(f, all_of, asking=()):
    """Codes that may come, and those a test has to produce."""
    may, must = set(f.codes), set(f.codes)
    for name, but in f.heir_of:
        if name not in all_of or name in asking:
            continue
        its_may, its_must = documented(all_of[name], all_of,
                                       asking + (f.name,))
        may |= its_may - but
        if f.labelled:
            must |= its_must - but
    if f.succeeds:
        may.add("0")
        must.add("0")
    return may, must


def seen_codes(log):
    """function -> code -> a call that answered it"""
    seen = {}
    for line in Path(log).read_text(errors="replace").splitlines():
        code, _, call = line.partition(" ")
        m = re.match(r"\(*(weft_\w+)\(", call)
        if m:
            seen.setdefault(m[1], {}).setdefault(code, call)
    return seen


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    all_of = functions(sys.argv[2])
    seen = seen_codes(sys.argv[1])
    wrong = produced = 0
    for name in sorted(all_of):
        f = all_of[name]
        got = seen.pop(name, {})
        may, must = documented(f, all_of)
        produced += len(must & set(got))
        for code in sorted(must - set(got)):
            wrong += 1
            print(f"{f.where}: {name} never answered {code}"
                  " in any test")
        # "..." says that the list is the kernel's, and open.
        if "..." in f.text:
            continue
        for code in sorted(set(got) - may):
            wrong += 1
            print(f"{f.where}: {name} answered {code}, which is not"
                  f" documented: {got[code]}")
    if not all_of:
        wrong += 1
        print(f"{sys.argv[2]} documents no function")
    print(f"{len(all_of)} functions: {produced} documented codes produced, "
          f"{wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
