"""The number that an answer ends in, with what it counts: percent, thousands and 万, units. English and Chinese."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from steersman.eval.suites.number_words import HAN, KINDS, UNITS, digits, han_number
from steersman.text.folding import plain

_NUMBER = r"[-−]?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?(?:\s*/\s*\d+(?![\d.]))?|[-−]?\.\d+"
_SCALES = {"千": 10**3, "万": 10**4, "百万": 10**6, "千万": 10**7, "亿": 10**8, "万亿": 10**12}
_SCALES |= {"thousand": 10**3, "million": 10**6, "billion": 10**9}
_SCALE = "|".join(sorted(_SCALES, key=len, reverse=True))
_AMOUNT = re.compile(
    rf"(?P<minus>负|零下|\b(?:minus|negative)\s)?(?P<front>[¥$€]\s?)?(?P<number>{_NUMBER})(?:\s?(?P<scale>{_SCALE})(?![a-z克米瓦卡]))?\s?(?P<percent>%)?"
    rf"(?:[\s-]?(?P<unit>{UNITS})(?![a-z]))?",
    re.I,
)
_SAID = re.compile(
    r"####|\\boxed\s*\{|(?:the\s+)?(?:final\s+)?answer\s*(?:is|:|=)|答案\s*(?:是|为|：|:)|答\s*[：:]|结果\s*(?:是|为)",
    re.I,
)
_SUM = re.compile(r"[\s\d.,+*/()×÷x−-]*=(?!=)", re.I)
_HAN_NUMBER = re.compile(f"[{HAN}]+")
_APART = re.compile(r"(?<=\d)[\u00a0\u2009\u202f](?=\d{3}(?!\d))")
"""Pattern of a space that parts thousands."""
_PERCENT = re.compile(r"(?<=\d)\s?(?:\\%|per\s?cent(?!age)|百分号)", re.I)
_OF_HUNDRED = re.compile(rf"百分之\s?(-?\d[\d,]*(?:\.\d+)?|[{HAN}]+(?:点[{HAN}]+)?)")
_TEX = re.compile(r"(\d+)?\s*\\[dt]?frac\s*\{\s*(\d+)\s*\}\s*\{\s*(\d+)\s*\}")
_PARTS = re.compile(r"(?:(\d+)又)?(\d+)分之(\d+)")
_HAN_PARTS = re.compile(rf"(?<![{HAN}又])[{HAN}又]++分之[{HAN}]++")
_STEPS = re.compile(r"(?<![\d.])(?:\d{1,9}+[亿万千百]){2,4}+(?![\d亿万千百])")
"""Pattern of 2万5千, which is one number."""
_STEP, _TENS = re.compile(r"(\d+)(\D)"), {"亿": 8, "万": 4, "千": 3, "百": 2}
SIGNS = {"¥": "元", "€": "€", "$": ""}


@dataclass(frozen=True, slots=True)
class Amount:
    """A number as it is written, the number that 万 or million multiply it by, and what it counts."""

    number: Fraction
    scale: int = 1
    percent: bool = False
    unit: str = ""

    def values(self) -> set[Fraction]:
        """What it may be: a question that asks for 万 or million means the number before it."""
        return {self.number, self.number * self.scale}


def number_of(text: str) -> Fraction | None:
    """The value of '1,234.50', '3/4' or '-2'; None where it is none."""
    text = text.strip().replace(",", "").replace("−", "-").replace(" ", "")
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError):
        return None


def amount_of(text: str) -> Amount | None:
    """The amount that is all of a text, such as '25%', '1,200 g' or 380万元; None for others."""
    match = _AMOUNT.fullmatch(_written(text).strip())
    return _amount(match) if match else None


def final_amount(answer: str) -> Amount | None:
    """The amount that an answer ends in: after its last 'answer is', 答案是, #### or \\boxed{, else the last one."""
    text = _written(answer)
    marks = list(_SAID.finditer(text))
    for part in ([text[marks[-1].end() :]] if marks else []) + [text]:
        # right after 'the answer is' the first number is meant, or what a sum there makes; else the last one said
        first = part is not text
        while first and (made := _SUM.match(part)):
            part = part[made.end() :]
        for said in (part, digits(part)):
            found = list(_amounts(said))
            if found:
                return found[0 if first else -1]
        han = [value for m in _HAN_NUMBER.finditer(part) if (value := han_number(m.group())) is not None]
        if han:
            return Amount(Fraction(han[0 if first else -1]))
    return None


def final_number(answer: str) -> Fraction | None:
    found = final_amount(answer)
    return max(found.values(), key=abs) / (100 if found.percent else 1) if found else None


def same_number(answer: str, gold: str) -> bool:
    """Whether the amount that the answer ends in is `gold`: 18, 18.0 and 18.00 are one, and so are 25%, 0.25 and
    百分之二十五, 1.2 kg and 1,200 g, 1.2万 and 12,000."""
    wanted, got = amount_of(gold), final_amount(answer)
    return wanted is not None and got is not None and same(wanted, got)


def says_amount(answer: str, gold: str) -> bool:
    """Whether any amount in the answer is `gold`."""
    wanted = amount_of(gold)
    text = _written(answer)
    return wanted is not None and any(same(wanted, got) for said in (text, digits(text)) for got in _amounts(said))


def same(wanted: Amount, got: Amount) -> bool:
    pairs = [(w, g) for w in wanted.values() for g in got.values()]
    if wanted.percent != got.percent:
        # 25 for 25%, of a question that asks how many of a hundred; a quarter of one is another matter
        if any(w == g and w > 1 for w, g in pairs):
            return True
        pairs = [(w / 100 if wanted.percent else w, g / 100 if got.percent else g) for w, g in pairs]
    if wanted.unit and got.unit:
        one, other = _measure(wanted.unit), _measure(got.unit)
        if one[0] != other[0]:
            return False
        pairs = [(w * one[1], g * other[1]) for w, g in pairs]
    return any(abs(w - g) <= Fraction(1, 10**6) for w, g in pairs)


def _measure(unit: str) -> tuple[int, Fraction]:
    """(kind of a unit, how much of the kind's first one it is)."""
    for number, kind in enumerate(KINDS):
        for names, times in kind.values():
            if re.fullmatch(names, unit, re.I):
                return number, times
    return -1, Fraction(1)


def _amounts(text: str) -> Iterator[Amount]:
    return (found for m in _AMOUNT.finditer(text) if (found := _amount(m)) is not None)


def _amount(match: re.Match[str]) -> Amount | None:
    number = number_of(match["number"])
    if number is None:
        return None
    unit = match["unit"] or SIGNS.get((match["front"] or "").strip(), "")
    number = -number if match["minus"] else number
    return Amount(number, _SCALES.get((match["scale"] or "").lower(), 1), bool(match["percent"]), unit)


def _written(text: str) -> str:
    """Fractions (\\frac{2}{7}, 7分之2, 一又七分之二) as 2/7, percent as %, full-width signs as ASCII."""
    text = _PERCENT.sub("%", plain(_APART.sub("", text)))
    text = _STEPS.sub(lambda m: str(sum(int(n) * 10 ** _TENS[s] for n, s in _STEP.findall(m[0]))), text)
    text = _OF_HUNDRED.sub(lambda m: f"{_number_in(m[1])}%", text)
    text = _HAN_PARTS.sub(lambda m: _HAN_NUMBER.sub(lambda n: str(han_number(n[0])), m[0]), text)
    text = _PARTS.sub(lambda m: f"{int(m[1] or 0) * int(m[2]) + int(m[3])}/{m[2]}", text)
    return _TEX.sub(lambda m: f"{int(m[1] or 0) * int(m[3]) + int(m[2])}/{m[3]}", text)


def _number_in(text: str) -> str:
    """A number after 百分之, in digits; 百分之百 is 100."""
    whole, _, rest = text.partition("点")
    if not _HAN_NUMBER.fullmatch(whole):
        return text
    return f"{han_number(whole)}" + (f".{''.join(str(han_number(d)) for d in rest)}" if rest else "")
