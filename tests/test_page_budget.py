"""The built page is the one that web/ makes, and its first view stays small. Needs no node."""

from __future__ import annotations

import gzip
import hashlib
import re
from pathlib import Path

import pytest

from steersman.server.pages import STATIC

WEB = Path(__file__).parent.parent / "web"
MOST = 400_000
"""Bytes of the first view, gzipped; it had 108,000 when this was written. Mathematics comes when it
is needed."""
PARTS = ("index.html", "package-lock.json", "public", "sources.ts", "src", "vite.config.ts")
IMPORTED = re.compile(r'(?:\bfrom|\bimport)\s*"\./([^"]+)"')
"""Of a built script: what it imports as it begins, not what it imports when it is needed, `import("./x.js")`."""


def sources(web: Path) -> dict[str, str]:
    """Each source of the page with the beginning of its hash, as `web/sources.ts` writes them into the build."""
    files = [path for part in PARTS for path in ([web / part] if (web / part).is_file() else (web / part).rglob("*"))]
    names = {path.relative_to(web).as_posix(): path for path in files if path.is_file()}
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        for name, path in names.items()
        if not name.endswith(".test.ts") and not path.name.startswith(".")
    }


def first_view(static: Path) -> set[str]:
    """Files that a browser fetches before anything is shown."""
    found = set(re.findall(r'(?:src|href)="\./(assets/[^"]+)"', (static / "index.html").read_text(encoding="utf-8")))
    waiting = list(found)
    while waiting:
        name = waiting.pop()
        if name.endswith(".js"):
            new = {f"assets/{other}" for other in IMPORTED.findall((static / name).read_text(encoding="utf-8"))} - found
            found |= new
            waiting += new
    return found | {"index.html"}


@pytest.mark.skipif(not (STATIC / "index.html").is_file(), reason="the page is not built: make web")
def test_the_first_view_is_small() -> None:
    files = first_view(STATIC)
    assert any(name.endswith(".css") for name in files)
    assert sum(len(gzip.compress((STATIC / name).read_bytes())) for name in files) < MOST
    assert not [name for name in files if "katex" in name.lower()]


def test_the_page_is_built_from_what_is_in_web() -> None:
    listed = (STATIC / "sources.txt").read_text(encoding="utf-8").splitlines()
    built = {name: digest for digest, name in (line.split("  ", 1) for line in listed)}
    wanted = sources(WEB)
    other = sorted(name for name in built.keys() | wanted.keys() if built.get(name) != wanted.get(name))
    assert not other, f"built from others: {other[:9]}; expected the page of these sources: make web"
