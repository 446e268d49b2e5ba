"""A chat template in the form that Ollama takes: what stands before and after each turn, found by rendering.

Ollama knows Go's templates and not Jinja's. Most templates put something before and after each turn; those are turned
over, and checked against transformers' rendering. Others are left to what Ollama makes of the GGUF file itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

Messages = Sequence[Mapping[str, str]]
_MARKS = ("Qzqa", "Qzqb", "Qzqc", "Qzqd")


@dataclasses.dataclass(frozen=True)
class Turned:
    """What a template writes around words."""

    head: str
    before: Mapping[str, str]
    after: Mapping[str, str]
    start: str
    """What an answer begins after."""
    system: str = ""
    """What the template says as the system where a dialogue does not."""

    def render(self, messages: Messages) -> str:
        if self.system and messages[0]["role"] != "system":
            messages = [{"role": "system", "content": self.system}, *messages]
        turns = (self.before[m["role"]] + m["content"] + self.after[m["role"]] for m in messages)
        return self.head + "".join(turns) + self.start

    def without_system(self) -> Turned:
        """The same for templates that put the system's words inside a turn of another."""
        kept = {role: text for role, text in self.before.items() if role != "system"}
        return Turned(self.head, kept, self.after, self.start)

    def go(self, without: str = "") -> str:
        """As Go's text/template; `without`: what the program that reads it begins every text with itself."""
        roles = [
            f'{{{{ {word} eq .Role "{role}" }}}}{_plain(self.before[role])}{{{{ .Content }}}}{_plain(self.after[role])}'
            for word, role in zip(("if", "else if", "else if"), self.before, strict=False)
        ]
        body = "{{ range .Messages }}" + "".join(roles) + "{{ end }}{{ end }}"
        return _plain(self.head.removeprefix(without)) + body + _plain(self.start)


def _plain(text: str) -> str:
    return text.replace("{{", '{{ "{{" }}')


def turned(tokenizer: Any) -> Turned | None:
    """The tokenizer's template turned over; None where it does not write turn by turn."""
    try:
        found = _turned(tokenizer)
        for one in (found, found and found.without_system()):
            if one is not None and _agrees(tokenizer, one):
                return one
        return None
    except Exception:  # a template may raise any error, also of its own
        return None


def _render(tokenizer: Any, messages: Messages, generate: bool = True) -> str:
    text: str = tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=generate)
    return text


def _said(*turns: tuple[str, str]) -> Messages:
    return [{"role": role, "content": content} for role, content in turns]


def _turned(tokenizer: Any) -> Turned | None:
    a, b, c, system = _MARKS
    asked = _said(("user", a))
    after_user = _render(tokenizer, asked, False).partition(a)[2]
    head, _, tail = _render(tokenizer, asked).partition(a)
    if not tail.startswith(after_user):
        return None
    start = tail.removeprefix(after_user)
    _, _, rest = _render(tokenizer, _said(("user", a), ("assistant", b), ("user", c))).partition(a)
    between, _, rest = rest.partition(b)
    again = rest.partition(c)[0]
    after_answer = _render(tokenizer, _said(("user", a), ("assistant", b)), False).partition(b)[2]
    if not between.startswith(after_user) or not again.startswith(after_answer):
        return None
    before = {"user": again.removeprefix(after_answer), "assistant": between.removeprefix(after_user)}
    after = {"user": after_user, "assistant": after_answer}
    if not head.endswith(before["user"]):
        return None
    head = head.removesuffix(before["user"])
    return _with_system(tokenizer, Turned(head, before, after, start), system)


def _with_system(tokenizer: Any, found: Turned, mark: str) -> Turned:
    try:
        first, _, rest = _render(tokenizer, _said(("system", mark), ("user", _MARKS[0]))).partition(mark)
    except Exception:  # templates without a system turn raise errors of their own
        return found
    after = rest.partition(_MARKS[0])[0].removesuffix(found.before["user"])
    bos = tokenizer.bos_token or ""
    apart = bos and first.startswith(bos) and not found.before["user"].startswith(bos)
    head = bos if apart else ""
    before = first.removeprefix(head)
    told = found.head.removeprefix(head)
    usual = told.removeprefix(before).removesuffix(after) if told else ""
    if told and before + usual + after != told:
        return found
    befores, afters = {**found.before, "system": before}, {**found.after, "system": after}
    return Turned(head, befores, afters, found.start, usual)


def _agrees(tokenizer: Any, found: Turned) -> bool:
    one = _said(("user", "Where is it?\n您好"), ("assistant", "Here."), ("user", "Thanks, 再见"))
    probes = [one[:1], one, [*one, *_said(("assistant", "OK"), ("user", "?"))]]
    if "system" in found.before:
        probes += [[*_said(("system", "Be kind.")), *probe] for probe in probes]
    return all(_render(tokenizer, probe) == found.render(probe) for probe in probes)


def modelfile(tokenizer: Any, gguf: str, context: int, sampling: Mapping[str, float]) -> tuple[str, tuple[str, ...]]:
    """(an Ollama Modelfile for the GGUF file beside it, what of the chat template is not in it)."""
    from steersman.text.template import Template

    lines = [f"FROM ./{gguf}"]
    found = turned(tokenizer) if tokenizer.chat_template else None
    if found is not None:
        bos = tokenizer.bos_token
        adds = bool(bos) and tokenizer("a").input_ids[0] == tokenizer.bos_token_id
        lines.append(f'TEMPLATE """{found.go(without=bos if adds else "")}"""')
        if found.system:
            lines.append(f'SYSTEM """{found.system}"""')
    if tokenizer.chat_template:
        ends = sorted(Template(tokenizer).ends)
        lines += [f'PARAMETER stop "{token}"' for token in tokenizer.convert_ids_to_tokens(ends)]
    lines += [f"PARAMETER {name} {value:g}" for name, value in sampling.items()]
    lines.append(f"PARAMETER num_ctx {context}")
    return "\n".join(lines) + "\n", _missing(tokenizer, found)


def _missing(tokenizer: Any, found: Turned | None) -> tuple[str, ...]:
    if not tokenizer.chat_template:
        return ("the model has no chat template: Ollama completes texts with it",)
    if found is None:
        return (
            "the chat template does not write turn by turn: Ollama takes what it makes of the one in the GGUF file",
        )
    if "system" not in found.before:
        return ("the chat template has no turn of the system's: Ollama leaves system messages out",)
    return ()
