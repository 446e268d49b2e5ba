"""Templates that are slow, endless or huge for some dialogues only; long dialogues cost what they are long."""

from __future__ import annotations

import datetime
import threading
import time
from typing import Any

import pytest

from steersman.text import limits, program
from steersman.text.template import Template
from steersman.types import Conversation, Message
from test_template_families import OURS, cases, tokenizer_for

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TWICE = "{% set n = namespace(s='ab') %}{% for a in range(60) %}SET{% endfor %}"
HOSTILE = {
    "loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "calls": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(40) }}",
    "text": TWICE.replace("SET", "{% set n.s = n.s ~ n.s %}"),
    "block": TWICE.replace("SET", "{% set n.s %}{{ n.s }}{{ n.s }}{% endset %}"),
    "with": TWICE.replace("SET", "{% with s = n.s + n.s %}{% set n.s = s %}{% endwith %}"),
    "replace": TWICE.replace("SET", "{% set n.s = n.s.replace('a', 'aa') %}"),
    "lists": TWICE.replace("SET", "{% set n.s = [n.s, n.s] %}") + "{{ n.s }}",
    "namespaces": TWICE.replace("SET", "{% set n.s = namespace(a=n.s, b=n.s) %}") + "{{ n.s }}",
    "times": "{% set x = 'a' * 10000000000 %}",
    "numbers": TWICE.replace("'ab'", "9").replace("SET", "{% set n.s = n.s * n.s %}"),
    "format": "{{ '%9999999999d' % 1 }}",
    "width": "{{ '{:{}}'.format(1, 9999999999) }}",
    "filter": "{{ ['a'] | map('center', 9999999999) | list }}",
    "method": "{{ 'a'.ljust(9999999999) }}",
    "date": "{{ strftime_now('%99999999d') }}",
    "join": "{{ range(99999) | join('a' * 999999) }}",
    "sorted": "{% for a in range(99999) %}{% set x = range(99999) | sort %}{% endfor %}",
}


def asked(words: str, turns: int = 1) -> Conversation:
    roles = ("user", "assistant")
    return Conversation("c", tuple(Message(roles[i % 2], words) for i in range(turns)))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize(
    "when", ["'kaboom' in messages[-1].content", pytest.param("messages | length > 8", marks=pytest.mark.slow)]
)
def test_a_template_hostile_to_some_dialogues_ends_in_an_error(
    name: str, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SECONDS", 0.3)
    template = Template(tokenizer_for(f"{{% if {when} %}}{HOSTILE[name]}{{% endif %}}" + CHATML))
    assert template.prompt_ids(asked("Hi"))
    began = time.thread_time()
    with pytest.raises(ValueError, match=r"'c': the chat template (takes|makes|computes|formats|puts)"):
        template.prompt_ids(asked("kaboom", 11))
    with pytest.raises(ValueError, match=r"'c': the chat template (takes|makes|computes|formats|puts)"):
        template.examples(asked("kaboom", 12))
    assert time.thread_time() - began < 3
    assert template.prompt_ids(asked("Hi"))


def test_one_threads_limits_are_not_anothers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SECONDS", 0.5)
    template = Template(
        tokenizer_for("{% if 'kaboom' in messages[0].content %}" + HOSTILE["loops"] + "{% endif %}" + CHATML)
    )
    alone, ends = template.prompt_ids(asked("Hi")), []

    def bad() -> None:
        with pytest.raises(ValueError, match="processor time"):
            template.prompt_ids(asked("kaboom"))
        ends.append(time.monotonic())

    thread = threading.Thread(target=bad)
    thread.start()
    while thread.is_alive():
        assert template.prompt_ids(asked("Hi")) == alone
    thread.join()
    assert ends


def test_what_templates_do_is_within_limits() -> None:
    """A long dialogue in a template that goes through all turns for each."""
    source = CHATML.replace(
        "{{ '<|im_start|>'", "{% for o in messages %}{% if false %}{{ o }}{% endif %}{% endfor %}{{ '<|im_start|>'", 1
    )
    assert len(Template(tokenizer_for(source)).prompt_ids(asked("Where is it? " * 20, 301))) > 1000


@pytest.mark.parametrize("name", ["chatml", "plain"])
def test_a_long_dialogue_is_rendered_once_and_encoded_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its cost grows as it does: 100 turns took the square of 10."""
    template = Template(tokenizer_for(CHATML if name == "chatml" else OURS[name]))
    done: list[Any] = []
    render = program.Program.render
    encode = type(template._spans)._ids
    monkeypatch.setattr(program.Program, "render", lambda *a, **k: done.append(0) or render(*a, **k))
    monkeypatch.setattr(type(template._spans), "_ids", lambda s, text: done.append(len(text)) or encode(s, text))
    long = Conversation(
        "c", tuple(Message(m.role, f"{m.content} {i}") for i, m in enumerate(asked("Hello there", 100).messages))
    )
    (row,) = template.examples(long)
    assert 0 not in done, "no prompt was rendered by itself"
    if name != "plain":  # which has no control token between turns
        assert sum(done) < 6 * sum(len(m.content) + 20 for m in long.messages)
    template._tails = None
    assert template.examples(long) == (row,)


@pytest.mark.parametrize(("name", "source"), cases())
def test_one_rendering_gives_the_rows_of_many(name: str, source: str) -> None:
    if name == "fireworks-ai-llama-3-firefunction-v2":
        return
    template = Template(tokenizer_for(source))
    words = ("Be brief.", "One? \n", "It is.", "\n二？", "</think> 是 <|im_end|>", "", "Yes", "Four", " Last. ")
    roles = ("system", *("user", "assistant") * 4)
    turns = tuple(Message(role, text) for role, text in zip(roles, words, strict=True))  # type: ignore[arg-type]
    conversations = [
        Conversation("c", part) for part in (turns, turns[1:], turns[2:], (*turns[:3], turns[2], *turns[3:]))
    ]
    fast = [template.examples(c) for c in conversations]
    template._tails = None
    assert fast == [template.examples(c) for c in conversations]


def test_training_writes_one_day_and_asking_todays() -> None:
    tokenizer = tokenizer_for(OURS["dated"])
    began = datetime.datetime.now()
    for today in (False, True):
        template = Template(tokenizer, today=today) if not today else Template(tokenizer)
        assert template.dated
        said = tokenizer.decode(template.prompt_ids(asked("Hi")))
        days = [f"{day:%d %b %Y}" for day in (began, datetime.datetime.now())] if today else ["01 Jan 2026"]
        assert any(f"Today is {day}." in said for day in days)
    assert not Template(tokenizer_for(CHATML)).dated
