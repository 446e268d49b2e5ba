"""Earlier mails quoted in a mail: lines with '>', what a mail program writes above them, blocks of headers."""

# ruff: noqa: E501

from __future__ import annotations

import re

ATTRIBUTION = re.compile(
    r"\s*+(?:>\s*+)*+(?:on\b(?=\D{1,60}\d).{4,200}\bwrote|am\b(?=\D{1,60}\d).{4,200}\bschrieb\b.{0,120}|"
    r".{2,80}<[^<>\s]+@[^<>\s]+>\s*(?:wrote|schrieb|写道|[於于].{4,60}(?:寫道|写道)|hat am .{4,60} geschrieben)|"
    r"(?:在|于|於)\s?\d{4}.{4,120}(?:写道|寫道|写到)|\d{4}年\d{1,2}月\d{1,2}日.{0,120}(?:写道|寫道|写到|<[^<>\s]+@[^<>\s]+>)|le .{4,120} a écrit)\s*[:：]\s*",
    re.I | re.S,
)
"""Pattern of the one or two lines above a quoted mail."""
OPENS = re.compile(r"\s*+(?:>\s*+)*+(?:on\b|am\b|在|于|於|\d{4}年|le\b)", re.I)
"""Pattern of the first line of several."""
BAR = re.compile(
    r"\s*+(?:>\s*+)*+[-_—–=*]{2,}(?:\s|&nbsp;)*(?:original(?:e)?[ -]?(?:message|appointment|nachricht)?|ursprüngliche (?:nachricht|e-?mail)|"
    r"forwarded message|weitergeleitete nachricht|begin forwarded message|原始邮件|原始郵件|转发邮件|轉寄的郵件|邮件原件|Original|on .{4,160} wrote)"
    r"(?:\s|&nbsp;)*[-_—–=*]*\s*",
    re.I,
)
"""Pattern of the line between a mail and the one that it answers or forwards."""
ABOVE = re.compile(
    r"\s*+#*+-*+\s*+(?:please (?:type|write|enter) your reply above this line|bitte antworten sie oberhalb dieser zeile|"
    r"reply above this line|请在此(?:行|线)(?:以)?上(?:方)?回复)\s*-*#*\s*",
    re.I,
)
"""Pattern of a help desk's line above which people answer."""
HEADER = re.compile(
    r"\s*+\*?(?:from|sent|to|cc|subject|date|von|gesendet|an|betreff|datum|发件人|發件人|寄件者|[发發]送时间|发件时间|已发送|傳送時間|寄件日期|"
    r"收件人|收件者|抄\s?送|副本|主\s?题|主\s?題|主旨|日\s?期)\*?\s*[:：]\*?\s*\S.*",
    re.I,
)
FIRST = re.compile(r"\s*+\*?(?:from|von|gesendet|发件人|發件人|寄件者)\*?\s*[:：]", re.I)
HEADERS = 3
"""Lines like 'From: ...' in a row that are a quoted mail's head."""


def without_quotes(text: str) -> tuple[str, list[str]]:
    """(what its writer wrote, the quoted pieces).

    Below a head of another mail everything is quoted; below 'X wrote:' the lines with '>' are, and where there are
    none, everything. Answers between quoted lines stay.
    """
    lines = text.split("\n")
    end = next((i for i in range(len(lines)) if _ends(lines, i)), len(lines))
    kept: list[str] = []
    removed: list[str] = ["\n".join(lines[end:])] if end < len(lines) else []
    piece: list[str] = []
    skip = 0
    lines = lines[:end]
    for i, line in enumerate(lines):
        above = skip or _attribution(lines, i)
        if line.lstrip().startswith((">", "&gt;")) or above:
            skip = max(0, (above or 1) - 1)
            piece.append(line)
            continue
        if piece and line.strip():
            removed.append("\n".join(piece))
            piece = []
        kept.append(line)
    removed += ["\n".join(piece)] if piece else []
    removed = [r for r in removed if r.strip()]
    return (re.sub(r"(?:\n\s*[-_=—]{2,}\s*)+\Z", "", "\n".join(kept)).strip(), removed) if removed else (text, [])


def _lines_of(lines: list[str], i: int) -> int:
    """How many lines from `i` on are an attribution; 0: none is."""
    most = 3 if OPENS.match(lines[i]) else 1
    return next((n for n in range(1, most + 1) if ATTRIBUTION.fullmatch(" ".join(lines[i : i + n]))), 0)


def _attribution(lines: list[str], i: int) -> int:
    """How many lines from `i` on say whom the quoted lines below are of."""
    if not lines[i].strip():
        return 0
    if count := _lines_of(lines, i):
        below = next((line for line in lines[i + count :] if line.strip()), ">")
        return count if below.lstrip().startswith((">", "&gt;")) else 0
    return 0


def _ends(lines: list[str], i: int) -> bool:
    """Whether all from line `i` on is an earlier mail."""
    line = lines[i]
    if BAR.fullmatch(line) or ABOVE.fullmatch(line):
        return True
    if FIRST.match(line) and sum(bool(HEADER.fullmatch(x)) for x in lines[i : i + HEADERS + 2]) >= HEADERS:
        return True
    if not line.strip():
        return False
    if count := _lines_of(lines, i):
        return not any(x.lstrip().startswith((">", "&gt;")) for x in lines[i + count :])
    return False
