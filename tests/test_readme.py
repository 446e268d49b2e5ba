"""The README's commands run, its links lead somewhere, and both languages have the same shape.

A shell block under the line `<!-- test -->` is run by bash in an empty folder.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import urllib.parse
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
READMES = [ROOT / "README.md", ROOT / "README.zh-CN.md"]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")), ROOT / "recipes" / "README.md"]
FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>```+)(?P<language>[^\n`]*)\n(?P<body>.*?)^ *(?P=ticks) *$", re.M | re.S)
TESTED = re.compile(r"^ *<!-- test -->\n+" + FENCE.pattern.removeprefix("^"), re.M | re.S)
LINK = re.compile(r"\]\(\s*<?([^)\s>]+)>?(?:\s+[\"'][^)]*)?\)|^ *\[[^\]]+\]:\s+(\S+)|\b(?:src|href)=\"([^\"]+)\"", re.M)
HEADING = re.compile(r"^(#{1,6}) +(.+?) *#*$", re.M)


def prose(page: Path) -> str:
    """The page without its code: neither blocks nor spans hold links or headings."""
    return re.sub(r"`[^`\n]+`", "`code`", FENCE.sub("", page.read_text(encoding="utf-8")))


def headings(page: Path) -> list[tuple[int, str]]:
    """(level, text) of each heading, in order."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    return [(len(marks), title) for marks, title in HEADING.findall(text)]


def anchors(page: Path) -> set[str]:
    """Names that `#name` may point at, as GitHub makes them of headings."""
    found: dict[str, int] = {}
    for _, title in headings(page):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).replace("`", "").lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        found[slug] = found.get(slug, 0) + 1
    return {f"{slug}-{i}" if i else slug for slug, count in found.items() for i in range(count)}


def broken_links(page: Path) -> list[str]:
    out = []
    for groups in LINK.findall(prose(page)):
        target = next(filter(None, groups))
        if re.match(r"[a-z][a-z0-9+.-]*:", target):
            continue  # an address of the outside world; tests do not need a network
        path, _, anchor = target.partition("#")
        place = (page.parent / urllib.parse.unquote(path)).resolve() if path else page
        inside = place.is_relative_to(ROOT)
        if not (inside and place.exists()) or (anchor and place.suffix == ".md" and anchor not in anchors(place)):
            out.append(target)
    return out


def marked_blocks() -> list[object]:
    if not READMES[0].is_file():
        return [pytest.param("", marks=pytest.mark.skip(reason="there is no README.md yet"))]
    text = READMES[0].read_text(encoding="utf-8")
    found = [
        pytest.param(match["body"], id=f"line {text[: match.start('body')].count(chr(10)) + 1}")
        for match in TESTED.finditer(text)
    ]
    return found or [pytest.param("", marks=pytest.mark.skip(reason="README.md has no block under <!-- test -->"))]


@pytest.mark.parametrize("script", marked_blocks())
def test_commands_of_the_readme_run(script: str, tmp_path: Path) -> None:
    bin = Path(sys.executable).parent
    environment = os.environ | {"PATH": f"{bin}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr


def test_every_marked_block_is_found() -> None:
    if not READMES[0].is_file():
        pytest.skip("there is no README.md yet")
    text = READMES[0].read_text(encoding="utf-8")
    assert text.count("<!-- test -->") == len(TESTED.findall(text))


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_and_images_lead_somewhere(page: Path) -> None:
    if not page.is_file():
        pytest.skip(f"there is no {page.name} yet")
    assert broken_links(page) == []


def test_both_readmes_have_the_same_shape() -> None:
    if not all(page.is_file() for page in READMES):
        pytest.skip("one of the READMEs is not there yet")
    english, chinese = ([level for level, _ in headings(page)] for page in READMES)
    assert english == chinese, "levels of headings, in order"


def test_the_checks_can_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text(
        "# One: `two`\n[a](page.md) [b](#one-two) [c](gone.md) ![d](img/x.png 'title') [e](#three)\n"
        '[f](https://example.org/) <img src="y.png"> [g](../../etc/passwd) `[h](code.md)`\n'
        "```sh\n# no heading\n[i](code.md)\n```\n[k]: z.md\n"
    )
    assert broken_links(page) == ["gone.md", "img/x.png", "#three", "y.png", "../../etc/passwd", "z.md"]
    assert headings(page) == [(1, "One: `two`")]
    assert [m["body"] for m in TESTED.finditer("<!-- test -->\n```sh\na\nb\n```\n```sh\nc\n```\n")] == ["a\nb\n"]
