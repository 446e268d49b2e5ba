"""Time stamps of chat logs: finding and reading them, in English, German and Chinese forms."""

from __future__ import annotations

import datetime
import math
import re
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

MARKS = re.compile("[\u200b\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
"""Characters for the direction of writing that messengers insert."""
MONTHS = (
    "jan(?:uary|uar)?|feb(?:ruary|ruar)?|m(?:ar(?:ch)?|ärz|är|rz)|apr(?:il)?|ma[yi]|june?|juni?|july?|juli?|aug(?:ust)?|"
    "sept?(?:ember)?|o[ck]t(?:ober)?|nov(?:ember)?|de[cz](?:ember)?"
)
MONTH_STARTS = (
    *(("jan", 1), ("feb", 2), ("mar", 3), ("mär", 3), ("mrz", 3), ("apr", 4), ("may", 5), ("mai", 5), ("jun", 6)),
    *(("jul", 7), ("aug", 8), ("sep", 9), ("oct", 10), ("okt", 10), ("nov", 11), ("dec", 12), ("dez", 12)),
)
DAY = (
    r"(?:(?:mon|tues?|wed(?:nes)?|thu(?:rs)?|fri|sat(?:ur)?|sun)(?:day)?|(?:montag|dienstag|mittwoch|donnerstag|freitag|"
    r"samstag|sonntag|mo|di|mi|do|fr|sa|so)\.?|(?:星期|周|週|礼拜)[一二三四五六日天]|[月火水木金土日월화수목금토일]曜?日?(?:요일)?)"
)
DATE = (
    rf"(?:{DAY}[,，.]?\s*)?(?:(?P<a>\d{{1,4}})\s?[./-]\s?(?P<b>\d{{1,2}})\s?[./-]\s?(?P<c>\d{{1,4}})\.?"
    r"|(?:(?P<y>\d{4})\s?[年년]\s?)?(?P<m>\d{1,2})\s?[月월]\s?(?P<d>\d{1,2})\s?[日일]"
    rf"|(?P<d2>\d{{1,2}})\.?\s(?P<n2>{MONTHS})\.?,?\s(?P<y2>\d{{4}})"
    rf"|(?P<n3>{MONTHS})\.?\s{{1,2}}(?P<d3>\d{{1,2}}),?\s(?P<y3>\d{{4}}))"
    rf"(?:\s?(?:[(（]?{DAY}[)）]?(?![^\W\d_])|[(（][一二三四五六日天][)）]))?"
)
SHORT = r"(?P<m4>\d{1,2})[-/](?P<d4>\d{1,2})|(?P<d5>\d{1,2})\.(?P<m5>\d{1,2})\."
"""Pattern of a date without a year, which counts as a date only before a time."""
HALF = (
    r"午前|午後|오전|오후|上午|下午|凌晨|清晨|早上|中午|傍晚|晚上|[ap]\.?\s?m\.?(?![^\W\d_])|vorm\.|nachm\."
    r"|(?:ص|م|[πμ]\.?μ\.?|öö|ös|[قب]\.?ظ\.?|לפנה[״\"]צ|אחה[״\"]צ)(?![^\W\d_])"
)
AM, PM = ("ص", "πμ", "öö", "قظ", "לפנה״צ"), ("م", "μμ", "ös", "بظ", "אחה״צ")
"""As WhatsApp writes them in Arabic, Greek, Turkish, Persian and Hebrew."""
TIME = (
    rf"(?:(?P<h1>{HALF})\s?)?(?P<hour>\d{{1,2}})[:：](?P<minute>\d{{2}})(?:[:：](?P<second>\d{{2}}))?(?:[.,]\d{{1,9}})?"
    rf"(?:\s?(?P<h2>{HALF}))?(?:\s?Uhr)?(?:\s?(?P<zone>Z|UTC|GMT|[+-]\d{{2}}:?\d{{2}})(?![\w]))?"
)
TWICE = re.compile(r"\(\?P<(\w+)>")
BOTH = f"(?:(?:{DATE}|{SHORT})(?:,?\\s*+(?:(?:at|um|à|às|a las|alle(?: ore)?)\\s*+)?|T|，\\s*)(?:{TIME}))"
REVERSED = TWICE.sub(r"(?P<r_\1>", f"(?:{TIME},?\\s+{DATE})")
RECENT = r"today|yesterday|heute|gestern|今天|昨天|前天|今日|昨日|(?:星期|周|週)[一二三四五六日天]"
ALONE = TWICE.sub(r"(?P<t_\1>", rf"(?:(?:{RECENT})\s?(?:at|um)?\s?)?{TIME}")
STAMP = f"(?:{BOTH}|{REVERSED}|{ALONE})"
LEADING = re.compile(
    rf"\s*+(?P<open>[\[(【<])?\s*+{STAMP}\s*(?(open)[\])】>])\s*(?:[-–—|]\s+|[,，]\s*)?(?P<rest>.*)", re.I | re.S
)
"""Pattern of a stamp at the start of a line, and the rest."""
NAME = (
    r"(?P<who>(?:[^\[\]()（）\n:：]|(?<=[^\W\d_]):(?=[^\W\d_])){1,60}?"
    r"(?:[(（][^()（）\n]{1,30}[)）]|<[^<>\s]+@[^<>\s]+>)?)"
)
TRAILING = re.compile(
    rf"\s*+{NAME}\s*(?:[,，—–|]\s*)?(?:(?P<open>[\[(【])\s*{STAMP}\s*[\])】]|(?<=[\s,，]){STAMP.replace('(?P<', '(?P<x_')})"  # noqa: E501
    r"\s*(?P<colon>[:：])?\s*(?P<rest>.*)",
    re.I | re.S,
)
"""Pattern of a name with the stamp after it, and the rest."""
BRACKETED = re.compile(rf"\s*\[(?P<who>[^\[\]\n]{{1,60}})\]\s*\[\s*{STAMP}\s*\]\s*(?P<rest>.*)", re.I | re.S)
"""Pattern of a name and a stamp, both in brackets, and the rest."""
DATE_LINE = re.compile(rf"\s*[-–—=\s]*{DATE}[-–—=\s]*", re.I)
"""Pattern of a line with the date of the lines below."""
DAY_LINE = re.compile(rf"(?:日期|Date|Datum)\s?[:：]\s?{DATE}", re.I)
"""The same with a word before it, in logs whose messages have times alone (older QQ): elsewhere somebody says it."""


@dataclass(frozen=True, slots=True)
class When:
    """A parsed stamp: three numbers of a date in the log's order, or none, and a time."""

    date: tuple[int, int, int] | None
    order: str
    """'ymd' where the form fixes the order; '' where other dates must tell day and month apart."""
    seconds: int


def when(match: re.Match[str]) -> When | None:
    """The time of a match of one of the expressions above, or None where it is none (25:70)."""
    groups = {re.sub(r"^(x_)?([rt]_)?", "", k): v for k, v in match.groupdict().items() if v is not None}
    hour, minute = int(groups.get("hour", 0)), int(groups.get("minute", 0))
    half = (groups.get("h1") or groups.get("h2") or "").lower().replace(" ", "").replace(".", "").replace('"', "״")
    if half in ("pm", "下午", "午後", "오후", "傍晚", "晚上", "nachm", *PM) or (half == "中午" and hour < 11):
        hour += 12 if hour < 12 else 0
    elif half in ("am", "午前", "오전", "上午", "凌晨", "清晨", "早上", "vorm", *AM) and hour == 12:
        hour = 0
    if hour > 24 or minute > 59:
        return None
    seconds = hour * 3600 + minute * 60 + int(groups.get("second", 0)) - _east(groups.get("zone", ""))
    if "a" in groups:
        numbers = (int(groups["a"]), int(groups["b"]), int(groups["c"]))
        return When(numbers, "ymd" if numbers[0] > 31 else "", seconds) if _possible(numbers) else None
    if "m" in groups:  # a missing year is replaced by a leap year
        return When((int(groups.get("y", 2000)), int(groups["m"]), int(groups["d"])), "ymd", seconds)
    for month, day in (("m4", "d4"), ("m5", "d5")):
        if month in groups:
            pair = (int(groups[month]), int(groups[day]))
            pair = pair if pair[0] <= 12 else pair[::-1]
            return When((2000, *pair), "ymd", seconds) if 1 <= pair[0] <= 12 and 1 <= pair[1] <= 31 else None
    for year, month, day in (("y2", "n2", "d2"), ("y3", "n3", "d3")):
        if year in groups:
            name = groups[month].lower()
            return When((int(groups[year]), dict(MONTH_STARTS)[name[:3]], int(groups[day])), "ymd", seconds)
    return When(None, "", seconds)


def _east(zone: str) -> int:
    """Seconds by which a zone's clocks are ahead of Greenwich's: '+08:00' -> 28800."""
    digits = zone.replace(":", "")
    return int(digits[0] + "1") * (int(digits[1:3]) * 3600 + int(digits[3:]) * 60) if digits[:1] in ("+", "-") else 0


def since_1970(seconds: float) -> When:
    at = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return When((at.year, at.month, at.day), "ymd", at.hour * 3600 + at.minute * 60 + at.second)


def alone(text: str) -> str:
    """The form of a stamp that fills a whole line; '' for other lines."""
    match = LEADING.match(text)
    return form(match) if match and not match["rest"].strip() and when(match) else ""


def form(match: re.Match[str]) -> str:
    """The form of a stamp at the start of a line: its text without digits and words."""
    written = match.string[: match.start("rest")].strip()
    return re.sub(r"[^\W\d_]+\.?|\s+", "", re.sub(r"\d+", "0", written))


def form_behind(match: re.Match[str]) -> str:
    """The form of a stamp after a name, with the spaces before it, which tell it from a time that ends a sentence."""
    written = match.string[match.end("who") : match.start("rest")].rstrip()
    return re.sub(r"[^\W\d_]+\.?", "", re.sub(r"\d+", "0", written))


def _possible(numbers: tuple[int, int, int]) -> bool:
    small = [n for n in numbers if 1 <= n <= 31]
    return len(small) >= 2 and any(n <= 12 for n in small)


def instants(stamps: Iterable[When | None]) -> Iterator[float | None]:
    """Seconds of each stamp on a common scale, None where unknown."""
    orders, every = Orders(), (array("d"), array("d"), array("d"))
    for stamp in stamps:
        for read, at in zip(every, orders.feed(stamp), strict=True):
            read.append(math.nan if at is None else at)
    best = orders.best()
    return (None if best is None or math.isnan(at) else at for at in every[best or 0])


class Orders:
    """Stamps one by one, each read in every order of day and month.

    The best order is the one in which the log goes forward and spans the least time; times without a date continue from
    the previous day.
    """

    def __init__(self) -> None:
        self._readings = [_Reading(order) for order in ("dmy", "mdy", "ymd")]

    def feed(self, stamp: When | None) -> tuple[float | None, ...]:
        return tuple(reading.feed(stamp) for reading in self._readings)

    def best(self) -> int | None:
        """The place of the best order; None where none is possible."""
        good = [i for i, reading in enumerate(self._readings) if not reading.failed]
        return min(good, key=lambda i: (self._readings[i].back, self._readings[i].span), default=None)


@dataclass
class _Reading:
    order: str
    failed: bool = False
    back: int = 0
    """How often time goes backward."""
    _day: int = 0
    _last: int = 0
    _before: float | None = None
    _low: float = math.inf
    _high: float = -math.inf

    @property
    def span(self) -> float:
        return max(0.0, self._high - self._low)

    def feed(self, stamp: When | None) -> float | None:
        if stamp is None or self.failed:
            return None
        if stamp.date is not None:
            parts = dict(zip(stamp.order or self.order, stamp.date, strict=True))
            year = parts["y"] + (2000 if parts["y"] < 100 else 0)
            try:
                self._day = datetime.date(year, parts["m"], parts["d"]).toordinal()
            except ValueError:
                self.failed = True
                return None
        elif stamp.seconds < self._last:
            self._day += 1
        self._last = stamp.seconds
        at = self._day * 86400.0 + stamp.seconds
        self.back += self._before is not None and at < self._before
        self._before, self._low, self._high = at, min(self._low, at), max(self._high, at)
        return at
