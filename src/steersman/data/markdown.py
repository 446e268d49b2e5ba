"""Markdown and plain text: questions and answers become dialogues, other content text."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from steersman.data import tables
from steersman.data.containers import Part
from steersman.data.formats.field_names import NAMES
from steersman.data.formats.fields import plain
from steersman.data.readers import SHOWN, Line, Record, lines_of
from steersman.data.reading import Reading

_LEAD = r"\s{0,3}(?:#{1,6}\s+|[-*+]\s+|>\s+|\d+[.)、]\s*)?(?:\*\*|__)?\s*"
_TAIL = r"\s*(?:\*\*|__)?\s*[:：.)、]\s*(?:\*\*|__)?\s*"
ASKS = re.compile(rf"{_LEAD}(?:(?:q(?:uestion)?|frage|f|问题?|問題?|提问)\s?\d*){_TAIL}(?P<text>.*)", re.I)
ANSWERS = re.compile(rf"{_LEAD}(?:(?:a(?:nswer)?|antwort|答案?|答复|回答|解答|回复)\s?\d*){_TAIL}(?P<text>.*)", re.I)
HEADING = re.compile(r"(?P<marks>#{1,6})\s+(?P<text>.+?)\s*#*\s*")
BOLD = re.compile(r"\s{0,3}(?:[-*+]\s+|\d+[.)、]\s*)?(?:\*\*|__)(?P<text>[^*]+[?？])(?:\*\*|__)\s*")
SUMMARY = re.compile(
    r"\s*(?:<details>\s*)?<summary>\s*(?:<b>|<strong>)?(?P<text>.+?)(?:</b>|</strong>)?\s*</summary>\s*"
)
UNDER = re.compile(r"={3,}|-{3,}")
RULED = re.compile(r"\|?(?:\s*:?-+:?\s*\|)+(?:\s*:?-+:?\s*)?")
"""Pattern of the line below a table's headings."""
FENCE = re.compile(r"\s{0,3}(```|~~~)")
MATTER = 200
"""Lines of settings at the head of a text, at most."""
SETTING = re.compile(r"\s*$|\s+\S|- |#|[\]}]|\[|[\w.\"' -]{1,60}\s*[:=]")
KEY = re.compile(r"[\"']?[\w.-]{1,60}[\"']?\s*[:=]")
NUMBER = re.compile(
    r"\A(?:\d{1,3}(?:\.\d{1,3})*[.、)）](?!\d)|[一二三四五六七八九十]{1,3}、|[（(][\d一二三四五六七八九十]{1,3}[)）])\s*(?=\S)"
)
"""Pattern of a heading's number."""
QUESTIONS = 0.5
"""Headings of one level that must be questions for a page to count as a list of questions and answers."""
WORDS = re.compile(
    r"(?:how|what|when|where|why|who|which|can|could|do|does|did|is|are|will|would|should|may|wie|was|wann|wo|warum|wer|"
    r"welche[rs]?|kann|können|ist|sind|darf)\b|(?:如何|怎么|怎样|为什么|什么|能否|是否|可以|可否|哪|多久|多少)",
    re.I,
)

Pair = tuple[int, str, str]


def marked_pairs(lines: Sequence[Line]) -> list[Pair]:
    """(line, question, answer) of a text with Q: and A: (问：, 答：) at the starts of lines."""
    found: list[Pair] = []
    question: tuple[int, str] | None = None
    answer: list[str] | None = None
    fence = False
    for line in lines:
        text = line.text.rstrip()
        asks, answers = (None, None) if fence else (ASKS.fullmatch(text), ANSWERS.fullmatch(text))
        fence ^= bool(FENCE.match(text))
        if asks:
            found += _pair(question, answer)
            question, answer = (line.number, _plain(asks["text"])), None
        elif answers and question is not None and answer is None:
            answer = [_plain(answers["text"])]
        elif answer is not None:
            if HEADING.fullmatch(text) and not fence:
                found += _pair(question, answer)
                question, answer = None, None
            else:
                answer.append(text)
        elif question is not None and text.strip():
            question = (question[0], f"{question[1]}\n{text.strip()}".strip())
    return found + _pair(question, answer)


def _pair(question: tuple[int, str] | None, answer: list[str] | None) -> list[Pair]:
    said = _body(answer or [])
    return [(question[0], question[1], said)] if question and question[1] and said else []


def _plain(text: str) -> str:
    """One line without the emphasis around it."""
    text = text.strip()
    inner = re.fullmatch(r"(\*\*|__)(.+)\1", text)
    return (inner[2] if inner else text.removesuffix("**").removesuffix("__")).strip()


def _body(lines: list[str]) -> str:
    text = "\n".join(line for line in lines if not re.fullmatch(r"\s*</?details>\s*", line))
    return re.sub(r"\n{3,}", "\n\n", re.sub(r"(?:\n\s*[-*_]{3,}\s*)+\Z", "", text.strip())).strip()


def heading_pairs(lines: Sequence[Line]) -> list[Pair]:
    """(line, question, answer) of a page whose headings (or bold lines, or summaries) are questions; else nothing."""
    heads: dict[str, list[tuple[int, str]]] = {}
    marks: dict[int, str] = {}
    fence = False
    for i, line in enumerate(lines):
        text = line.text.rstrip()
        fence ^= bool(FENCE.match(text))
        if fence:
            continue
        if match := HEADING.fullmatch(text):
            marks[i] = match["marks"]
        elif match := BOLD.fullmatch(text) or SUMMARY.fullmatch(text):
            marks[i] = "bold"
        if i in marks and match:
            heads.setdefault(marks[i], []).append((i, _plain(match["text"])))
    level = next((m for m, found in heads.items() if len(found) > 1 and _share(found) >= QUESTIONS), None)
    if level is None:
        return []
    out = []
    numbered = all(NUMBER.match(question) for _, question in heads[level])
    for i, question in heads[level]:
        end = next((j for j in sorted(marks) if j > i and (marks[j] == level or _above(marks[j], level))), len(lines))
        answer = _body([line.text.rstrip() for line in lines[i + 1 : end]])
        if answer:
            out.append((lines[i].number, NUMBER.sub("", question) if numbered else question, answer))
    return out


def _atx(lines: Sequence[Line]) -> list[Line]:
    """Lines with headings underlined by '=' or '-' rewritten with '#', in a page without '#' headings."""
    if any(HEADING.fullmatch(line.text.rstrip()) for line in lines):
        return list(lines)
    out: list[Line] = []
    for line in lines:
        under = UNDER.fullmatch(line.text.rstrip())
        above = out[-1].text.strip() if out else ""
        if under and above and above[0] not in "|>-*+`" and (len(out) == 1 or not out[-2].text.strip()):
            out[-1] = replace(out[-1], text=f"{'#' if under[0].startswith('=') else '##'} {above}")
            line = replace(line, text="")
        out.append(line)
    return out


def table_pairs(lines: Sequence[Line]) -> list[Pair]:
    """(line, question, answer) of rows of tables whose headings name columns of questions and answers."""
    out: list[Pair] = []
    columns: tuple[int, int] | None = None
    for above, line in itertools.pairwise(lines):
        cells = cells_of(line.text)
        if RULED.fullmatch(line.text.strip()):
            asks, answers = (
                [i for i, c in enumerate(cells_of(above.text)) if plain(c) in NAMES[role] or words.search(c)]
                for role, words in (("question", tables.ASKS), ("answer", tables.ANSWERS))
            )
            columns = (asks[0], answers[0]) if len(asks) == len(answers) == 1 and asks != answers else None
        elif columns and len(cells) > max(columns) and all(cells[i] for i in columns):
            out.append((line.number, cells[columns[0]], cells[columns[1]]))
        elif not cells:
            columns = None
    return out


def cells_of(text: str) -> list[str]:
    """The cells of a row of a table; none where it is no row."""
    text = text.strip()
    inner = text.removeprefix("|").removesuffix("|")
    parts = re.split(r"(?<!\\)\|", inner) if "|" in text else []
    return [re.sub(r"<br\s*/?>", "\n", part.strip().replace("\\|", "|")) for part in parts]


def _above(mark: str, level: str) -> bool:
    return mark != "bold" and (level == "bold" or len(mark) < len(level))


def _share(found: list[tuple[int, str]]) -> float:
    return sum(text.endswith(("?", "？", "吗", "呢")) or bool(WORDS.match(text)) for _, text in found) / len(found)


def pairs_in(lines: Sequence[Line]) -> list[Pair]:
    """Questions and answers of a text, marked in any known way; [] where the text is no such list."""
    marked = marked_pairs(lines)
    if len(marked) > 1 or (marked and marked[0][0] <= 3):
        return marked
    return heading_pairs(_atx(lines)) or table_pairs(lines)


def outside(lines: Sequence[Line], pairs: list[Pair]) -> int:
    """Number of lines outside of questions and answers, without headings and rows of tables."""

    def letters(text: str) -> str:
        return re.sub(r"[\W_]", "", text)

    said = letters("".join(question + answer for _, question, answer in pairs))
    count = 0
    for text in (line.text.rstrip() for line in lines):
        marked = ASKS.fullmatch(text) or ANSWERS.fullmatch(text) or SUMMARY.fullmatch(text)
        left = letters(NUMBER.sub("", marked["text"] if marked else text))
        count += bool(left) and left not in said and not HEADING.fullmatch(text) and not cells_of(text)
    return count


def scan_markdown(part: Part, reading: Reading) -> Iterator[Record]:
    """Questions and answers as {"question", "answer"}; without any, the whole text as one {"text"} record."""
    lines = []
    for line in lines_of(part, reading):
        if line.error:
            raise ValueError(f"{part.name}:{line.number}: {line.error}")
        lines.append(line)
    if not any(line.text.strip() for line in lines):
        raise ValueError(f"{part.name}: the file is empty; expected at least one record")
    settings = front_matter(line.text for line in lines)[0] if reading.format != "text" else []
    body = lines[len(settings) :]
    if settings:
        reading.changed["lines of settings at the head of Markdown (front matter) left out"] += len(settings)
    pairs = pairs_in(body) if reading.format != "text" else []
    if not pairs:
        text = "".join(line.text for line in body)
        yield Record(1, {"text": re.sub(r"\r\n?", "\n", text).rstrip("\n")}, lines[0].text[:SHOWN].rstrip())
        return
    reading.changed["lines outside of questions and answers left out"] += outside(body, pairs)
    for number, question, answer in pairs:
        yield Record(number, {"question": question, "answer": answer}, f"{question}\n{answer}"[:SHOWN])


def front_matter(lines: Iterator[str]) -> tuple[list[str], Iterator[str]]:
    """(the settings for a page's generator at the head of a text, with their marks; the other lines). A rule above
    words is none: behind the mark, and comments (#), a name with its value follows at once; nor one above a question
    and its answer."""
    head: list[str] = []
    mark, named = "", False
    for line in lines:
        head.append(line)
        if not mark and line.rstrip() in ("---", "+++"):
            mark = line.rstrip()
        elif mark and line.rstrip() == mark and (named or len(head) == 2):
            if any(map(ASKS.match, head)) and any(map(ANSWERS.match, head)):
                break
            return head, lines
        elif not mark or len(head) > MATTER or not SETTING.match(line):
            break
        named = named or bool(KEY.match(line))
        if mark and len(head) > 1 and not named and not line.startswith("#"):
            break
    return [], itertools.chain(head, lines)
