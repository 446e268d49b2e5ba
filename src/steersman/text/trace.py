"""All of a dialogue's prompts from one rendering, for templates that write turns one after another.

Rendering every prompt of a long dialogue anew costs the square of its length. Most templates loop over the turns once
and read no turn before they have written the previous one. Whether a template does so is observed while it renders:
it is given turns that report when they are read. The text written before turn `i` is read is the rendering of the
first `i` turns, but for the text after the loop, which is the same for every dialogue if it depends on no turn.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jinja2 import nodes

if TYPE_CHECKING:
    from steersman.text.spans import Spans

TOLD, LATER = "_told", "_later"
"""Names of filters that are inserted: around the turns of the loop; around loop attributes that reveal later turns."""
PAST = frozenset({"index", "index0", "first", "previtem", "cycle", "depth", "depth0"})
GENERATE = "add_generation_prompt"


class Log:
    """Number of turns that a rendering has read, and the characters written before each read."""

    def __init__(self) -> None:
        self.written = 0
        self.before: list[int] = []
        """Characters written before turn 0, 1, ... was looked at."""
        self.open = True
        """Nothing of later turns was looked at yet."""
        self.end = 0
        """Characters written when the loop was over."""

    def look(self, i: int) -> None:
        """Record that turn `i` is read, by the loop or by its index."""
        if i == 1 and not self.before:
            self.before.append(0)  # the loop skips the first turn, which the template writes separately
        if self.open and i == len(self.before):
            self.before.append(self.written)

    def ask(self, i: int) -> None:
        """Record a read of turn `i` by its index; a turn later than the loop's (but the first) closes the log."""
        if i < 0 or i >= max(1, len(self.before)):
            self.open = False

    def later(self) -> None:
        """Record that the template used a property of later turns, maybe of the turn read last."""
        if self.open and self.before:
            self.before.pop()
        self.open = False


class Told:
    """A dialogue's turns that record when they are read. Not a list, so that no code can read it unrecorded."""

    def __init__(self, turns: Sequence[Any], log: Log, start: int = 0) -> None:
        self._turns, self._log, self._start = turns, log, start

    def _each(self) -> Iterator[Any]:
        """The turns for the loop, recording each."""
        for i in range(self._start, len(self._turns)):
            self._log.look(i)
            yield self._turns[i]
        self._log.end = self._log.written

    def __bool__(self) -> bool:
        return True

    def __len__(self) -> int:
        self._log.open = False
        return len(self._turns) - self._start

    def __iter__(self) -> Iterator[Any]:
        self._log.open = False
        return iter(self._turns[self._start :])

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice):
            if key.stop is None and key.step is None and isinstance(key.start, int | None) and (key.start or 0) >= 0:
                return Told(self._turns, self._log, self._start + (key.start or 0))
            self._log.open = False
            return self._turns[self._start :][key]
        if not isinstance(key, int):
            raise TypeError("turns have numbers")
        self._log.ask(key if key < 0 else key + self._start)
        return self._turns[self._start :][key]


def told(value: Any) -> Any:
    """The value of the loop: `Told` turns one by one, other values unchanged."""
    return value._each() if isinstance(value, Told) else value


@dataclass(frozen=True)
class Traced:
    """One rendering of a dialogue of `turns` turns."""

    text: str
    log: Log
    turns: int

    def before(self, i: int) -> int | None:
        """Characters of the first `i` turns' text; None where that text depends on later turns."""
        if i == self.turns:
            return self.log.end if self.log.open else None
        return self.log.before[i] if i < len(self.log.before) else None


class Points:
    """A dialogue's prompts and answers, from one rendering. `tails`: text after the turns before and after an answer.

    Returned texts are cut at the front to the part that tokenising the answer needs.
    """

    def __init__(self, traced: Traced, tails: tuple[str, str], spans: Spans) -> None:
        self._traced, self._tails, self._spans = traced, tails, spans
        self._cuts, self._offsets, self._ids = spans.parts(traced.text[: traced.log.end])

    def at(self, i: int) -> tuple[str, tuple[int, ...], str] | None:
        """(prompt, all its ids, prompt and answer) for the answer in turn `i`; None where it must be rendered alone."""
        text, before, after = self._traced.text, self._traced.before(i), self._traced.before(i + 1)
        earlier = self._traced.before(i - 1)
        if before is None or after is None or earlier is None:
            return None
        near = self._cuts[bisect.bisect_right(self._cuts, earlier) - 1]
        cut = bisect.bisect_right(self._cuts, before) - 1
        start = self._cuts[cut]
        last = self._spans.encode(text[start:before] + self._tails[0], begins=start == 0)
        prompt = text[near:before] + self._tails[0]
        return prompt, self._ids[: self._offsets[cut]] + last, text[near:after] + self._tails[1]


def turnwise(tree: nodes.Template) -> bool:
    """Prepare a template for `Told`; True if one loop writes all turns and the text after it depends on no turn."""
    turns = _names_of_turns(tree)
    loops = [node for node in tree.find_all(nodes.For) if _is_turns(node.iter, turns)]
    at = [i for i, node in enumerate(tree.body) if any(node is loop for loop in loops)]
    if len(loops) != 1 or len(at) != 1 or loops[0].recursive or loops[0].else_:
        return False
    before, after = tree.body[: at[0] + 1], tree.body[at[0] + 1 :]
    if any(name.name == GENERATE for node in before for name in _names(node)):
        return False
    stored = {name.name for name in tree.find_all(nodes.Name) if name.ctx != "load"}
    stored |= {node.name for node in tree.find_all(nodes.NSRef)} | {node.name for node in tree.find_all(nodes.Macro)}
    constant = {
        node.target.name
        for node in tree.body
        if isinstance(node, nodes.Assign) and isinstance(node.target, nodes.Name) and isinstance(node.node, nodes.Const)
    }
    if any(name.name in (stored - constant) | turns for node in after for name in _names(node)):
        return False
    loop = loops[0]
    loop.iter = nodes.Filter(loop.iter, TOLD, [], [], None, None)
    return _mark_later(loop)


def _names(node: nodes.Node) -> list[nodes.Name]:
    return [*([node] if isinstance(node, nodes.Name) else []), *node.find_all(nodes.Name)]


def _is_turns(node: nodes.Node, turns: set[str]) -> bool:
    """Whether an expression is the dialogue's turns, or a slice from some turn on."""
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Slice):
        node = node.node
    return isinstance(node, nodes.Name) and node.name in turns


def _names_of_turns(tree: nodes.Template) -> set[str]:
    """`messages`, and variables to which the turns are assigned."""
    turns = {"messages"}
    while True:
        found = {
            node.target.name
            for node in tree.find_all(nodes.Assign)
            if isinstance(node.target, nodes.Name) and _is_turns(node.node, turns)
        }
        if found <= turns:
            return turns
        turns |= found


def _mark_later(loop: nodes.For) -> bool:
    """Put a filter around attributes of `loop` that reveal later turns; False where `loop` is used in another way."""
    known = 0

    def visit(node: nodes.Node) -> None:
        nonlocal known
        for field, value in node.iter_fields():
            for place, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
                if not isinstance(child, nodes.Node):
                    continue
                visit(child)
                if isinstance(child, nodes.Getattr | nodes.Getitem) and _is_loop(child.node):
                    known += 1
                    name = child.attr if isinstance(child, nodes.Getattr) else getattr(child.arg, "value", "")
                    if name not in PAST:
                        wrapped = nodes.Filter(child, LATER, [], [], None, None)
                        if place is None:
                            setattr(node, field, wrapped)
                        else:
                            value[place] = wrapped

    visit(loop)
    return known == sum(name.name == "loop" for node in loop.body for name in _names(node))


def _is_loop(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Name) and node.name == "loop"
