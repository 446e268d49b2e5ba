"""Names of people known by what stands beside them: what somebody is to the writer, initials, short Chinese titles."""

from __future__ import annotations

import re
from collections.abc import Iterator

import rjieba

from steersman.data.pii.finding import CUED, FORMED, HAN, LIKELY, Span
from steersman.data.pii.firms import ZH_BRANDS
from steersman.data.pii.persons import (
    GIVEN,
    NAME,
    NO_LAST,
    PART,
    ZH_DOUBLE,
    ZH_NAME,
    ZH_OFTEN,
    ZH_SINGLE,
    ZH_STOP,
    cut,
    first_names,
    last_names,
    like_name,
    nothing_else,
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
NOBLE = re.compile(rf"(?<![A-Za-zÄÖÜäöüß-])(?P<name>{PART}\sv\.\s?(?:d\.\s?)?{PART})")
OFTEN = "".join(sorted(ZH_OFTEN))
ZH_FAMILY = re.compile(rf"(?<![百贵同复])姓(?P<name>[{ZH_SINGLE}])(?=[，,。；;！!、\s的]|\Z)")
ZH_SHORT = re.compile(
    rf"(?:(?<=[请让找叫给问和跟烦是由])|(?<![{HAN}]))(?P<name>[{OFTEN}])"
    r"(?:工(?![程作具资厂艺商会业人地])|总(?![是共数计部裁之价额体结量的会有])|[哥姐](?![哥姐])|爷爷|奶奶|师傅)"
)
ZH_KIN = re.compile(rf"(?:我先生|我太太|同事|朋友|同学|室友|邻居|老公|老婆|爱人|女儿|儿子|领导)(?P<name>{ZH_NAME})")
ZH_SIGNED = re.compile(
    r"(?:祝(?:您|你)?[^\n]{0,10}|此致|敬礼|(?:谢谢|多谢|感谢)[^\n]{0,8}|顺颂商祺)[！!。,，~～]*[^\S\n]*(?:\n[^\S\n]*){1,3}"
    rf"(?:(?:客服|专员|顾问|店长|经理)[：: ]*)?(?P<name>{ZH_NAME})[ \t]*(?=\n|\Z)"
)
"""The line below the end of a letter."""
ZH_LATIN = re.compile(r"姓名\s?[：:]?\s?(?P<name>[A-Z][A-Za-z]+(?:\s[A-Z][A-Za-z]+){1,2})")


_OWN_ONLY = (
    "身份证|手机|电话|微信|生日|学号|学生证|签名|驾照|驾驶证|护照|户口本|医保|社保|银行卡|工资|病历|体检|疫苗|签证|航班|机票|车牌|停车费|邮箱|邮件|签收人|收货|快递单号|快递柜|"
    "工号|宽带|话费|健身卡|押金|保单|保险|理赔|住院|挂号|处方|简历|档案|房租|租约|水电费|家长|老公|老婆|爱人|孩子|儿子|女儿"
)
_OF_FIRMS_TOO = "单子|订单|快递|快件|包裹|件|货(?![架柜源])|退款|退货|账号|账户|发票|会员|积分|预约|地址"
ZH_OWNS = re.compile(
    rf"(?:(?<![{HAN}])|(?<=[看查下帮改替给]))(?P<name>[{ZH_SINGLE}][{HAN}]{{1,2}})(?=的(?:(?P<own>{_OWN_ONLY})|{_OF_FIRMS_TOO}))"
)
ZH_DONE = re.compile(
    rf"(?<=[找问叫让请替跟和是由])(?P<name>[{OFTEN}][{HAN}]{{1,2}}?)(?=[买卖订修拿换办取谈聊借来做代下])"
)
"""Whose the parcel is (`own`: a thing that no firm has); from whom something was bought, whom somebody asked."""


def _person(said: str) -> bool:
    """Whether a usual family name and what follows are a name: no other word, and none that begins with both."""
    pieces = list(rjieba.tag(said))
    other = len(pieces) == 1 and not pieces[0][1].startswith("nr")
    return not other and (len(pieces) == 1 or len(pieces[0][0]) == 1) and like_name(said) and perhaps(said)


def _signs(said: str) -> bool:
    """Whether a line is somebody's name: a family name of two characters, or a usual one; no word and no brand."""
    pieces = [*rjieba.tag(said)]
    named = said[0] in ZH_OFTEN and said[:2] not in ZH_STOP and not ZH_BRANDS.fullmatch(said)
    if re.match(ZH_DOUBLE, said):
        return bool(re.fullmatch(ZH_DOUBLE, pieces[0][0])) or pieces == [(said, "nr")]
    return named and pieces == [(said, "nr")]


def _owner(m: re.Match[str]) -> bool:
    """Whether a family name and one or two characters before 的 and a thing are whose it is.

    A thing that no firm has leaves a word that people are called like too (文静, 田野); others want a name that is no word.
    """
    said = m["name"]
    if not nothing_else(said) or (said[0] == "成" and m.string[: m.start("name")].endswith("改")):
        return False
    pieces = list(rjieba.tag(said))
    word = len(pieces) == 1 and not pieces[0][1].startswith("nr")
    given = said[-1] in GIVEN
    if m["own"]:
        return given or not word
    return not word and (given or len(said) == 3) and (len(said) == 2 or len(pieces) == 1 or len(pieces[0][0]) == 1)


def beside(text: str, language: str) -> Iterator[Span]:
    if re.search(rf"[{HAN}]", text):
        for pattern in (ZH_FAMILY, ZH_SHORT, ZH_LATIN):
            yield from (Span("name", *m.span("name"), FORMED) for m in pattern.finditer(text))
        yield from (Span("name", *m.span("name"), FORMED) for m in ZH_DONE.finditer(text) if _person(m["name"]))
        yield from (Span("name", *m.span("name"), FORMED) for m in ZH_OWNS.finditer(text) if _owner(m))
        yield from (Span("name", *m.span("name"), CUED) for m in ZH_SIGNED.finditer(text) if _signs(m["name"]))
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
