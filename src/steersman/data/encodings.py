"""Guesses a text's encoding from how plausible the decoded text is; refuses when unsure.

UTF-8 is strict enough to be recognised by itself, as are byte order marks and the zeros of UTF-16. Other
text is decoded in every common encoding; each reading gets a cost (-log p in nats of a naive model of the frequencies
of characters and neighbours), and the cheapest is taken if it is far cheaper than all others.

Why so: decision 47 in docs/LOG.md.
"""

from __future__ import annotations

import codecs
import difflib
import encodings.aliases
import functools
import math
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass

from steersman.data import frequencies as chars

AUTO = "auto"
ESCAPES = re.compile(rb"\x1b\$|~\{(?:[\x21-\x77][\x21-\x7e])+~\}")
"""Escapes by which text of ISO-2022 or HZ, otherwise ASCII, is recognised."""
MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    (b"\x84\x31\x95\x33", "gb18030"),
)
"""Byte order marks and their encodings."""
SAMPLE = 1 << 16
PRICED = 20_000
"""Bytes of a sample that are scored: the same bytes in every reading, even if they are fewer characters in some."""
MARGIN, MARGIN_SHARE = 7.0, 0.003
"""The second best reading must cost so many nats more, and by this share of its own cost."""

QUOTES = "’“”–—…‘„"
"""Punctuation that word processors insert in any language."""
WESTERN = QUOTES + "«»€£©®°·•\xa0×²³½´§›‹µ±"
EASTERN = "，。、：；？！（）“”‘’《》「」『』【】〈〉…—·・～〜　％￥－＋＝／％＆＊＃＠①②③④⑤→←●○■□★☆※℃"


@dataclass(frozen=True)
class Language:
    """Characters of a language: `letters`, most frequent first, and `marks`; `start`: p of a run of them."""

    name: str
    letters: str
    marks: str
    start: float
    dense: bool
    """Whether words consist of these characters only, rather than of ASCII with some of them."""
    spread: float
    """p of the character at rank r is proportional to 1 / (r + spread)."""
    rare: float
    """p of an unlisted letter of the language's scripts."""
    mixing: float
    """Additional cost of a letter for each adjacent ASCII letter."""
    most: float
    """Nats per non-ASCII character; a text with a higher mean cost is not in this language."""

    @functools.cached_property
    def costs(self) -> dict[str, float]:
        total = sum(1 / (r + self.spread) for r in range(len(self.letters)))
        out = {mark: -math.log(0.03 if mark in QUOTES else 0.004) for mark in self.marks}
        return out | {c: -math.log(0.93 / (r + self.spread) / total) for r, c in enumerate(self.letters)}

    @functools.cached_property
    def words(self) -> frozenset[str]:
        return frozenset(chars.WORDS.get(self.name, "").split())

    @functools.cached_property
    def scripts(self) -> frozenset[str]:
        return frozenset(script(c) for c in self.letters)


def _latin(name: str, letters: str) -> Language:
    return Language(name, letters, WESTERN, 0.04, False, 1.5, 1e-4, 0, 7.5)


def _alphabet(name: str, letters: str) -> Language:
    return Language(name, letters, WESTERN + "№،؟؛", 0.1, True, 4, 3e-4, 7, 4.8)


CHINESE = Language("Chinese", chars.ZH, EASTERN, 0.05, True, 8, 4e-6, 2.5, 9.5)
TAIWANESE = Language("traditional Chinese", chars.TW, EASTERN, 0.05, True, 8, 4e-6, 2.5, 9.5)
JAPANESE = Language("Japanese", chars.JA, EASTERN, 0.05, True, 8, 4e-6, 2.5, 9.5)
KOREAN = Language("Korean", chars.KO, EASTERN, 0.1, True, 8, 2e-5, 2.5, 9.5)
ENGLISH = _latin("English", chars.ENGLISH)
WEST = (
    ENGLISH,
    *(_latin("German", chars.GERMAN), _latin("French", chars.FRENCH), _latin("Spanish", chars.SPANISH)),
    *(_latin("Portuguese", chars.PORTUGUESE), _latin("Catalan", chars.CATALAN)),
    *(_latin("Italian", chars.ITALIAN), _latin("Nordic", chars.NORDIC)),
)
CENTRAL = (
    *(_latin("Polish", chars.POLISH), _latin("Czech or Slovak", chars.CZECH), _latin("Hungarian", chars.HUNGARIAN)),
    *(_latin("South Slavic", chars.BALKAN), _latin("Romanian", chars.ROMANIAN), ENGLISH, WEST[1]),
)
CYRILLIC = (
    *(_alphabet("Russian", chars.RUSSIAN), _alphabet("Ukrainian", chars.UKRAINIAN)),
    _alphabet("Bulgarian or Serbian", chars.BALKAN_CYRILLIC),
)
GREEK, HEBREW = (_alphabet("Greek", chars.GREEK),), (_alphabet("Hebrew", chars.HEBREW),)
ARABIC, THAI = (_alphabet("Arabic", chars.ARABIC),), (_alphabet("Thai", chars.THAI),)
DENSE = (CHINESE, TAIWANESE, JAPANESE, KOREAN)
TURKISH, BALTIC = (_latin("Turkish", chars.TURKISH),), (_latin("Baltic", chars.BALTIC),)

USUAL = ("gb18030", "big5hkscs", "cp950", "cp932", "cp949", "cp1252", "cp1251", "cp1250")
BIG5 = {"cp950", "big5hkscs"}
"""Two encodings that do not compete: they differ in a few signs, and in characters that costs tell apart."""
ODD_SHOWN = 40
UNUSUAL = 3.0
"""Additional cost of a reading in an unusual encoding."""
KNOWN_WORDS = 8
"""Each known word of a language lowers a reading's cost by 1, at most this many times."""
CANDIDATES: dict[str, tuple[Language, ...]] = {
    "gb18030": (CHINESE, TAIWANESE),
    "cp950": (TAIWANESE,),
    "big5hkscs": (TAIWANESE,),
    "cp932": (JAPANESE,),
    "euc_jp": (JAPANESE,),
    "cp949": (KOREAN,),
    "johab": (KOREAN,),
    "cp1252": WEST,
    "cp1251": CYRILLIC,
    "koi8_r": CYRILLIC,
    "koi8_u": CYRILLIC,
    "cp1250": CENTRAL,
    "iso8859_2": CENTRAL,
    "iso8859_15": WEST,
    "mac_roman": WEST,
    "cp850": WEST,
    "cp437": WEST,
    "cp852": CENTRAL,
    "cp866": CYRILLIC,
    "iso8859_5": CYRILLIC,
    "mac_cyrillic": CYRILLIC,
    "cp855": CYRILLIC,
    "iso8859_16": CENTRAL,
    **dict.fromkeys(("cp1253", "iso8859_7", "mac_greek", "cp737", "cp869"), GREEK),
    **dict.fromkeys(("cp1254", "cp857", "mac_turkish"), TURKISH),
    "cp1257": BALTIC,
    **dict.fromkeys(("cp1255", "cp862"), HEBREW),
    **dict.fromkeys(("cp1256", "iso8859_6"), ARABIC),
    "cp874": THAI,
}
"""Encodings that are tried, and the languages written in them. Among equal readings the first is used."""


@functools.lru_cache(maxsize=4096)
def script(c: str) -> str:
    """The script of a letter by its Unicode name ('latin', 'cjk', 'hiragana', ...), '' for all else."""
    if not unicodedata.category(c).startswith(("L", "M")):
        return ""
    name = unicodedata.name(c, "").split(" ")[0].lower()
    return "kana" if name in ("hiragana", "katakana", "katakana-hiragana") else name


@dataclass(frozen=True)
class Guess:
    """A reading of a sample: its encoding, language, cost and text."""

    encoding: str
    language: str
    cost: float
    text: str
    most: float
    """The cost above which the reading is no text in its language."""


def lookup(name: str) -> str:
    """Python's name of a text encoding that the user named. Raises ValueError that suggests similar names."""
    try:
        info = codecs.lookup(name)
    except (LookupError, ValueError, UnicodeError):
        info = None
    if info is None or not info._is_text_encoding or info.name in ("idna", "punycode", "undefined", "mbcs", "oem"):
        known = sorted({*encodings.aliases.aliases.keys(), *encodings.aliases.aliases.values()})
        near = difflib.get_close_matches(name.lower().replace("-", "_"), known, n=3, cutoff=0.5)
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        raise ValueError(
            f"--encoding {name}: expected auto or a text encoding that Python knows, such as utf-8, gb18030, big5, "
            f"cp1252, latin-1, shift_jis, euc-kr, cp1251{hint}"
        )
    return info.name


def marked(head: bytes) -> str | None:
    """The encoding that a byte order mark at the start names."""
    return next((name for mark, name in MARKS if head.startswith(mark)), None)


def by_zeros(head: bytes) -> str | None:
    """UTF-16 or UTF-32 without a mark, by the positions of zero bytes; None where these are inconclusive."""
    head = head[: len(head) // 4 * 4]
    if not head or head.count(0) * 100 < len(head) or not head.strip(b"\0"):
        return None
    if begins_as_utf8(head) and head.count(0) * 3 < len(head):
        return None  # a text with some zeros in it
    zeros = [head[i::4].count(0) for i in range(4)]
    quarter = len(head) // 4
    for name, empty, full in (("utf-32-le", (2, 3), (0,)), ("utf-32-be", (0, 1), (3,))):
        if all(zeros[i] > 0.99 * quarter for i in empty) and all(zeros[i] < 0.01 * quarter + 1 for i in full):
            return name
    plain = {name: _ascii_in(head, name) for name in ("utf-16-le", "utf-16-be")}
    best, other = sorted(plain, key=lambda name: -plain[name])
    return best if plain[best] > 3 * max(0, plain[other]) else None


def wide(head: bytes) -> str | None:
    """UTF-16 without a mark and with hardly any ASCII, as Chinese alone is: by what its characters cost; None where
    neither order gives text of a language."""
    costs = {}
    for name in ("utf-16-le", "utf-16-be"):
        try:
            text = codecs.getincrementaldecoder(name)("strict").decode(head[:PRICED])
        except UnicodeDecodeError:
            continue
        pairs, beyond = _pairs(text), sum(ord(c) > 127 for c in text)
        languages = (*DENSE, *CYRILLIC, *GREEK, *HEBREW, *ARABIC, *THAI)
        of = min(_cost(pairs, Counter(), lang) / max(1, beyond) - lang.most for lang in languages)
        if beyond > len(text) / 2 and of < 0 and not re.search(r"[\x00-\x08\x0e-\x1f]", text):
            costs[name] = of
    return min(costs, key=lambda name: costs[name]) if costs else None


def _ascii_in(data: bytes, name: str) -> int:
    """Number of ASCII characters of `data` decoded in encoding `name`; -1 if it cannot be decoded or contains NULs."""
    try:
        text = codecs.getincrementaldecoder(name)("strict").decode(data)
    except UnicodeDecodeError:
        return -1
    return -1 if "\0" in text else sum(c.isascii() for c in text)


def mostly_utf8(sample: bytes) -> bool:
    """Whether invalid UTF-8 is valid except for some bytes: a damaged file, not another encoding."""
    beyond = sum(map(len, re.findall(rb"[\x80-\xff]+", sample)))
    text = sample.decode("utf-8", "ignore")
    return len(text.encode()) - len(re.sub(r"[^\x00-\x7f]+", "", text)) > 0.8 * beyond


def few_odd(sample: bytes, before: int) -> bool:
    """Whether of a sample's lines and as many as stand `before` it one alone, or a tenth, is no UTF-8."""
    lines = sample.rstrip(b"\r\n").split(b"\n")
    odd, every = sum(not _is_utf8(line) for line in lines), before + len(lines)
    return odd * 10 <= every or odd == 1 < every


def stray(sample: bytes) -> bytes:
    """The lines that are no UTF-8, where others that are not ASCII are: of files that were put together."""
    lines = sample.split(b"\n")
    others = [line for line in lines if not line.isascii() and not _is_utf8(line)]
    return b"\n".join(others) if others else sample


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def begins_as_utf8(head: bytes) -> bool:
    """Whether the beginning of a file is UTF-8; its last character may be cut."""
    try:
        codecs.getincrementaldecoder("utf-8")("strict").decode(head)
    except UnicodeDecodeError:
        return False
    return True


def is_utf8_beside(line: bytes, encoding: str) -> bool:
    """Whether a line is UTF-8 though the file is in another encoding, since several files were concatenated.

    In a file of a two-byte encoding two bytes may look like one Latin or Greek letter of UTF-8, so there the line must
    have two characters of three bytes.
    """
    if line.isascii() or not _is_utf8(line):
        return False
    text = line.decode("utf-8")
    several = CANDIDATES.get(encoding, WEST)[0] in DENSE
    return not several or sum(c >= "\u0800" for c in text) > 1


def priced(sample: bytes) -> bytes:
    """What of a sample the readings are judged by."""
    lines = [line for line in re.split(rb"[\r\n]+", sample) if re.search(rb"[\x80-\xff]", line)]
    return b"\n".join(lines)[:PRICED]


def guesses(sample: bytes) -> list[Guess]:
    """Readings of a sample that is no UTF-8, the likeliest first, equal texts once. []: no encoding fits."""
    if sample.isascii():
        by, of = ("iso2022_jp", "Japanese") if b"\x1b$" in sample else ("hz", "Chinese")
        return [Guess(by, of, 0.0, sample.decode(by, "replace"), 1.0)]
    data = priced(sample)
    found: dict[str, Guess] = {}
    for name, languages in CANDIDATES.items():
        try:
            text = codecs.getincrementaldecoder(name)("strict").decode(data, False)
        except UnicodeDecodeError:
            continue
        pairs, words = _pairs(text), Counter(re.findall(r"(?<!\w)[a-z]+(?!\w)", text.lower()))
        language, cost = min(((lang, _cost(pairs, words, lang)) for lang in languages), key=lambda item: item[1])
        most = language.most * max(1, sum(1 for c in text if ord(c) > 127))
        guess = Guess(name, language.name, cost + (0 if name in USUAL else UNUSUAL), text, most)
        if text not in found or guess.cost < found[text].cost - UNUSUAL:
            found[text] = guess
    return sorted(found.values(), key=lambda guess: guess.cost)


def sure(found: list[Guess]) -> bool:
    """Whether the first guess is enough better than the others to be taken without asking."""
    if not found or found[0].cost > found[0].most:
        return False
    rivals = [g for g in found[1:] if not {g.encoding, found[0].encoding} <= BIG5]
    return not rivals or rivals[0].cost - found[0].cost > max(MARGIN, MARGIN_SHARE * rivals[0].cost)


def with_later(first: Guess, sample: bytes, later: list[bytes]) -> tuple[str, str, str]:
    """(the encoding of a file whose beginning was read so, another that it may be in, how both read what tells).

    `later`: what stands behind the sample and has bytes that it lacks. Where these show another encoding that reads the
    sample alike, it is that one; where they do not, '' is no other.
    """
    odd = list(dict.fromkeys(line for line in later if not _is_utf8(line)))
    if not odd or CANDIDATES.get(first.encoding, WEST)[0] in DENSE:
        return first.encoding, "", ""
    found = [g for g in guesses(b"\n".join(odd)) if g.encoding not in BIG5 and _alike(g, first, sample)]
    if sure(found):
        return found[0].encoding, "", ""
    rivals = [g for g in found if g.encoding != first.encoding and g.cost <= found[0].cost + MARGIN]
    for rival in sorted(rivals, key=lambda g: g.encoding not in USUAL):
        for line in odd:
            texts = [line.decode(name, "replace") for name in (first.encoding, rival.encoding)]
            if texts[0] != texts[1]:
                shown = " or ".join(repr(text.strip()[-ODD_SHOWN:]) for text in texts)
                return first.encoding, rival.encoding, shown
    return first.encoding, "", ""


def _alike(guess: Guess, first: Guess, sample: bytes) -> bool:
    """Whether a reading is of the first encoding, or reads the sample as that does."""
    if guess.encoding == first.encoding:
        return True
    try:
        return sample.decode(guess.encoding) == sample.decode(first.encoding)
    except UnicodeDecodeError:
        return False


def _pairs(text: str) -> Counter[tuple[str, str, str]]:
    """Counts of non-ASCII characters with their neighbours (before, character, after)."""
    text = f"\n{text}\n"
    return Counter((text[i - 1], c, text[i + 1]) for i, c in enumerate(text) if ord(c) > 127)


def _cost(pairs: Counter[tuple[str, str, str]], words: Counter[str], language: Language) -> float:
    known = sum(n for word, n in words.items() if word in language.words)
    return sum(n * _price(*pair, language) for pair, n in pairs.items()) - min(KNOWN_WORDS, known)


def _price(before: str, c: str, after: str, language: Language) -> float:
    """-log p in nats of one non-ASCII character between its neighbours."""
    costs, kind = language.costs, unicodedata.category(c)
    cost = costs.get(c) or costs.get(c.lower())
    if cost is None:
        if kind in ("Cc", "Cn", "Co", "Cs") or c == "\ufffd":
            return 25.0
        own = script(c) in language.scripts
        cost = -math.log(language.rare if own else 1e-7) if script(c) else -math.log(2e-5)
    if not script(c):
        cost += 5 if c in "£¥¢" and after.isalpha() else 0  # £ukasz
        inside = before.isalpha() and after.isalpha() and c not in "’·・、，。：；"
        return (
            cost
            + (0 if language.dense and ord(before) > 127 else -math.log(0.05))
            + (5 if inside and not language.dense else 0)
        )
    if kind == "Lu":
        cost += 7 if before.islower() else 1.2 if before.isupper() else 0.7
    elif kind == "Ll" and before.isupper() and ord(before) < 128 and after.isupper():
        cost += 4
    if not language.dense:
        alone = not (before.isalpha() or after.isalpha() or c in "àèéòóáÀÈÉÓÁ")
        return cost - math.log(language.start) + (3 if alone else 0)
    if script(before) in language.scripts or before in language.marks:
        return cost
    beside = (before.isascii() and before.isalpha()) + (after.isascii() and after.isalpha())
    return cost - math.log(language.start) + beside * language.mixing
