"""Pages in another language than the workspace's lie beside them: report.html, report.zh.html."""

from __future__ import annotations

from pathlib import Path

SPOKEN = ("en", "zh")
"""Languages that pages are written in."""


def page_of(path: Path, language: str) -> Path:
    """The page's name in a language that is not the workspace's."""
    return path.with_name(f"{path.stem}.{language}{path.suffix}")
