"""Runs chat templates, which are programs, under limits of time and size.

`text.trial` tries a template once, before it is used. It may behave otherwise with other dialogues, so each rendering
has limits as well: loops, calls and filters check the clock, and the size of every value
that is assigned or passed on is checked. Where a result may be huge (a string repeated a billion times), its size is
computed beforehand. No other process or signal is needed, so the limits hold in every thread.
"""

from __future__ import annotations

import datetime
import functools
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any, TypeVar

from jinja2 import nodes
from jinja2.runtime import Context, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

from steersman.text.trace import Log

SECONDS = 5.0
"""Seconds of processor time for one rendering."""
TEXT, TIMES = 1 << 20, 64
"""A rendering may have TEXT + TIMES * (characters of the dialogue) characters."""
SOURCE = 1 << 20
"""Characters of a template."""
BITS = 4096
LONG = 1024
"""Number of items from which a loop checks the clock at each item."""
FILTERS = ("center", "indent", "wordwrap", "batch", "slice", "tojson", "format", "replace", "join")
WIDE = frozenset((*FILTERS, "ljust", "rjust", "zfill", "expandtabs"))
"""Filters and methods whose result may be larger than their input."""
WIDTH = re.compile(r"\d{5,}")
T = TypeVar("T")


class Exhausted(Exception):
    """A template took more time or space than its dialogue can need."""


class Meter(threading.local):
    """Time and size left to this thread's current rendering, and the date that it sees."""

    deadline = float("inf")
    most = TEXT
    day: datetime.datetime | None = None
    log: Log | None = None

    def __init__(self) -> None:
        self._weights: dict[int, tuple[Any, int]] = {}

    def start(self, given: int, day: datetime.datetime | None) -> None:
        """Begin a rendering of `given` characters."""
        self.deadline, self.most, self.day = time.thread_time() + SECONDS, TEXT + TIMES * given, day
        self._weights = {}

    def tick(self) -> None:
        if time.thread_time() > self.deadline:
            raise Exhausted(f"takes more than {SECONDS:g} s of processor time")

    def limit(self, size: int) -> None:
        if size > self.most:
            raise Exhausted(f"makes more than {self.most} characters")

    def weigh(self, value: T) -> T:
        """Return `value`; Exhausted if it is too large."""
        self.limit(self._weight(value))
        return value

    def _weight(self, value: Any) -> int:
        """Characters of a value as text; an item contained several times counts each time."""
        if isinstance(value, str | bytes):
            return len(value)
        if isinstance(value, int):
            return value.bit_length() // 3
        if not isinstance(value, list | tuple | dict):
            return 1
        known = self._weights.get(id(value))
        if known is None:
            held = [*value, *value.values()] if isinstance(value, dict) else list(value)
            self._apart(held)
            known = self._weights[id(value)] = value, len(held) + sum(map(self._weight, held))
            self.limit(known[1])
        return known[1]

    def _apart(self, held: Iterable[Any]) -> None:
        """Refuse namespaces inside a weighed value: they can change after they were weighed."""
        if any(isinstance(one, Namespace) for one in held):
            raise Exhausted("puts namespaces into other values")

    def hold(self, value: T) -> T:
        """`value` as part of a namespace."""
        self._apart((value,))
        return self.weigh(value)

    def count(self, rounds: Any) -> Any:
        """The items of a loop, checking the clock."""
        self.tick()
        return self._counted(rounds) if not isinstance(rounds, Sized) or len(rounds) > LONG else rounds

    def _counted(self, rounds: Iterable[T]) -> Iterator[T]:
        for item in rounds:
            self.tick()
            yield item

    def widens(self, name: str, value: Any, args: Iterable[Any]) -> None:
        """Exhausted if the result of filter or method `name` on `value` would be too large."""
        if name == "replace" and isinstance(value, str):
            old, new = (str(arg) for arg in tuple(args)[:2])
            return self.limit(value.count(old) * len(new))
        if name == "join":
            between, parts = (value, next(iter(args), ())) if isinstance(value, str) else (next(iter(args), ""), value)
            return self.limit(len(str(between)) * (len(parts) if isinstance(parts, Sized) else 0))
        if name == "format" and isinstance(value, str) and WIDTH.search(value):
            raise Exhausted("formats text to a width beyond reason")
        for arg in args:
            if isinstance(arg, int) and arg > LONG // 4:
                self.limit(arg * max(1, self._weight(value)))
        return None


class Limited(ImmutableSandboxedEnvironment):
    """Jinja's sandbox with a meter."""

    intercepted_binops = frozenset({"*", "**", "%"})

    def __init__(self, given: Any) -> None:
        """Copy filters, tests, functions and tags from `given`, transformers' environment."""
        tags = [type(extension) for extension in given.extensions.values()]
        super().__init__(trim_blocks=given.trim_blocks, lstrip_blocks=given.lstrip_blocks, extensions=tags)
        self.meter = Meter()
        self.tests.update(given.tests)
        self.globals.update(given.globals)
        self.globals["strftime_now"] = self._now
        self.globals.pop("lipsum", None)
        self.filters.update({name: self._limited(name, run) for name, run in given.filters.items()})
        self.filters.update(_weighed=self.meter.weigh, _held=self.meter.hold, _counted=self.meter.count)

    def _now(self, form: str) -> str:
        if WIDTH.search(form):
            raise Exhausted("formats a date to a width beyond reason")
        return (self.meter.day or datetime.datetime.now()).strftime(form)

    def _limited(self, name: str, run: Callable[..., Any]) -> Callable[..., Any]:
        first = 1 if getattr(run, "jinja_pass_arg", None) is not None else 0

        @functools.wraps(run)
        def limited(*args: Any, **named: Any) -> Any:
            self.meter.tick()
            if name in WIDE and len(args) > first:
                self.meter.widens(name, args[first], (*args[first + 1 :], *named.values()))
            return run(*args, **named)

        return limited

    def call(__self, __context: Context, __obj: Any, *args: Any, **named: Any) -> Any:
        meter = __self.meter
        meter.tick()
        for arg in (*args, *named.values()):
            meter.weigh(arg)
        if __obj is __self.globals["namespace"]:
            meter._apart((*args, *named.values()))
        name = getattr(__obj, "__name__", "")
        if name in WIDE and isinstance(on := getattr(getattr(__obj, "__wrapped__", __obj), "__self__", None), str):
            meter.widens(name, on, (*args, *named.values()))
        made = super().call(__context, __obj, *args, **named)
        return meter.weigh(made) if isinstance(__obj, Macro) else made

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "**" or (operator == "*" and isinstance(left, int) and isinstance(right, int)):
            bits = [abs(n).bit_length() if isinstance(n, int) else 1 for n in (left, right)]
            if (bits[0] * min(abs(right), BITS) if operator == "**" and isinstance(right, int) else sum(bits)) > BITS:
                raise Exhausted("computes numbers beyond reason")
        elif operator == "*":
            times, what = (left, right) if isinstance(left, int) else (right, left)
            self.meter.limit(max(0, times) * self.meter._weight(what) if isinstance(times, int) else 0)
        elif isinstance(left, str):
            self.meter.widens("format", left, right if isinstance(right, tuple) else (right,))
        return super().call_binop(context, operator, left, right)


class _Weighing(NodeTransformer):
    """Adds calls of the meter to a template's loops and assignments."""

    def _filtered(self, node: Any, name: str) -> nodes.Filter:
        return nodes.Filter(node, name, [], [], None, None, lineno=getattr(node, "lineno", 1))

    def visit_For(self, node: nodes.For) -> nodes.Node:
        node.iter = self._filtered(node.iter, "_counted")
        return self.generic_visit(node)

    def visit_Assign(self, node: nodes.Assign) -> nodes.Node:
        name = "_held" if isinstance(node.target, nodes.NSRef) else "_weighed"
        node.node = self._filtered(node.node, name)
        return self.generic_visit(node)

    def visit_AssignBlock(self, node: nodes.AssignBlock) -> nodes.Node:
        node.filter = self._filtered(node.filter, "_weighed")
        return self.generic_visit(node)

    def visit_With(self, node: nodes.With) -> nodes.Node:
        node.values = [self._filtered(value, "_weighed") for value in node.values]
        return self.generic_visit(node)

    def _long(self, node: Any) -> nodes.Node:
        """A chain of many texts is weighed as it grows."""
        many = sum(1 for _ in node.find_all(nodes.Name)) > 64
        self.generic_visit(node)
        return self._filtered(node, "_weighed") if many else node

    visit_Add = visit_Concat = _long


def weighed(tree: nodes.Template) -> nodes.Template:
    """The template with calls of the meter added."""
    _Weighing().visit(tree)
    return tree
