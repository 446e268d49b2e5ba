"""The form of an assistant's turn in a template (thoughts, words, end of turn), found by rendering samples."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from steersman.text.limits import Exhausted
from steersman.text.spans import Spans
from steersman.text.text2text import escaped
from steersman.types import Conversation, Message

ASK, TELL, THINK = "Zqask", "Zqtell", "Zqthink"
"""Words that no template writes by itself."""
Render = Callable[[Conversation, bool], str]
"""The text of a dialogue as the template writes it, with the generation prompt if asked. It may raise any error."""
END_LIKE = re.compile(r"end|eo[tsm]\b|eo[tsm]_|return|</", re.IGNORECASE)
"""Pattern of the names of end tokens."""
RELATED = {"<|eot_id|>": ("<|eom_id|>", "<|end_of_text|>"), "<|return|>": ("<|call|>",)}
"""Further tokens that end an answer in some families, though a plain dialogue does not contain them."""
TAGS = (("<think>", "</think>"), ("[THINK]", "[/THINK]"), ("<seed:think>", "</seed:think>"))


@dataclass(frozen=True)
class Shape:
    """An assistant's turn: `prompt`, which ends in `beyond`, then `opening`, the words, `closing`, `end`, `after`."""

    prompt: str
    """The text from the user's words to the assistant's: the generation prompt."""
    beyond: str = ""
    """The last part of `prompt` that a finished turn does not contain, such as the mark that begins thoughts."""
    opening: str = ""
    """Text that the model generates before its words when it has no thoughts."""
    closing: str = ""
    end: str = ""
    """The token that ends the turn; '' where the template writes none."""
    after: str = ""
    """Text after `end` when the turn is the last."""
    stops: tuple[str, ...] = ()
    """Further tokens that end an answer."""
    trims: tuple[bool, bool] = (False, False)
    """Whether the template strips white space around the words."""
    thoughts: tuple[str, str] | None = None
    """Text around thoughts, (before, after)."""
    inside: bool = False
    """Whether the generation prompt opens thoughts without closing them."""
    closed: bool = False
    """Whether the generation prompt contains closed, empty thoughts."""
    shows: bool = False
    """Whether a message's thoughts are written, at least in the last turn."""
    escapes: bool = False
    """Whether newlines in words are escaped (`text.text2text`)."""
    again: str = ""
    """Text before a finished turn's words that the generation prompt has as well, after `beyond` or in other white
    space."""

    @property
    def close(self) -> str:
        """The mark that ends thoughts."""
        return self.thoughts[1].strip() if self.thoughts else ""

    def with_thought(self, words: str, thought: str) -> str:
        """The words after thoughts, for templates that drop thoughts."""
        opening, closing = self.thoughts or ("<think>\n", "\n</think>\n\n")
        if closing.strip() in words:  # the template writes empty thoughts
            words = words.partition(closing.strip())[2].lstrip("\n")
        return ("" if self.inside else opening) + thought + closing + words

    def spoken(self, whole: str, said: str) -> str:
        """The text from the last words `said` on, with `opening` where that stands before them."""
        at = whole.rfind(said)
        return self.opening * whole[:at].endswith(self.opening) + whole[at:]

    def without_end(self, text: str, said: str, eos: str) -> str:
        """The text of a last turn with the words `said`, without the end of turn and the text after it."""
        if not self.end:
            return text.removesuffix(self.closing)
        if text.endswith(self.end + self.after):
            return text[: len(text) - len(self.end + self.after)]
        stops = [self.end, *self.stops, eos]
        spoken = text.rfind(said) + len(said) if said in text else 0
        return text[: min((k for stop in stops if (k := text.find(stop, spoken)) >= 0), default=len(text))]


def read_shape(render: Render, source: str, spans: Spans, eos: str) -> Shape:
    """Find a template's shape. Raises ValueError where it drops the assistant's words, else its own errors."""
    asked = Message("user", ASK)

    def attempt(*turns: Message) -> str:
        try:
            return render(Conversation("probe", turns), False)
        except Exhausted:
            raise
        except Exception:  # a template may raise anything
            return ""

    prompt = render(Conversation("probe", (asked,)), True)
    spoken = attempt(asked, Message("assistant", TELL))
    if TELL not in spoken or ASK not in prompt:
        raise ValueError("the chat template does not render what is asked and answered")
    prompt = prompt[prompt.rfind(ASK) + len(ASK) :]
    before, after = _around(spoken, ASK, TELL)
    between = _between(attempt(asked, Message("assistant", TELL), asked))
    thought = attempt(asked, Message("assistant", TELL, thinking=THINK))
    shows = THINK in thought and TELL in thought[thought.find(THINK) :]
    thoughts = _thoughts(thought, prompt) if shows else _mentioned(source, prompt)
    beyond, opening = _part(prompt, before)
    alike = beyond and prompt.split() == before.split()
    again = opening if alike or (beyond and opening and prompt.endswith(opening)) else ""
    opening = opening.removeprefix(again)
    close = thoughts[1].strip() if thoughts else ""
    closed = bool(close) and prompt.rstrip().endswith(close)
    inside = not closed and _opens(prompt, beyond, thoughts)
    if beyond and closed and opening.lstrip().startswith(close):
        opening = opening.lstrip()[len(close) :]
    elif beyond and inside and thoughts and close not in opening:
        opening = thoughts[1] + opening
    closing, end, rest = _end(after, between, spans, eos)
    found = {*_first(between, spans), *RELATED.get(end, ())}
    if not end:
        found |= set(_tool_stop(attempt, asked, spans))
    inner = thought[thought.find(THINK) : thought.rfind(TELL)] if THINK in thought else ""
    spaced = attempt(asked, Message("assistant", f" {TELL} "))
    left, right = spaced.rpartition(TELL)[0], spaced.rpartition(TELL)[2]
    lines = attempt(asked, Message("assistant", f"{TELL}\n{TELL}"))
    return Shape(
        prompt,
        beyond,
        opening,
        closing,
        end,
        rest,
        tuple(sorted(t for t in found if spans.control.fullmatch(t) and t not in inner)),
        (not left.endswith(before[-8:] + " "), not right.startswith(" " + after[:8])),
        thoughts,
        inside,
        closed,
        shows,
        escapes=escaped(f"{TELL}\n{TELL}") in lines,
        again=again,
    )


def _around(text: str, first: str, word: str) -> tuple[str, str]:
    """(text between the last `first` and `word`, text after `word`)."""
    at = text.rfind(word)
    start = text.rfind(first, 0, at) + len(first)
    return text[start:at], text[at + len(word) :]


def _between(text: str) -> str:
    """The text between the assistant's words and the user's next words."""
    if TELL not in text:
        return ""
    rest = text[text.rfind(TELL) + len(TELL) :]
    return rest.partition(ASK)[0] if ASK in rest else ""


def _part(prompt: str, before: str) -> tuple[str, str]:
    """(`beyond`, `opening`): what differs after the common beginning of generation prompt and finished turn."""
    if before.startswith(prompt):
        return "", before[len(prompt) :]
    same = 0
    while same < min(len(prompt), len(before)) and prompt[same] == before[same]:
        same += 1
    for left, right in ("<>", "[]"):
        start = prompt.rfind(left, 0, same)
        if start >= 0 and right not in prompt[start:same]:
            same = start
    return prompt[same:], before[same:]


def _thoughts(thought: str, prompt: str) -> tuple[str, str]:
    """The text that the template writes around thoughts, from a turn with thoughts."""
    head = _around(thought, ASK, THINK)[0]
    tail = thought[thought.rfind(THINK) + len(THINK) : thought.rfind(TELL)]
    opening = _part(prompt, head)[1]
    name = re.match(r"\s*</([^<>\s]+)>", tail)
    if not opening.strip() and name and head.rstrip().endswith(f"<{name[1]}>"):  # the generation prompt wrote it
        opening = head[head.rfind("<") :]
    return opening, tail


def _mentioned(source: str, prompt: str) -> tuple[str, str] | None:
    """The marks of thoughts in the source of a template that writes none, or at the end of its generation prompt."""
    known = (tags for tags in TAGS if tags[1] in source or prompt.rstrip().endswith(tags[0]))
    return next(((f"{left}\n", f"\n{right}\n\n") for left, right in known), None)


def _opens(prompt: str, beyond: str, thoughts: tuple[str, str] | None) -> bool:
    if thoughts is None:
        return False
    opening = thoughts[0].strip()
    if opening:
        return prompt.rstrip().endswith(opening)
    return bool(beyond.strip())


def _end(after: str, between: str, spans: Spans, eos: str) -> tuple[str, str, str]:
    """(`closing`, `end`, `after`) from the texts after the words of a last turn and of an earlier turn."""
    found = spans.control.search(after)
    if found is None:
        first = spans.control.match(between.lstrip())
        written = first is not None and (first[0] == eos or END_LIKE.search(first[0]))
        return after, first[0] if first is not None and written else "", ""
    while (more := spans.control.match(after, found.end())) and (more[0] == eos or END_LIKE.search(more[0])):
        found = more
    return after[: found.start()], found[0], after[found.end() :]


def _first(between: str, spans: Spans) -> Iterator[str]:
    """The token directly after the words, if there is one: it ends the turn."""
    found = spans.control.match(between.lstrip())
    if found is not None:
        yield found[0]


def _tool_stop(attempt: Callable[..., str], asked: Message, spans: Spans) -> Iterator[str]:
    """The token that begins a tool's turn, for templates without an end of turn."""
    call = {"type": "function", "id": "call00001", "function": {"name": "look", "arguments": {"at": "x"}}}
    calling = Message("assistant", "", tool_calls=(call,))
    called = attempt(asked, calling)
    answered = attempt(asked, calling, Message("tool", TELL, name="look", tool_call_id="call00001"))
    if called and answered.startswith(called):
        yield from _first(answered[len(called) :], spans)
