"""Titles of works, in which a name is nobody's: between 《 and 》, or in quotation marks beside words on works."""

from __future__ import annotations

import functools
import re

TITLE = re.compile(r"《[^《》\n]{1,60}》|〈[^〈〉\n]{1,60}〉")
QUOTED = re.compile(
    r"\"[^\"\n]{2,60}\"|“[^”\n]{2,60}”|„[^“”\"\n]{2,60}[“”\"]|‘[^’\n]{2,60}’|(?<!\w)'[^'\n]{2,60}'(?!\w)|「[^」\n]{2,40}」|"
    r"『[^』\n]{2,40}』|»[^«»\n]{2,60}«|«[^«»\n]{2,60}»"
)
WORK = re.compile(
    r"\b(?:films?|movies?|books?|novels?|series|shows?|albums?|audio ?books?|biograph(?:y|ies)|memoirs?|documentar(?:y|ies)"
    r"|musicals?|songs?|soundtrack|episodes?|seasons?|blu-?rays?|dvds?|4k|catalogue?|subtitles?|stream(?:s|ed|ing)?|watch(?:ed"
    r"|ing)?|tickets?|chapters?|copy of|copies of|paperback|hardcover|kindle|e-?books?|trailer|minute \d+)\b|"
    r"\b(?:(?:hör|e-?)?b(?:uch|ücher)|filme?s?|roman[es]?|serien?|album|mediathek|lied(?:er)?|theater\w*|staffeln?|folgen?|"
    r"kino|untertitel|biografie|hörspiel|kapitel)\b|书|电影|电视剧|小说|专辑|歌曲|演唱会|纪录片|影片|话剧|漫画|绘本|动画",
    re.I,
)
"""Words that make what stands in quotation marks a work."""
NAMED = re.compile(
    r"\b(?:names?|label|engrav\w*|print\w*|monogram|sign(?:ed)?|says?|reads|addressed|called|account|steht|\w*gravieren|"
    r"etikett|soll|aufdruck|namens|heißt)\b|署名|刻|写|落款|名字|姓名|叫|签",
    re.I,
)
"""Words that make it somebody's name."""
END = re.compile(r"[.!?。！？\n](?:\s|\Z)")
NEAR = 40


@functools.lru_cache(maxsize=256)
def titles(text: str) -> tuple[tuple[int, int], ...]:
    """(start, end) of the titles of works in a text."""
    found = [m.span() for m in TITLE.finditer(text)]
    for m in QUOTED.finditer(text):
        before, behind = text[max(0, m.start() - NEAR) : m.start()], text[m.end() : m.end() + NEAR]
        before = before[max((e.end() for e in END.finditer(before)), default=0) :]
        behind = behind[: e.start()] if (e := END.search(behind)) else behind
        if WORK.search(f"{before} | {behind}") and not NAMED.search(before):
            found.append(m.span())
    return tuple(found)


def in_title(text: str, start: int, end: int) -> bool:
    return any(a < start and end < b for a, b in titles(text))
