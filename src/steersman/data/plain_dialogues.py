"""Dialogues in plain text that need no options: turns between marks or tabs, ChatYuan's form, subtitles of calls."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from steersman.data import chatlog, stamps
from steersman.data.chatlog import Said
from steersman.data.containers import Part
from steersman.data.readers import SHOWN, Line, Record, lines_of
from steersman.data.reading import Reading
from steersman.data.speakers import speakers_of

BETWEEN = re.compile(r"(?:(?<!\s)\s++)?(?:__eou__|__eot__|<eou>|<eot>|\[eou\]|<sep>|\[SEP\])\s*", re.I)
"""Pattern of what parts turns that stand on one line, as public sets write it. White space is begun at its beginning
alone: at each of its characters it would be read to its end."""
ASKED, ANSWERED = re.compile(r"\s*用户\s?[:：]"), re.compile(r"(?:^|\\n)\s*小元\s?[:：]")
"""Patterns of the beginnings of turns as ChatYuan's texts have them, with newlines or with \\n between turns."""
MOST = 0.8
"""Share of lines that must have a form for the file to have it."""
CUE = re.compile(
    r"\s*(?:(?P<h>\d{1,2}):)?(?P<m>\d{1,2}):(?P<s>\d{2})[.,]\d{1,3}(?:\s+-->\s.*|,(?:\d{1,2}:){1,2}\d{2}\.\d{1,3}\s*)"
)
"""Pattern of the times above what is said, in WebVTT, SubRip and SBV."""
VOICE = re.compile(r"<v(?:\.[\w.]+)?\s+(?P<who>[^>]{1,60})>\s*(?P<rest>.*?)\s*(?:</v>)?\s*", re.S)
TAG = re.compile(r"</?(?:v|c|i|b|u|lang|ruby|rt|font)\b[^>]*>")


def scan_of(head: Sequence[Line]) -> Callable[[Part, Reading], Iterator[Record]] | None:
    """What reads a text that begins so; None for texts of other forms."""
    texts = [line.text.strip("\ufeff\r\n") for line in head if line.text.strip("\ufeff \t\r\n")]
    if not texts:
        return None
    if texts[0].strip().startswith("WEBVTT") or any(CUE.fullmatch(text) for text in texts[:2]):
        return scan_subtitles
    if sum(BETWEEN.search(text) is not None for text in texts) >= MOST * len(texts):
        return _scan_marked
    if ASKED.match(texts[0]) and any(map(ANSWERED.search, texts)):
        return _scan_chatyuan
    cells = [text.split("\t") for text in texts]
    labelled = all(len(row) > 2 and row[0].strip() in ("0", "1") for row in cells)
    return _scan_tabbed if labelled and len(cells) > 1 else None


def _scan_marked(part: Part, reading: Reading) -> Iterator[Record]:
    yield from _lines(part, reading, lambda text: {"messages": list(filter(None, BETWEEN.split(text.strip())))})


def _scan_chatyuan(part: Part, reading: Reading) -> Iterator[Record]:
    """A dialogue a line, its newlines written \\n; or dialogues with empty lines between: two where there are any, so
    that one may stand between turns."""
    first = next(line for line in lines_of(part, reading) if line.text.strip("\ufeff \t\r\n"))
    if ANSWERED.search(first.text):
        yield from _lines(part, reading, lambda text: {"text": text})
        return
    most = max(gap for _, _, gap, _ in _paragraphs(part, reading))
    wide = most > 1
    ends = (
        "all is one dialogue, as no line is empty",
        "a dialogue ends at an empty line",
        "a dialogue ends at two empty lines",
    )
    reading.tell(f"note: {part.name}: {ends[min(most, 2)]}")
    held: list[str] = []
    start, wrong = 0, ""
    for number, text, gap, error in _paragraphs(part, reading):
        if held and gap > wide and ASKED.match(text):
            yield _joined(start, held, wrong)
            held, wrong = [], ""
        start = start if held else number
        held.append(text)
        wrong = wrong or error
    yield _joined(start, held, wrong)


def _joined(start: int, texts: Sequence[str], error: str) -> Record:
    return Record(start, None if error else {"text": "\n\n".join(texts)}, texts[0][:SHOWN], error)


def _paragraphs(part: Part, reading: Reading) -> Iterator[tuple[int, str, int, str]]:
    """(first line, text, empty lines before it, what is wrong with the first line that cannot be read) of each."""
    held: list[str] = []
    start = gap = before = 0
    wrong = ""
    for line in lines_of(part, reading):
        text = line.text.strip("\ufeff\r\n")
        if text.strip():
            start = start if held else line.number
            held.append(text)
            wrong = wrong or (line.error and f"line {line.number}: {line.error}")
            continue
        if held:
            yield start, "\n".join(held), before, wrong
            held, gap, wrong = [], 0, ""
        gap += start > 0  # not at the beginning of the file
        before = gap
    if held:
        yield start, "\n".join(held), before, wrong


def _scan_tabbed(part: Part, reading: Reading) -> Iterator[Record]:
    """A line is whether its last turn is right (1 or 0), and the turns, between tabs (Douban's and E-commerce's)."""
    reading.tell(f"note: {part.name}: each line begins with 1 or 0, read as whether its last turn is a right answer")
    yield from _lines(part, reading, _labelled)


def _labelled(text: str) -> dict[str, object]:
    label, *turns = text.split("\t")
    if label.strip() not in ("0", "1") or len(turns) < 2:
        raise ValueError("expected 1 or 0 and at least two turns between tabs")
    return {"messages": [turn.strip() for turn in turns], "label": label.strip() == "1"}


def _lines(part: Part, reading: Reading, record: Callable[[str], dict[str, object]]) -> Iterator[Record]:
    for line in lines_of(part, reading):
        text = line.text.rstrip("\r\n")
        if not text.strip():
            continue
        try:
            if line.error:
                raise ValueError(line.error)
            yield Record(line.number, record(text), text[:SHOWN])
        except ValueError as error:
            yield Record(line.number, None, text[:SHOWN], str(error))


def scan_subtitles(part: Part, reading: Reading) -> Iterator[Record]:
    """A call's transcript in WebVTT or SubRip: a voice, or a name before a colon, begins what somebody says."""
    said: list[Said] = []
    at, spoken = None, False
    for line in lines_of(part, reading):
        text = line.text.strip("\ufeff \t\r\n")
        if cue := CUE.fullmatch(text):
            at = stamps.When(None, "", int(cue["h"] or 0) * 3600 + int(cue["m"]) * 60 + int(cue["s"]))
            spoken = True
        elif not text:
            spoken = False
        elif spoken:
            voice = VOICE.fullmatch(text) or chatlog.NAMED.fullmatch(text)
            if voice is not None:
                said.append(Said(line.number, at, voice["who"].strip(), TAG.sub("", voice["rest"]).strip()))
            elif said:
                last = said[-1]
                said[-1] = Said(last.line, last.when, last.who, f"{last.text} {TAG.sub('', text)}".strip())
            else:
                reading.changed["lines outside of messages left out"] += 1
    yield from chatlog.dialogues(said, speakers_of(reading.speakers), part.name, reading)
