"""Numbers in words and quantities in other units: 'twelve', 二十四, 'half a kilo', 1,200 g for 1.2 kg."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction

_HAN = {"零": 0, "〇": 0, "一": 1, "二": 2, "两": 2, "三": 3, "四": 4, "五": 5, "六": 6, "七": 7, "八": 8, "九": 9}
_HAN_TIMES = {"十": 10, "百": 100, "千": 1000}
HAN = f"{''.join(_HAN)}{''.join(_HAN_TIMES)}万"
"""Signs of Chinese numerals."""
_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_SMALL = {word: n for n, word in enumerate(_ONES.split())}
_DOZENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_TENS = {word: 10 * n for n, word in enumerate(_DOZENS.split(), 2)}
_TIMES = {"hundred": 100, "thousand": 1000}
KINDS: tuple[dict[str, tuple[str, Fraction]], ...] = (
    {
        "kg": ("kg|kilos?|kilograms?|kilogrammes?|千克|公斤", Fraction(1000)),
        "g": ("g|grams?|grammes?|克", Fraction(1)),
        "mg": ("mg|milligrams?|毫克", Fraction(1, 1000)),
        "jin": ("斤", Fraction(500)),
    },
    {"euro": ("euros?|eur|€", Fraction(1)), "cent": ("cents?", Fraction(1, 100))},
    {"yuan": ("元|块|圆|rmb", Fraction(1)), "jiao": ("角|毛", Fraction(1, 10))},
    {
        "day": ("days?|天|日", Fraction(1)),
        "week": ("weeks?|周|个?星期|个?礼拜", Fraction(7)),
        "hour": ("hours?|hrs?|个?小时|个?钟头", Fraction(1, 24)),
        "minute": ("minutes?|mins?|分钟", Fraction(1, 1440)),
    },
    {"month": ("months?|个月", Fraction(1)), "year": ("years?|yrs?|年", Fraction(12))},
    {
        "m": ("m|met(?:er|re)s?|米", Fraction(1)),
        "cm": ("cm|centimet(?:er|re)s?|厘米|公分", Fraction(1, 100)),
        "mm": ("mm|millimet(?:er|re)s?|毫米", Fraction(1, 1000)),
        "km": ("km|kilomet(?:er|re)s?|千米|公里", Fraction(1000)),
    },
    {"l": ("l|lit(?:er|re)s?|升", Fraction(1)), "ml": ("ml|millilit(?:er|re)s?|毫升", Fraction(1, 1000))},
)
"""Units of one kind: how each is said, and how much of the first one's kind it is. All exact: no pounds, no inches."""
UNITS = "|".join(names for kind in KINDS for names, _ in kind.values())
_WORD = "|".join((*_SMALL, *_TENS, *_TIMES))
_SPELLED = re.compile(rf"\b(?:a\s+(?=hundred|thousand))?(?:{_WORD})(?:(?:[\s-]+|\s+and\s+)(?:{_WORD}))*\b", re.I)
_POINT = re.compile(rf"(?<=\d)\s+point((?:\s+(?:\d+|{'|'.join(list(_SMALL)[:10])})\b)+)", re.I)
_ALONE = re.compile(rf"\b(?:an?(?=(?:\s+|-)(?:{UNITS})\b)|one(?=(?:\s+|-)(?:{UNITS}|point|and\s+a\s+half)\b))", re.I)
_HALF = re.compile(rf"\bhalf\s+an?(?=(?:\s+|-)(?:{UNITS})\b)", re.I)
_AND_HALF = re.compile(rf"(?<![\d.,])(\d+)(?:\s+and\s+a\s+half\b|(\s+(?:{UNITS}))\s+and\s+a\s+half\b)", re.I)
_HAN_SAID = re.compile(
    rf"(?<![第.\d{HAN}])(?<!\d\s)([{HAN[:-3]}][{HAN}]*)(?:点([零〇一二三四五六七八九]+))?(?=\s*(?:{UNITS}|个半(?:月|小时|钟头)|\W|$))",
    re.I,
)
_HAN_HALF = re.compile(r"(?<![\d半个])半(?=年|个月|公?斤|千克|天|个?小时|个?钟头)")
_HAN_AND_HALF = re.compile(r"(?<![\d.])(\d+)(?:(年|斤|公斤|天)半|个半(月|小时|钟头))")


def digits(text: str) -> str:
    """The text with numbers that are said in words as digits: 'two and a half years' is '2.5 years', 一年半 1.5年."""
    text = _HALF.sub("0.5", text)
    text = _ALONE.sub("1", text)
    text = _SPELLED.sub(_english, text)
    text = _POINT.sub(lambda m: "." + "".join(str(_SMALL.get(d.lower(), d)) for d in m[1].split()), text)
    text = _AND_HALF.sub(lambda m: f"{m[1]}.5{m[2] or ''}", text)
    text = _HAN_HALF.sub("0.5", _HAN_SAID.sub(_chinese, text))
    return _HAN_AND_HALF.sub(lambda m: f"{m[1]}.5{m[2] or '个' + m[3]}", text)


def han_number(text: str) -> int | None:
    """The value of a Chinese numeral up to 99,999,999 (三十二, 一千零五; 一百二 is 120, 三万五 35,000)."""
    if "万" in text:
        high, _, low = text.partition("万")
        above, below = han_number(high), han_number(low) if low else 0
        return None if above is None or below is None else above * 10_000 + below * (1000 if low in _HAN else 1)
    total, digit, seen, unit = 0, 0, False, 1
    for sign in text:
        if sign in _HAN_TIMES:
            unit = _HAN_TIMES[sign]
            total, digit, seen = total + (digit if seen and digit else 1) * unit, 0, False
        elif sign in _HAN:
            unit = 1 if sign in "零〇" or (seen and digit) else unit
            digit, seen = (digit * 10 + _HAN[sign]) if seen and digit else _HAN[sign], True
        else:
            return None
    return total + digit * max(unit // 10, 1)


def _chinese(match: re.Match[str]) -> str:
    whole = han_number(match[1])
    if whole is None:
        return match[0]
    return str(whole) + (f".{''.join(str(han_number(d)) for d in match[2])}" if match[2] else "")


def _english(match: re.Match[str]) -> str:
    """'one hundred and twenty' is 120; 'twelve seventeen' are two numbers; 'one' alone may be no number."""
    words = re.split(r"[\s-]+", match[0].lower())
    if words == ["one"]:
        return match[0]
    found: list[str] = []
    total, part, last = 0, 0, ""
    for word in words:
        if word in ("a", "and"):
            last = f"{last} and" if word == "and" and last in _TIMES else word
            continue
        fits = not last or last in _TIMES or last.endswith(" and") or (last in _TENS and 0 < _SMALL.get(word, 0) < 10)
        if word in _TIMES:
            part = max(part, 1) * 100 if word == "hundred" else part
            total, part = (total + max(part, 1) * 1000, 0) if word == "thousand" else (total, part)
        elif fits:
            part += _SMALL.get(word, _TENS.get(word, 0))
        else:
            found.append(f"{total + part}{' and' if last == 'and' else ''}")
            total, part = 0, _SMALL.get(word, _TENS.get(word, 0))
        last = word
    return " ".join([*found, str(total + part)])


def in_units(number: str, unit: str) -> Iterator[tuple[str, str]]:
    """(pattern of the number, pattern of the unit) of a quantity, in its own and every exact other unit."""
    kind = next((k for k in KINDS for names, _ in k.values() if re.fullmatch(names, unit, re.I)), None)
    if kind is None:
        yield pattern_of(number), re.escape(unit)
        return
    amount = Fraction(number) * next(times for names, times in kind.values() if re.fullmatch(names, unit, re.I))
    for names, times in kind.values():
        said = amount / times * 1000
        if said.denominator == 1:
            yield pattern_of(f"{int(said) / 1000:.3f}".rstrip("0").rstrip(".")), f"(?:{names})"


def pattern_of(number: str) -> str:
    """A number's pattern, with or without a mark between thousands, with a point or a comma before decimals."""
    whole, _, rest = number.partition(".")
    grouped = f"{int(whole):,}".replace(",", ",?") if whole.isdigit() else re.escape(whole)
    return grouped + (f"[.,]{rest}{'0?' if len(rest) == 1 else ''}" if rest else "")  # 2.50, and not 2,500
