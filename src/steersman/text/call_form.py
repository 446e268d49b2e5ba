"""How a family of models writes calls of tools in its answers, and reading them back, whole or as they come.

A form is learned from the chat template by rendering a call (`text.call_probe`), so no family is named here: calls are
JSON with the name inside (Hermes, Qwen, Llama, Granite, Cohere), JSON behind the name (Mistral, Kimi, Functionary),
named values (Qwen Coder, GLM, MiniMax, DeepSeek, Gemma) or Python (LFM).

A form that does not read its own sample back is none, and requests with tools are refused. Of 80 renderings of calls by
published templates 75 are read back exactly; the others write nested lists as tags, a name twice, or quotes unescaped.
"""

from __future__ import annotations

import ast
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from steersman.parts import Json, ToolCall

Kind = Literal["json", "behind", "keyed", "python"]
NAME = r"[^\s<>\[\](){}\"'=|,:\0]+"
MOST = 200_000
"""Characters of calls that are read; a longer text stays text."""
_TRIES = 20
"""Places at which calls in Python may end."""
_JSON = json.JSONDecoder()


@dataclass(frozen=True)
class CallForm:
    """`marker` begins the calls in an answer ('': the answer is the call). The patterns are regular expressions."""

    kind: Kind
    marker: str
    name_key: str = ""
    """kind json: the member that holds the name; '': the name is itself a member, whose value is the arguments."""
    arguments_key: str = ""
    head: str = ""
    """kinds behind and keyed: what comes before the arguments, with a group `name`."""
    tail: str = ""
    """kind keyed: what ends a call."""
    item: str = ""
    """kind keyed: one argument, with groups `key`, and `text` or `bare`, which is no string."""
    quote: str = ""
    """kind keyed: what is around strings."""

    @property
    def tells(self) -> bool:
        """Whether strings are told from other values by how they are written, not by the tool's schema alone."""
        return "(?P<bare>" in self.item

    def read(self, text: str, tools: Sequence[Json]) -> tuple[list[tuple[str, str]], int]:
        """((name, arguments as JSON) of the whole calls in a text that begins with the marker, where the last ends)."""
        calls: list[tuple[str, str]] = []
        end = 0
        for name, arguments, after in self._each(text[:MOST], tools):
            calls.append((name, arguments))
            end = after
        return calls, end

    def _each(self, text: str, tools: Sequence[Json]) -> Iterator[tuple[str, str, int]]:
        match self.kind:
            case "json":
                yield from self._objects(text, len(self.marker) if text.startswith(self.marker) else 0)
            case "behind":
                for found in re.finditer(self.head, text):
                    value = _decoded(text, found.end())
                    if value is not None and isinstance(value[0], dict):
                        yield found["name"], _told(value[0]), value[1]
            case "keyed":
                yield from self._keyed(text, tools)
            case "python":
                yield from _python(text)

    def _keyed(self, text: str, tools: Sequence[Json]) -> Iterator[tuple[str, str, int]]:
        at = 0
        while (head := re.compile(self.head).search(text, at)) is not None:
            tail = re.compile(self.tail).search(text, head.end())
            if tail is None:
                return
            at = tail.end()
            yield head["name"], _told(self._arguments(head["name"], text[head.end() : tail.start()], tools)), at

    def _objects(self, text: str, at: int) -> Iterator[tuple[str, str, int]]:
        opening = "[\\[{]"
        while (begin := re.compile(opening).search(text, at)) is not None:
            value = _decoded(text, begin.start())
            if value is None and text[begin.start()] == "{":
                return
            at = begin.end() if value is None else value[1]
            if value is None:  # a list that has not ended: its objects are read one by one
                opening = "{"
                continue
            for one in value[0] if isinstance(value[0], list) else [value[0]]:
                if (call := self._object(one)) is not None:
                    yield *call, at

    def _object(self, one: Any) -> tuple[str, str] | None:
        if not isinstance(one, dict):
            return None
        if not self.name_key:
            return next(((name, _told(given)) for name, given in one.items() if isinstance(given, dict)), None)
        name = one.get(self.name_key)
        given: Any = next((one[k] for k in (self.arguments_key, "arguments", "parameters") if k in one), {})
        if isinstance(given, str):  # a string of JSON, as OpenAI has it
            value = _decoded(given, 0)
            given = value[0] if value is not None else None
        return (name, _told(given)) if isinstance(name, str) and isinstance(given, dict) else None

    def _arguments(self, name: str, text: str, tools: Sequence[Json]) -> Json:
        said = _schema(name, tools)
        out: Json = {}
        for found in re.finditer(self.item, text, re.DOTALL):
            value, bare = found["text"], found.groupdict().get("bare")
            if value is not None and (self.tells or "string" in _types(said.get(found["key"]))):
                out[found["key"]] = value.removeprefix("<![CDATA[").removesuffix("]]>")
            else:
                out[found["key"]] = _typed((bare or value or "").replace(self.quote or "\0", '"'))
        return out


def _decoded(text: str, at: int) -> tuple[Any, int] | None:
    try:
        return _JSON.raw_decode(text, at)
    except (ValueError, RecursionError):
        return None


def _told(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _schema(name: str, tools: Sequence[Json]) -> Mapping[str, Any]:
    """The properties of a tool's parameters."""
    for tool in tools:
        function = tool.get("function")
        if isinstance(function, Mapping) and function.get("name") == name:
            parameters = function.get("parameters")
            found = parameters.get("properties") if isinstance(parameters, Mapping) else None
            return found if isinstance(found, Mapping) else {}
    return {}


def _types(schema: Any) -> tuple[str, ...]:
    """The types that a property's schema admits, none where it does not say."""
    kind = schema.get("type") if isinstance(schema, Mapping) else None
    return tuple(kind) if isinstance(kind, list) else (str(kind),)


def _typed(value: str) -> Any:
    """What JSON, or else Python, makes of a value that was written without quotes; a string where they make nothing."""
    value = value.strip()
    found = _decoded(value, 0)
    if found is not None and found[1] == len(value):
        return found[0]
    try:
        made = ast.literal_eval(value)
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        return value
    return made if isinstance(made, str | int | float | bool | list | dict | None) else value


def _python(text: str) -> Iterator[tuple[str, str, int]]:
    """Calls as Python writes them, in brackets: [f(a='b'), g(c=1)]."""
    begin = text.find("[")
    for found in itertools.islice(re.finditer(r"\)\s*\]", text), _TRIES):
        try:
            tree = ast.parse(text[begin : found.end()].strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        for call in tree.elts if isinstance(tree, ast.List) else ():
            if isinstance(call, ast.Call):
                try:
                    given = {one.arg: ast.literal_eval(one.value) for one in call.keywords if one.arg}
                    yield ast.unparse(call.func), _told(given), found.end()
                except (ValueError, TypeError):
                    continue
        return


@dataclass
class CallReader:
    """Tells words from calls in an answer that comes in pieces. Calls get ids; text that only looks like the beginning
    of calls comes out as text at the end, nothing is lost."""

    form: CallForm
    tools: Sequence[Json]
    new_id: Any
    _held: str = ""
    _reading: bool = False
    _called: bool = False

    def feed(self, piece: str) -> list[str | ToolCall]:
        self._held += piece
        if not self._reading:
            return self._words()
        # a call ends with one of these; to read again after each piece of a long one would take for ever
        return self._calls(done=False) if re.search(r"[>}\])]", piece) else []

    def _words(self) -> list[str | ToolCall]:
        marker, held = self.form.marker, self._held
        if not marker:
            begun = held.lstrip()[:1]
            if begun and begun not in "{[":
                self._held = ""
                return [held]
            self._reading = bool(begun)
            return self._calls(done=False) if begun else []
        at = held.find(marker)
        if at < 0:
            keep = next((n for n in range(min(len(marker) - 1, len(held)), 0, -1) if held.endswith(marker[:n])), 0)
            # white space before calls belongs to them
            safe = len(held[: len(held) - keep].rstrip()) if keep or held[-1:].isspace() else len(held)
            self._held = held[safe:]
            return [held[:safe]] if safe else []
        self._held, self._reading = held[at:], True
        words = held[:at].rstrip()
        return [*([words] if words else []), *self._calls(done=False)]

    def _calls(self, done: bool) -> list[str | ToolCall]:
        """The calls that are whole by now; their text is not read again."""
        found, end = self.form.read(self._held, self.tools)
        if not self.form.marker:
            known = {t.get("function", {}).get("name") for t in self.tools}
            found = found if all(name in known for name, _ in found) else []
        if found:
            self._held, self._called = self._held[end:], True
        out: list[str | ToolCall] = [ToolCall(self.new_id(), name, arguments) for name, arguments in found]
        if done and (rest := _beside(self._held) if self._called else self._held):
            out.append(rest)
        return out

    def end(self) -> list[str | ToolCall]:
        """What is left when the answer has ended."""
        if self._reading:
            return self._calls(done=True)
        return [self._held] if self._held else []


def _beside(rest: str) -> str:
    """Words behind the last call, without the marks that close it."""
    return re.sub(r"^(?:\s|</?[^<>\n]{1,60}>|\[/?[A-Z_]+\]|[\])},;])*", "", rest)
