"""Names of people known by what stands beside them: what somebody is to the writer, initials, short Chinese titles."""

from __future__ import annotations

import re
from collections.abc import Iterator

import rjieba

from steersman.data.pii.finding import CUED, FORMED, HAN, LIKELY, Span
from steersman.data.pii.persons import (
    NAME,
    NO_LAST,
    PART,
    ZH_NAME,
    ZH_OFTEN,
    ZH_SINGLE,
    cut,
    first_names,
    last_names,
    like_name,
    perhaps,
)

WORKS = re.compile(
    r"\b(?:(?i:driver|courier|technician|receptionist|plumber|mechanic|nurse|colleague|neighbou?r)|Monteur(?:in)?|Techniker(?:in)?|"
    rf"Fahrer(?:in)?|Kurier|Mitarbeiter(?:in)?|Berater(?:in)?|Postbote|Verkäufer(?:in)?|Hausmeister)\s(?!(?:Update|Software|Version|Windows)\b)(?P<name>{NAME})"
)
"""Somebody's work, and who does it."""
UNDER = re.compile(rf"\b(?i:reservation|booking|table|appointment|room)s?(?i: is| was)?\s(?i:under)\s(?P<name>{NAME})")
PLACE = r"U\.[SK]\.|[NSEW]\.\s?(?:Korea|Carolina|Dakota|America|Africa|Virginia)\b|E\.\s?[Cc]oli\b"
"""Initials of what is nobody: "U.S. Army", "S. Korea"."""
INITIAL = re.compile(
    rf"(?<![A-Za-zÄÖÜäöüß.])(?!{PLACE})(?P<name>[A-Z]\.\s?(?:[A-Z]\.\s?)?{PART})(?!\s?(?:GmbH|AG|KG|Ltd|Inc|&))"
)
OPTION = re.compile(r"(?<![A-Za-z.])([A-E])\.\s")
"""What begins an answer of a choice."""
NOBLE = re.compile(rf"(?P<name>{PART}\sv\.\s?(?:d\.\s?)?{PART})")
OFTEN = "".join(sorted(ZH_OFTEN))
ZH_FAMILY = re.compile(rf"(?<![百贵同复])姓(?P<name>[{ZH_SINGLE}])(?=[，,。；;！!、\s的]|\Z)")
ZH_SHORT = re.compile(
    rf"(?:(?<=[请让找叫给问和跟烦是由])|(?<![{HAN}]))(?P<name>[{OFTEN}])"
    r"(?:工(?![程作具资厂艺商会业人地])|总(?![是共数计部裁之价额体结量的会有])|[哥姐](?![哥姐])|爷爷|奶奶|师傅)"
)
ZH_KIN = re.compile(rf"(?:我先生|我太太|同事|朋友|同学|室友|邻居|老公|老婆|爱人|女儿|儿子|领导)(?P<name>{ZH_NAME})")
ZH_LATIN = re.compile(r"姓名\s?[：:]?\s?(?P<name>[A-Z][A-Za-z]+(?:\s[A-Z][A-Za-z]+){1,2})")


_THINGS = "单子|订单|快递|快件|包裹|件|货|退款|退货|账号|账户|保单|发票|会员|预约|押金|地址|电话|手机"
ZH_OWNS = re.compile(rf"(?:(?<![{HAN}])|(?<=[看查下]))(?P<name>[{OFTEN}][{HAN}]{{2}})(?=的(?:{_THINGS}))")
ZH_DONE = re.compile(
    rf"(?<=[找问叫让请替跟和是由])(?P<name>[{OFTEN}][{HAN}]{{1,2}}?)(?=[买卖订修拿换办取谈聊借来做代下])"
)
"""Whose the parcel is; from whom something was bought, whom somebody asked."""


def _person(said: str) -> bool:
    """Whether a usual family name and what follows are a name: no other word, and none that begins with both."""
    pieces = list(rjieba.tag(said))
    other = len(pieces) == 1 and not pieces[0][1].startswith("nr")
    return not other and (len(pieces) == 1 or len(pieces[0][0]) == 1) and like_name(said) and perhaps(said)


def beside(text: str, language: str) -> Iterator[Span]:
    if re.search(rf"[{HAN}]", text):
        for pattern in (ZH_FAMILY, ZH_SHORT, ZH_LATIN):
            yield from (Span("name", *m.span("name"), FORMED) for m in pattern.finditer(text))
        owns = (m for pattern in (ZH_OWNS, ZH_DONE) for m in pattern.finditer(text))
        yield from (Span("name", *m.span("name"), FORMED) for m in owns if _person(m["name"]))
        for m in ZH_KIN.finditer(text):
            said = m["name"] if like_name(m["name"]) else m["name"][:2]
            if like_name(said) and perhaps(said):
                yield Span("name", m.start("name"), m.start("name") + len(said), FORMED)
    for m in WORKS.finditer(text):
        first = m["name"].split()[0]
        if first not in NO_LAST and (language != "de" or first in first_names() or first in last_names()):
            yield cut(text, *m.span("name"), FORMED)
    for m in UNDER.finditer(text):
        if m["name"].split()[0] not in NO_LAST:
            yield cut(text, *m.span("name"), CUED)
    options = {m[1] for m in OPTION.finditer(text)}
    for m in INITIAL.finditer(text):
        family = m["name"].split(".")[-1].strip()
        option = m["name"][0] in "ABCDE" and (m.start() == 0 or len(options) > 1)
        if len(family) > 3 and family not in NO_LAST and not family.isupper() and not option:
            yield cut(text, *m.span("name"), LIKELY)
    yield from (Span("name", *m.span("name"), LIKELY) for m in NOBLE.finditer(text))
