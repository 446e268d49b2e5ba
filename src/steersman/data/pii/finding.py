"""A place in a text with personal data, and the choice among places that overlap."""

from __future__ import annotations

import bisect
import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass

KINDS = ("name", "phone", "id", "card", "iban", "address", "email", "order", "account")
"""Kinds of personal data. `order`: numbers of orders, parcels, invoices, tickets and customers; `account`: of messengers
and networks (WeChat, QQ, Telegram)."""

SURE, CUED, FORMED, LIKELY, LONG = 100, 90, 75, 60, 40
"""Scores: a checksum or a form of its own; words that announce it; a form of one kind; one that others may have; length."""


@dataclass(frozen=True, slots=True)
class Span:
    """text[start:end] is personal data of `kind`."""

    kind: str
    start: int
    end: int
    score: int = SURE


def settled(spans: Iterable[Span]) -> list[Span]:
    """The spans of the best score, the longest first, without those that overlap a better one; in the text's order."""
    kept: list[Span] = []
    for span in sorted(spans, key=lambda s: (-s.score, s.start - s.end, s.start)):
        at = bisect.bisect_left(kept, span.end, key=lambda s: s.start)  # those before it begin before this one ends
        if not at or kept[at - 1].end <= span.start:
            kept.insert(at, span)
    return kept


HAN = "\u3400-\u4dbf\u4e00-\u9fff"
ALONE = r"(?<![A-Za-z0-9ÄÖÜäöüß])"
"""Nothing of a word before; Chinese characters may stand there."""
NO_MORE = r"(?![A-Za-z0-9ÄÖÜäöüß])"

CUES = {
    "phone": (
        r"手机|电话|联系方式|号码是|致电|来电|拨打|打给|座机|固话|热线|传真|微信|打(?:我|这个|给我)?(?=\s*\Z)|"
        r"\b(?:phone|mobile|cell|tel|telephone|call|ring|text|sms|whatsapp|fax|contact number|hotline|reach)(?:ed|ing)?\b|"
        r"\b(?:telefon\w*|tel|handy\w*|mobil\w*|ruf\w*|anruf\w*|rückruf\w*|anzurufen|zurückrufen|erreich\w*|fax\w*|durchwahl)\b"
    ),
    "id": (
        r"身份证|证件|护照|驾照|驾驶证|居住证|社保|车架号|"
        r"\b(?:social security|ssn|national insurance|ni number|nino|passport|driver'?s licen[sc]e|driving licen[sc]e|"
        r"id card|identity card|tax id|national id|vin|medicare number|nhs number)\b|"
        r"\b(?:(?:personal)?ausweis\w*|reisepass\w*|führerschein\w*|steuer-?\s?id\w*|steueridentifikations\w*|steuer-?identifikation\w*|idnr|"
        r"sozialversicherung\w*|versicherungsnummer|sv-?nummer|svnr|ahv\w*|personalausweis\w*|fahrgestellnummer|fahrzeug-?ident\w*)"
    ),
    "card": (
        r"工资卡|我的卡|这张卡|那张卡|卡里|卡上|银行卡|信用卡|储蓄卡|借记卡|卡号|银行账号|银行账户|账号|账户|开户|"
        r"\b(?:credit card|debit card|card number|card no|card ending|visa|mastercard|amex|american express|account number|"
        r"account no|sort code|routing number|bank account|my card|the card)\b|"
        r"\b(?:kreditkarte\w*|kartennummer\w*|ec-?karte\w*|girokarte\w*|bankkarte\w*|kontonummer\w*|konto-?nr|blz|bankleitzahl|debitkarte\w*)"
    ),
    "iban": r"\biban\b",
    "order": (
        r"订单|运单|快递|物流|单号|工单|流水号|交易号|发票|会员号|会员编号|客户号|客户编号|取件码|预订号|预订编号|预约号|参考号|追踪|跟踪号|包裹|账单号|"
        r"受理号|受理编号|退款编号|退货编号|编号|"
        r"\b(?:order|purchase|tracking|invoice|booking|reservation|confirmation|reference|ref|ticket|case|shipment|parcel|"
        r"package|transaction|return|rma|customer (?:number|no|id)|member(?:ship)?(?: number| no| id)?|delivery|claim)s?\b|"
        r"\b(?:bestell\w*|auftrag\w*|sendung\w*|sendungs\w*|rechnung\w*|kunden-?(?:nummer|nr|id)\w*|vorgang\w*|buchung\w*|"
        r"reservierung\w*|referenz\w*|trackingnummer\w*|paket\w*|ticket\w*|retoure\w*|liefer\w*|vertrag\w*|transaktion\w*|"
        r"lieferschein\w*|mitgliedsnummer|aktenzeichen)"
    ),
    "none": r"[¥￥$€£]|\b(?:usd|eur|euro|chf|rmb|gbp)\b|价格|金额|余额|共计|总价|型号|版本|积分|尾号|\b(?:price|amount|total|balance|model|version|preis|betrag|summe|modell)\b",
}
"""Words that announce a number, in small letters -> its kind; `none`: numbers that are nobody's."""
CUE = re.compile("|".join(f"(?P<{kind}>{words})" for kind, words in CUES.items()))
BEFORE, BEHIND = 48, 24
"""Characters in which a cue is looked for."""
NUMBER = re.compile(r"\d[\d\- ]{3,}")
END = re.compile(r"[。！？!?；;\n]|(?<![Nn]r)(?<!\b[Nn]o)(?<!\bNum)(?<!\bTel)(?<!\bRef)\.\s")
BACKWARDS = re.compile(
    r"\s*[)）]?\s*(?:,\s*)?(?:(?:这|那)?(?:就)?是(?:我|本人)?的?|为我的|is my|is the|was my|was the|that'?s my|ist meine?|ist die|lautet meine?|war meine?|[(（])"
)
"""What stands between a number and a cue behind it."""


ANSWERED = re.compile(
    r"(?i:\W*(?:(?:yes|yeah|sure|ok|okay|of course|certainly|hi|it'?s|it is|that'?s|that is|the|my|number|order|reference|ref|id|is|here|you|go|ja|gerne|natürlich|"
    r"klar|die|der|das|sie|er|es|meine?|nummer|ist|lautet|auftragsnummer|bestellnummer|hier)\W+)*|[^,，.。?？]{0,30}[,，]\s*|[\s\S]{0,12}[是为：:]\s*|(?:好的|可以|嗯|行|没问题|您好|你好|喂|号码|编号|单号|我的)*[，,。 ]*)\Z"
)
"""What stands before a number that answers a question."""
ENOUGH = re.compile(r"\s*(?:\Z|[^\w\s]|please|pls|thanks|thank|bitte|danke|谢|[\u4e00-\u9fff]|\n)", re.I)
"""What stands behind it."""
CLAUSE = re.compile(r"[，。！？,!?；;\n]|\.\s")
COMMA = re.compile(r"[，,、]")


@functools.lru_cache(maxsize=1 << 12)
def announced(text: str, start: int, end: int, before: str = "") -> str:
    """The kind that words near text[start:end] announce, the nearest; '' where there are none.

    `before` is what was said before this text: a question that a bare number answers.
    """
    left = text[max(0, start - BEFORE) : start].lower()
    cut = max((m.end() for m in NUMBER.finditer(left)), default=0)  # what stands before another number is that one's
    cues = list(CUE.finditer(left, cut))
    cue = cues[-1] if cues else None
    if cue is not None and (
        END.search(left, cue.end()) or (len(left) - cue.end() > 12 and COMMA.search(left, cue.end()))
    ):
        cue = None
    if cue is not None:
        return cue.lastgroup or ""
    behind = BACKWARDS.match(text, end)
    stop = CLAUSE.search(text, behind.end(), behind.end() + BEHIND) if behind else None
    limit = stop.start() if stop else len(text) if behind is None else behind.end() + BEHIND
    if behind and (after := CUE.search(text[behind.end() : limit].lower())):
        return after.lastgroup or ""
    if before and len(text) - end <= BEFORE and ANSWERED.match(text[:start]) and ENOUGH.match(text, end):
        asked = [m for m in CUE.finditer(before[-4 * BEFORE :].lower()) if m.lastgroup != "none"]
        return (asked[-1].lastgroup or "") if asked else ""
    return ""
