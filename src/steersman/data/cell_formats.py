"""What people see of a workbook's cell: its value in its number format (ECMA-376 part 1, 18.8.30 and 18.8.31)."""

from __future__ import annotations

import datetime
import decimal
import fractions
import functools
import re
from typing import Any

Moment = datetime.datetime | datetime.date | datetime.time | datetime.timedelta
GENERAL = "General"
MOST = 255
"""Characters of a format, as spreadsheets allow."""
OWN_DATES = ("mm-dd-yy", "m/d/yy h:mm")
"""Formats 14 and 22, which every reader's system shows in its own order."""
CHINESE_DATES = {
    **dict.fromkeys((27, 36, 50, 52, 57), 'yyyy"年"m"月"'),
    **dict.fromkeys((28, 29, 51, 53, 54, 58), 'm"月"d"日"'),
    **{30: "m-d-yy", 31: 'yyyy"年"m"月"d"日"', 32: 'h"时"mm"分"', 33: 'h"时"mm"分"ss"秒"'},
    **dict.fromkeys((34, 55), '上午/下午h"时"mm"分"'),
    **dict.fromkeys((35, 56), '上午/下午h"时"mm"分"ss"秒"'),
}
"""Formats that files of Chinese programs name by number alone."""
LITERAL = r'"[^"]*"|\\.|_.|\*.'
SECTIONS = re.compile(rf"(?:{LITERAL}|\[[^\]]*\]|[^;])+|(?<=;)(?=;|$)|^(?=;)", re.S)
CONDITION = re.compile(r"\[(<=|>=|<>|<|>|=)(-?\d+(?:\.\d+)?)\]")
DIGITS = re.compile(r"[0#?][0#?,]*(?:\.[0#?]*,*)?|\.[0#?]+,*")
NUMBER = re.compile(
    rf"(?P<literal>{LITERAL})|\[\$(?P<currency>[^\]-]*)(?:-[^\]]*)?\]|(?P<skip>\[[^\]]*\])|(?P<general>General)|"
    rf"(?P<digits>{DIGITS.pattern})(?P<power>E[+-]0+)?|(?P<percent>%)|(?P<other>.)",
    re.I | re.S,
)
FRACTION = re.compile(r"(?P<whole>[#0?]+\s+)?[#?0]+/(?P<under>[#?]+|[1-9]\d*)")
DATE = re.compile(
    rf"(?P<literal>{LITERAL})|\[(?P<total>h+|m+|s+)\]|(?P<locale>\[\$[^\]]*\])|(?P<skip>\[[^\]]*\])|"
    r"(?P<half>am/pm|a/p|上午/下午)|(?P<field>y+|m+|d+|h+|s+|e+|a{3,4})|(?P<part>\.0+)|(?P<other>.)",
    re.I | re.S,
)
ENGLISH = (
    (
        *("January", "February", "March", "April", "May", "June"),
        *("July", "August", "September", "October", "November", "December"),
    ),
    ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
)
GERMAN = (
    (
        *("Januar", "Februar", "März", "April", "Mai", "Juni"),
        *("Juli", "August", "September", "Oktober", "November", "Dezember"),
    ),
    ("Montag", "Dienstag", "Mittwoch", "Donnerstag", "Freitag", "Samstag", "Sonntag"),
)
LANGUAGES = {0x04: "zh", 0x07: "de", 0x09: "en"}
"""The low bits of a Windows locale."""


class Unknown(ValueError):
    """A number format that is not known here."""


def shown(value: Any, form: str) -> str:
    """A number, text or time as a spreadsheet shows it. Raises Unknown for a format that is not known here, and for
    dates whose order is the reader's system's."""
    if len(form) > MOST or isinstance(value, bool) or not isinstance(value, int | float | str | Moment):
        raise Unknown(form)
    if isinstance(value, Moment):
        return _moment(value, next(iter(_sections(form)), ""))
    sections = _sections(form)
    if isinstance(value, str):
        text = sections[3] if len(sections) > 3 else form if "@" in form and len(sections) == 1 else "@"
        return "".join(value if (m[0] == "@") else _literal(m) for m in NUMBER.finditer(text))
    number = decimal.Decimal(repr(value))
    if not number.is_finite():
        raise Unknown(form)
    section, signed = _section_of(number, sections)
    return ("-" if signed and number < 0 else "") + _number(abs(number), section)


@functools.lru_cache(maxsize=1024)
def _sections(form: str) -> tuple[str, ...]:
    return tuple(SECTIONS.findall(form)) or (GENERAL,)


def _section_of(number: decimal.Decimal, sections: tuple[str, ...]) -> tuple[str, bool]:
    """The section for a number, and whether a minus is still to be written."""
    tests = {"<": number.__lt__, ">": number.__gt__, "=": number.__eq__}
    tests |= {"<=": number.__le__, ">=": number.__ge__, "<>": number.__ne__}
    conditions = [CONDITION.search(section) for section in sections[:2]]
    if any(conditions):
        for section, condition in zip(sections, conditions, strict=False):
            if condition is None or tests[condition[1]](decimal.Decimal(condition[2])):
                return section, condition is None or len(sections) == 1
        return sections[min(2, len(sections) - 1)], True
    if number < 0 and len(sections) > 1:
        return sections[1], False
    return sections[2 if number == 0 and len(sections) > 2 else 0], True


def _literal(m: re.Match[str]) -> str:
    """The text of a piece that stands for itself."""
    if m["literal"]:
        return {'"': m[0][1:-1], "\\": m[0][1:], "_": " ", "*": ""}[m[0][0]]
    return m.groupdict().get("currency") or m["other"] or ""


def _number(number: decimal.Decimal, section: str) -> str:
    if re.search(r"\[DBNum|\[\$-\d{8}\]", section, re.I):
        raise Unknown(section)
    bare = re.sub(rf"{LITERAL}|\[[^\]]*\]", lambda m: " " * len(m[0]), section)
    if part := FRACTION.search(bare):
        before, after = section[: part.start()], section[part.end() :]
        return (_number(number, before) if before.strip() else "") + _fraction(number, part) + _number(number, after)
    pieces = list(NUMBER.finditer(section))
    if sum(bool(m["digits"]) for m in pieces) > 1:
        if any(m["power"] for m in pieces) or "." in bare:
            raise Unknown(section)
        return _spread(number, section)
    number *= 100 ** sum(bool(m["percent"]) for m in pieces)
    out = []
    for m in pieces:
        if m["digits"]:
            out.append(_power(number, m["digits"], m["power"]) if m["power"] else _digits(number, m["digits"]))
        elif m["general"]:
            out.append(general(number))
        else:
            out.append(m["percent"] or _literal(m))
    return "".join(out).strip()


def general(number: decimal.Decimal) -> str:
    """A number in the format General: eleven characters of a fraction, all digits of a whole number."""
    if number == number.to_integral_value():
        return f"{number.quantize(decimal.Decimal(1)):f}" if abs(number) < 10**20 else f"{number:.5E}"
    if abs(number) < decimal.Decimal("1e-9") or abs(number) >= 10**11:
        return re.sub(r"\.?0+E", "E", f"{number:.5E}")
    places = max(0, 10 - max(1, number.adjusted() + 1))
    return f"{_rounded(number, places):f}".rstrip("0").rstrip(".")


def _rounded(number: decimal.Decimal, places: int) -> decimal.Decimal:
    with decimal.localcontext() as context:
        context.prec = 400
        return number.quantize(decimal.Decimal(1).scaleb(-places), decimal.ROUND_HALF_UP)


def _digits(number: decimal.Decimal, form: str) -> str:
    whole, _, behind = form.partition(".")
    number /= 1000 ** (len(whole) - len(whole.rstrip(",")) + len(behind) - len(behind.rstrip(",")))
    grouped, whole, behind = "," in whole.strip(","), whole.replace(",", ""), behind.replace(",", "")
    before, _, after = f"{_rounded(number, len(behind)):f}".partition(".")
    before = before.lstrip("0").rjust(whole.count("0"), "0")
    least = behind.rfind("0") + 1
    after = after[:least] + after[least:].rstrip("0")
    if grouped:
        before = re.sub(r"(?<=\d)(?=(?:\d{3})+\Z)", ",", before)
    return before + ("." + after if "." in form else "")


def _spread(number: decimal.Decimal, section: str) -> str:
    """Digits with literals between them: 138 0013 8000 by 000 0000 0000."""
    places = sum(len(m["digits"].replace(",", "")) for m in NUMBER.finditer(section) if m["digits"])
    left = f"{_rounded(number, 0):f}"
    if number == 0 or len(left) < places:
        left = left.rjust(places, "0")
    out, over = [], len(left) - places
    for m in NUMBER.finditer(section):
        if m["digits"]:
            take = len(m["digits"].replace(",", "")) + over
            out.append(left[:take])
            left, over = left[take:], 0
        else:
            out.append(_literal(m))
    return "".join(out).strip()


def _power(number: decimal.Decimal, form: str, power: str) -> str:
    step = max(1, len(form.partition(".")[0].replace(",", "")))
    exponent = 0 if number == 0 else number.adjusted() // step * step
    base = _digits(number.scaleb(-exponent), form)
    sign = "-" if exponent < 0 else "+" if power[1] == "+" else ""
    return f"{base}E{sign}{abs(exponent):0{len(power) - 2}}"


def _fraction(number: decimal.Decimal, part: re.Match[str]) -> str:
    under = part["under"]
    whole, rest = divmod(number, 1) if part["whole"] else (decimal.Decimal(0), number)
    if under.isdigit():
        below = int(under)
        above = int(_rounded(rest * below, 0))
    else:
        near = fractions.Fraction(rest).limit_denominator(10 ** len(under) - 1)
        above, below = near.numerator, near.denominator
    if part["whole"] and above == below:
        whole, above = whole + 1, 0
    words = [f"{whole:f}"] if part["whole"] and (whole or not above) else []
    return " ".join([*words, *([f"{above}/{below}"] if above or not part["whole"] else [])])


def _moment(value: Moment, section: str) -> str:
    pieces = list(DATE.finditer(section))
    locale = next((m["locale"] for m in pieces if m["locale"]), "")
    code = int(found[1], 16) if (found := re.search(r"-([0-9A-F]+)\]", locale, re.I)) else 0x409
    words = [m["field"].lower() if m["field"] else "" for m in pieces]
    named = any(re.match("mmm|ddd", word) for word in words)
    language = LANGUAGES.get(code & 0x3FF, "")
    own = section in OWN_DATES or code in (0xF800, 0xF400) or code > 0xFFFF or re.search(r"\[DBNum", section, re.I)
    if own or (named and not language) or (code & 0x3FF == 0x11 and "e" in "".join(words)):
        raise Unknown(section)
    if isinstance(value, datetime.timedelta):
        seconds = round(value.total_seconds(), 3)
        at = datetime.datetime(1899, 12, 30) + value
    else:
        at = _whole(value, any(word[:1] in ("y", "d", "e", "a") for word in words))
        seconds = at.hour * 3600 + at.minute * 60 + at.second + at.microsecond / 1e6
    if seconds < 0:
        raise Unknown(section)
    if not any(m["part"] for m in pieces):  # without fractions seconds are rounded
        at, seconds = at + datetime.timedelta(microseconds=500_000), int(seconds + 0.5)
        at = at.replace(microsecond=0)
    half = any(m["half"] for m in pieces)
    out = []
    for i, m in enumerate(pieces):
        if m["total"]:
            unit = {"h": 3600, "m": 60, "s": 1}[m["total"][0].lower()]
            out.append(f"{int(seconds // unit):0{len(m['total'])}}")
        elif m["half"]:
            early, late = m["half"].split("/")
            out.append(early if at.hour < 12 else late)
        elif m["part"]:
            out.append(f".{at.microsecond:06}"[: len(m["part"])])
        elif words[i]:
            word = words[i]
            minutes = word in ("m", "mm") and _is_minute(
                [m["total"] or w for m, w in zip(pieces, words, strict=True)], i
            )
            out.append(f"{at.minute:0{len(word)}}" if minutes else _field(at, word, half, language))
        else:
            out.append("" if m["other"] == "@" else _literal(m))
    return "".join(out).strip()


def _whole(value: Any, dated: bool) -> datetime.datetime:
    """A day or a time of day as a moment. Raises Unknown where a day is to be shown of a time."""
    if isinstance(value, datetime.datetime):
        return value.replace(tzinfo=None)
    if isinstance(value, datetime.date):
        return datetime.datetime(value.year, value.month, value.day)
    if dated:
        raise Unknown("a time of no day")
    return datetime.datetime.combine(datetime.date(1900, 1, 1), value)


def _is_minute(words: list[str], i: int) -> bool:
    """Whether an m stands behind an hour or before a second."""
    before = next((w for w in reversed(words[:i]) if w), "")
    after = next((w for w in words[i + 1 :] if w), "")
    return before[:1].lower() == "h" or after[:1].lower() == "s"


def _field(at: datetime.datetime, word: str, half: bool, language: str) -> str:
    kind, length = word[0], len(word)
    months, days = GERMAN if language == "de" else ENGLISH
    if kind == "a" or (kind == "d" and length > 2 and language == "zh"):
        return ("星期" if length == 4 else "周" if kind == "d" else "") + "一二三四五六日"[at.weekday()]
    if kind == "m" and length > 2 and language == "zh":
        return f"{at.month}月"
    if kind in "ye":
        return f"{at.year % 100:02}" if kind == "y" and length < 3 else f"{at.year}"
    if kind == "m" and length > 2:
        name = months[at.month - 1]
        return {3: name[:3], 5: name[:1]}.get(length, name)
    if kind == "d" and length > 2:
        name = days[at.weekday()]
        return name[: 2 if language == "de" else 3] if length == 3 else name
    hour = (at.hour % 12 or 12) if half else at.hour
    return f"{({'m': at.month, 'd': at.day, 'h': hour, 's': at.second})[kind]:0{min(length, 2)}}"
