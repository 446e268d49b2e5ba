"""Personal numbers in a text: cards of identity and of banks, IBANs, phones, orders; and addresses of e-mail.

Checksums decide where a kind has one; where it has none, its form and the words around it, so that prices, dates and
versions are no phones. Checksums are python-stdnum's, phone numbers' plans those of libphonenumber.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import re
from collections.abc import Iterator

import phonenumbers
from stdnum import iban, luhn
from stdnum.ch import ssn as ahv
from stdnum.cn import ric
from stdnum.de import idnr
from stdnum.us import ssn as us_ssn

from steersman.data.pii.finding import ALONE, CUED, FORMED, LIKELY, LONG, NO_MORE, SURE, Span, announced

EMAIL = re.compile(
    r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9ÄÖÜäöüß](?:[A-Za-z0-9._%+ÄÖÜäöüß-]*[A-Za-z0-9_ÄÖÜäöüß])?(?:[@＠]\s?|\s[@＠]\s)"
    r"(?:[A-Za-z0-9ÄÖÜäöüß](?:[A-Za-z0-9ÄÖÜäöüß-]*[A-Za-z0-9ÄÖÜäöüß])?\.)+[A-Za-z]{2,18}(?![A-Za-z0-9-])"
)
SPELLED = re.compile(
    r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9][A-Za-z0-9._%+-]*\s?(?:[(\[{]\s?(?:at|ät|AT)\s?[)\]}]|\sat\s|#at#)\s?"
    r"[A-Za-z0-9-]+(?:\s?(?:\.|[(\[{]\s?(?:dot|punkt|DOT)\s?[)\]}]|\sdot\s)\s?[A-Za-z0-9-]+)*"
    r"\s?(?:\.|[(\[{]\s?(?:dot|punkt|DOT)\s?[)\]}]|\sdot\s)\s?(?:com|net|org|de|at|ch|cn|uk|edu|eu|info|io)\b"
)
"""`anna (at) firma (punkt) de`, `anna at gmail dot com`."""
IBAN = re.compile(rf"{ALONE}[A-Za-z]{{2}}\d{{2}}(?:[ \u00a0.-]?[A-Za-z0-9]){{11,30}}{NO_MORE}")
WORD = re.compile("[A-Za-z0-9]")
RIC = re.compile(rf"{ALONE}[1-9]\d{{5}}[ -]?(?:18|19|20)\d{{2}}[ -]?\d{{4}}[ -]?\d{{3}}[\dXx]{NO_MORE}")
DIGITS = re.compile(rf"{ALONE}(?<![.,+])\d(?:[ \u00a0-]?\d){{11,18}}{NO_MORE}(?![.,]\d)")
OTHER_IDS = re.compile(
    rf"{ALONE}(?:(?P<ssn>\d{{3}}[- ]\d{{2}}[- ]\d{{4}})|(?P<nino>[A-Za-z]{{2}}\s?\d{{2}}\s?\d{{2}}\s?\d{{2}}\s?[A-Da-d])"
    r"|(?P<ahv>756[. ]?\d{4}[. ]?\d{4}[. ]?\d{2})|(?P<rv>\d{2}\s?\d{6}\s?[A-Za-z]\s?\d{3})"
    rf"|(?P<idnr>\d{{2}}\s?\d{{3}}\s?\d{{3}}\s?\d{{3}})|(?P<svnr>\d{{4}}[ -]?\d{{6}})|(?P<card>[CFGHJKLMNPRTVWXYZ][0-9A-Z]{{8}}\d?))"
    rf"{NO_MORE}"
)
TOKEN = re.compile(
    rf"{ALONE}[#＃]?(?=[A-Za-z_/.-]{{0,12}}\d)[A-Za-z0-9](?:[A-Za-z0-9]|[-_/.](?=[A-Za-z0-9]))*{NO_MORE}"
)
GROUPS = re.compile(rf"{ALONE}\d{{2,8}}(?: \d{{2,8}}){{1,6}}{NO_MORE}")
PIECES = re.compile(
    r"\s?(?:多|个|件|块|元|分|岁|米|克|斤|人|天|年|月|毫安|pieces?\b|items?\b|pizzas?\b|units?\b|pcs\b|x\b|points?\b|miles\b|Stück\b|Artikel\b|Euro\b|€|people\b|"
    r"guests\b|Personen\b|years?\b|days?\b|hours?\b|minutes?\b|Punkte\b|Tage\b|Jahre\b|km\b|mAh\b|kg\b|GB\b|TB\b|watts?\b|EUR\b|USD\b|CHF\b|dollars?\b)",
    re.I,
)
"""What is counted or measured, behind a number that is nobody's."""
NUMBERED = re.compile(
    rf"{ALONE}(?!(?:CVE|ISO|RFC|IEEE|DIN|SHA|UTF|COVID|ICE|RTX|GTX)[-_ ]?\d)(?:1Z[0-9A-Z]{{16}}|[A-Z]{{2}}\d{{9}}[A-Z]{{2}}|\d{{3}}-\d{{7}}-\d{{7}}|[A-Z]{{2,8}}[-_]\d{{2,8}}(?:[-_][0-9A-Z]{{2,10}})+"
    rf"|[A-Z]{{1,5}}[-_]?\d{{6,}}|[#＃](?:[A-Z]{{1,5}}-?)?\d{{4,}}(?:-\d+)*){NO_MORE}"
)
"""Forms in which orders and parcels are numbered."""
PHONE = re.compile(
    r"(?:(?<![\w@#＃$€£¥￥.,+/-])|(?<=\d{6},))(?:\+|＋|00(?=[1-9]))?[(（]?\d[\d()（）]*(?:[ \u00a0./·–-]{1,3}[\d()（）]+)*(?<=\d)"
    r"(?![A-Za-z@%°\d]|[.:]\d|,\d{1,3}(?![\d-])|\s?(?:€|£|元|块|岁|件|个|条|次|天|年|月|日|点|人|克|公里|米|kg\b|km\b|cm\b|mm\b|EUR\b|USD\b|CHF\b|Euro\b|dollars?\b|Stück\b|Uhr\b|percent\b))".replace(
        r"\w@", r"A-Za-z0-9ÄÖÜäöüß@"
    )
)
EXTENSION = re.compile(r"\s?(?:转|轉|ext\.?|extension|x|Durchwahl|DW|#)\s?\d{1,5}(?!\d)", re.I)
DATE = re.compile(
    r"(?:(?:19|20)\d{2}[-./](?:0?[1-9]|1[0-2])[-./](?:0?[1-9]|[12]\d|3[01])|"
    r"(?:0?[1-9]|[12]\d|3[01])\s?[-./]\s?(?:0?[1-9]|[12]\d|3[01])\s?[-./]\s?(?:(?:19|20)\d{2}|\d{2}))(?!\d)"
)
MOBILE_CN = re.compile(r"(?:(?:\+|00)?86[ -]?)?1[3-9]\d[ -]?\d{4}[ -]?\d{4}")
LANDLINE_CN = re.compile(
    r"[(（]?0(?:10|2\d|[3-9]\d{2})(?:[)）]\s?|[ -])[2-9]\d{2,3}[ -]?\d{4}|[48]00[ -]\d{3}[ -]?\d{4}|[48]00[ -]\d{4}[ -]\d{3}"
)
SPACED_US = re.compile(r"[2-9]\d{2} [2-9]\d{2} \d{4}")
FORM_US = re.compile(r"(?:\+?1[ .-]?)?(?:\([2-9]\d{2}\)\s?[2-9]\d{2}[ .-]\d{4}|[2-9]\d{2}([.-])[2-9]\d{2}\1\d{4})")
REGIONS = {"zh": ("CN",), "en": ("US", "GB"), "de": ("DE", "AT", "CH")}


def emails(text: str) -> Iterator[Span]:
    if "@" in text or "＠" in text:
        yield from (Span("email", *m.span()) for m in EMAIL.finditer(text))
    yield from (Span("email", *m.span(), FORMED) for m in SPELLED.finditer(text))


def ibans(text: str, before: str) -> Iterator[Span]:
    """The longest valid IBAN from each place; one that is none but is called so counts too."""
    for m in IBAN.finditer(text):
        for end in range(m.end(), m.start() + 14, -1):
            whole = WORD.match(text, end - 1) and not WORD.match(text, end)  # Chinese may go on behind it
            if whole and iban.is_valid(text[m.start() : end], check_country=False):
                yield Span("iban", m.start(), end)
                break
        else:
            if announced(text, *m.span(), before) == "iban":
                words = re.match(r"[A-Za-z]{2}\d{2}(?:[ .-]?(?=\w*\d)[A-Za-z0-9]+)+", m[0])
                if words and len(_digits(words[0])) >= 14:
                    yield Span("iban", m.start(), m.start() + words.end(), CUED)


def _day(text: str) -> bool:
    with contextlib.suppress(ValueError):
        return datetime.date(int(text[:4]), int(text[4:6]), int(text[6:8])).year > 1890
    return False


def _digits(text: str) -> str:
    return re.sub(r"[^0-9A-Za-z]", "", text)


def identities(text: str, before: str) -> Iterator[Span]:
    for m in RIC.finditer(text):
        number = _digits(m[0]).upper()
        good = _day(number[6:14])
        if good and number[-1] == ric.calc_check_digit(number[:-1]):
            yield Span("id", *m.span())
        elif good and announced(text, *m.span(), before) == "id":
            yield Span("id", *m.span(), CUED)
    for m in OTHER_IDS.finditer(text):
        kind, said = m.lastgroup, announced(text, *m.span(), before)
        form = _identity(kind or "", _digits(m[0]).upper(), m[0])
        if form and (said == "id" or (form == SURE and said in ("", "none"))):
            yield Span("id", *m.span(), SURE if form == SURE else CUED)
    for m, digits in _words(text):
        if digits >= 5 and announced(text, *m.span(), before) == "id":
            yield Span("id", *m.span(), CUED)


@functools.lru_cache(maxsize=64)
def _words(text: str) -> list[tuple[re.Match[str], int]]:
    """Words with digits, and groups of digits, that may be anybody's number, with how many digits they have."""
    found = [m for pattern in (TOKEN, GROUPS) for m in pattern.finditer(text)]
    return [
        (m, sum(c.isdigit() for c in m[0]))
        for m in found
        if not DATE.fullmatch(m[0]) and not PIECES.match(text, m.end())
    ]


def _identity(kind: str, number: str, written: str) -> int:
    """SURE where a number can be nothing else, CUED where words must say so too, 0 where it is none."""
    if kind == "ssn":
        return SURE if us_ssn.is_valid(number) and "-" in written else CUED
    if kind == "nino":
        bad = (
            number[0] in "DFIQUV" or number[1] in "DFIOQUV" or number[:2] in ("BG", "GB", "NK", "KN", "TN", "NT", "ZZ")
        )
        return 0 if bad else SURE if " " in written and written[:2].isupper() else CUED
    if kind == "ahv":
        return SURE if ahv.is_valid(number) else CUED
    if kind == "idnr":
        return SURE if idnr.is_valid(number) and " " in written else CUED
    return CUED


def cards(text: str, before: str) -> Iterator[Span]:
    for m in DIGITS.finditer(text):
        number = _digits(m[0])
        said = announced(text, *m.span(), before)
        if _issued(number) and luhn.is_valid(number):
            yield Span("card", *m.span(), CUED + 2 if said == "card" else FORMED + 5 if said in ("", "none") else LONG)
    for m, digits in _words(text):
        if digits >= 6 and digits == len(_digits(m[0])) and announced(text, *m.span(), before) == "card":
            yield Span("card", *m.span(), CUED)


def _issued(number: str) -> bool:
    """Whether banks issue cards of this beginning and length."""
    n, first = len(number), number[:2]
    if first in ("34", "37"):
        return n == 15
    if first in ("30", "36", "38", "39"):
        return n in (14, 16)
    if number[0] == "4":
        return n in (13, 16, 19)
    if "51" <= first <= "55" or "2221" <= number[:4] <= "2720":
        return n == 16
    return (number[0] in "69" or first in ("35", "50", "56", "57", "58")) and 16 <= n <= 19


NUMBER_IS = re.compile(
    r"(?i:\b(?:their|the|its|his|her|my|our|your) number(?: there)?(?: is|'s|:)|\bcall (?:them|us|me|it|him|her)\b[^.?!\d]{0,30}|"
    r"\bdie nummer (?:ist|lautet))[\s:,]*\Z"
)
"""The end of a text after which a number of a telephone's form is one."""


def phones(text: str, language: str, before: str) -> Iterator[Span]:
    for m in PHONE.finditer(text):
        start, end = m.span()
        written = m[0]
        if date := DATE.match(written):  # a date, perhaps with a time or another date behind it
            start, written = start + date.end(), ""
            if (rest := PHONE.search(text, start, end)) is not None:
                start, written = rest.start(), rest[0]
        n = sum(c.isdigit() for c in written)
        if not 6 <= n <= 17 or written.count("(") != written.count(")"):
            continue
        here = announced(text, start, end)
        said = here or announced(text, start, end, before)
        if (
            language == "zh"
            and not here
            and said != "phone"
            and (MOBILE_CN.fullmatch(written) or LANDLINE_CN.fullmatch(written))
        ):
            said = ""  # nobody orders by such a number, whatever was asked before
        score = _phone(written, n, language, said)
        if not score and not said and NUMBER_IS.search(text, max(0, start - 40), start):
            score = FORMED if n >= 9 and any(_valid(written, r) for r in ("GB", "US", "DE", "CN")) else 0
        if score == FORMED and not here and before:
            score = CUED + 1
        if score:
            extra = EXTENSION.match(text, end)
            yield Span("phone", start, extra.end() if extra else end, score)


def _phone(written: str, n: int, language: str, said: str) -> int:
    if said in ("order", "card", "id", "iban"):
        # announced as something else, which only an unmistakable form outweighs
        return LIKELY if written[0] in "+＋" and _valid(written, None) else 0
    if MOBILE_CN.fullmatch(written) and (language == "zh" or said == "phone"):
        return CUED if said == "phone" else FORMED
    if written[0] in "+＋" or written.startswith("00"):
        return CUED if _valid(written, None) else FORMED if n >= 9 and _possible(written) else 0
    if said == "phone" and (n >= 7 or re.search("[ -]", written)):
        every = ("CN", "US", "GB", "DE", "AT", "CH")
        return CUED if n >= 8 or any(_valid(written, region) for region in every) else LIKELY
    if said == "none":
        return 0
    if (language == "zh" and LANDLINE_CN.fullmatch(written)) or FORM_US.fullmatch(written):
        return FORMED
    if SPACED_US.fullmatch(written) and language == "en" and _valid(written, "US"):
        return FORMED
    bare = written.isdigit()
    if written[0] in "0(（" and n >= 9 and any(_valid(written, region) for region in REGIONS[language]):
        return FORMED if not bare or re.match("01[567]|07", written) else 0
    return 0


def _possible(written: str) -> bool:
    """Whether a number of a country that is named has a length that it may have there."""
    with contextlib.suppress(phonenumbers.NumberParseException):
        told = f"+{written[2:]}" if written.startswith("00") else written.replace("＋", "+")
        return phonenumbers.is_possible_number(phonenumbers.parse(told, None))
    return False


def _valid(written: str, region: str | None) -> bool:
    with contextlib.suppress(phonenumbers.NumberParseException):
        told = f"+{written[2:]}" if region is None and written.startswith("00") else written.replace("＋", "+")
        return phonenumbers.is_valid_number(phonenumbers.parse(told, region))
    return False


CALLED = re.compile(
    r"(?:号|号码|编号|单号|ID|(?<![a-z])id|number|no\.?|num\.?|nr\.?|nummer|code|reference|ref\.?|buchung|booking|reservation|confirmation|pnr|#|＃)\s*(?:是|为|叫|is|was|ist|lautet|war)?\s*[:：=#＃]?\s*[\"'“„(（]?\Z",
    re.I,
)
"""The end of a text after which an order's number stands, however short."""


ISBN = re.compile(r"(?:\b(?:ISBN(?:-1[03])?|EAN(?:-?13)?|GTIN)|条形?码)\s?[:：]?\s?\Z", re.I)
PLATE = re.compile(
    r"(?<![A-Za-z0-9])(?:[京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼][A-HJ-NP-Z][·•]?[A-HJ-NP-Z0-9]{5,6}"
    r"|(?P<named>[A-Z]{2}\d{2}\s?[A-Z]{3}|[A-ZÄÖÜ]{1,3}[- ][A-Z]{1,2}\s?\d{1,4}[EH]?))(?![A-Za-z0-9])"
)
PLATE_CUE = re.compile(
    r"\b(?:(?:number |licen[cs]e )?plate|registration|kennzeichen|nummernschild)\b\W{0,3}(?:is |ist |lautet )?\Z", re.I
)


def plates(text: str) -> Iterator[Span]:
    """Numbers of cars: of China by their form, British and German ones where words announce them."""
    for m in PLATE.finditer(text):
        if not m["named"] or PLATE_CUE.search(text, max(0, m.start() - 32), m.start()):
            yield Span("id", *m.span(), FORMED)


def orders(text: str, before: str) -> Iterator[Span]:
    for m in NUMBERED.finditer(text):
        said = announced(text, *m.span(), before)
        yield Span("order", *m.span(), CUED if said == "order" else LIKELY)
    for m, digits in _words(text):
        said = announced(text, *m.span(), before)
        if ISBN.search(text, max(0, m.start() - 8), m.start()):
            continue
        called = bool(CALLED.search(text, max(0, m.start() - 30), m.start()))
        model = not called and text.startswith(("款", "型"), m.end())
        if said == "order" and not model and _orderly(m[0], digits, called):
            yield Span("order", *m.span(), CUED)
        elif 12 <= digits <= 24 and digits == len(m[0]) and said in ("", "order"):
            yield Span("order", *m.span(), LONG)


def _orderly(written: str, digits: int, called: bool) -> bool:
    """Whether a word near 'order' is its number: a longer one, one with letters, or one that is called so."""
    if re.fullmatch(r"(?:19|20)\d{2}", written):
        return False
    if re.fullmatch(r"\d+[.,/]\d+|\d+(?:st|nd|rd|th|kg|g|cm|mm|h|GB|TB|ml|l|x)", written):
        return False
    mixed = written.isupper()
    if not mixed and 2 * digits < len(written):
        return False
    if called:
        return digits >= 4 or (mixed and len(written) >= 5)
    return digits >= 6 or (mixed and ((digits >= 5 and written[0].isalpha()) or (digits >= 3 and len(written) >= 7)))
