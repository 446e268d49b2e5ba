"""Thoughts, the ends of turns and rules of a template: what is asked, learned and shown to people."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from steersman.engine.prompts import Prompts
from steersman.text.template import Template
from steersman.types import Conversation, Message
from test_template_families import OURS, tokenizer_for

SHARED = Path(__file__).parents[2] / "shared" / "data" / "templates"
PUBLISHED = sorted(SHARED.glob("*.jinja")) or [
    pytest.param(SHARED, marks=pytest.mark.skip(reason="../shared/data/templates is not there"))
]
START = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
END = "{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n"
OPENED = (
    START + "{{ m.content.split('</think>')[-1] }}" + END + "<think>\n' }}{% endif %}"  # its turns have no thoughts
)
CHANNELS = (
    "{% for m in messages %}{% if m.role == 'assistant' %}{% if m.thinking and loop.last %}"
    "{{ '<|start|>assistant<|channel|>analysis<|message|>' + m.thinking + '<|end|>' }}{% endif %}"
    "{{ '<|start|>assistant<|channel|>final<|message|>' + m.content }}"
    "{{ '<|return|>' if loop.last and not add_generation_prompt else '<|end|>' }}"
    "{% else %}{{ '<|start|>' + m.role + '<|message|>' + m.content + '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant{% endif %}"
)
NO_END = (
    "{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content }}{% endfor %}<|observation|>"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
).replace("<|observation|>", "")
ASK = Message("user", "Q1")
WAYS = {
    "beside": Message("assistant", "RR", thinking="hmm A"),
    "inline": Message("assistant", "<think>\nhmm A\n</think>\n\nRR"),
    "none": Message("assistant", "RR"),
}


def renderer(source: str) -> Template:
    return Template(tokenizer_for(source))


def learned(template: Template, conversation: Conversation) -> list[int]:
    (row,) = template.examples(conversation)
    return [i for i, own in zip(row.ids, row.learn, strict=True) if own]


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
@pytest.mark.parametrize("way", WAYS)
def test_thoughts_are_learned_and_not_shown(path: Path, way: str) -> None:
    if path.stem == "fireworks-ai-llama-3-firefunction-v2":  # needs a variable of its own
        return
    template = renderer(path.read_text(encoding="utf-8"))
    dialogue = Conversation("c", (ASK, WAYS[way]))
    ids = learned(template, dialogue)
    text = template.tokenizer.decode(ids)
    assert text.count("RR") == 1
    told = any("over" in note for note in template.notes)
    assert text.count("hmm A") == (way != "none") or told or "hmm" not in text
    assert template.decode(ids).strip() == "RR"
    seen = ""
    for k in range(1, len(ids) + 1):  # as an answer grows
        now = template.decode(ids[:k])
        assert now.startswith(seen)
        assert "hmm" not in now
        seen = now
    (row,) = template.examples(dialogue)
    assert row.ids[: -len(ids)] == template.prompt_ids(Conversation("c", (ASK,)))


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_thoughts_of_earlier_turns_are_as_transformers_renders_them(path: Path) -> None:
    if path.stem == "fireworks-ai-llama-3-firefunction-v2":
        return
    template = renderer(path.read_text(encoding="utf-8"))
    for way in WAYS.values():
        turns = (ASK, way, Message("user", "Q2"))
        messages: list[dict[str, Any]] = [{"role": m.role, "content": m.content} for m in turns]
        messages[1] |= {"reasoning_content": way.thinking} if way.thinking else {}
        try:
            theirs = template.tokenizer.apply_chat_template(messages, add_generation_prompt=True)["input_ids"]
        except Exception:  # it wants tools
            continue
        assert list(template.prompt_ids(Conversation("c", turns))) == theirs


def test_thoughts_that_the_prompt_begins_are_ended_by_the_answer() -> None:
    template = renderer(OPENED)
    for way, said in (("beside", "hmm A\n</think>\n\nRR<|im_end|>"), ("none", "\n</think>\n\nRR<|im_end|>")):
        ids = learned(template, Conversation("c", (ASK, WAYS[way])))
        assert template.tokenizer.decode(ids) == said
        assert template.decode(ids) == "RR"
    without = Template(template.tokenizer, "empty")
    assert without.tokenizer.decode(without.prompt_ids(Conversation("c", (ASK,)))).endswith("<think>\n\n</think>\n\n")
    dropped = Template(template.tokenizer, "drop")
    assert "hmm" not in dropped.tokenizer.decode(learned(dropped, Conversation("c", (ASK, WAYS["inline"]))))


@pytest.mark.parametrize("way", WAYS)
def test_thoughts_that_only_the_generation_prompt_opens(way: str) -> None:
    """OLMo 3 Think: answers were learned within thoughts, and thoughts after <think><think>."""
    template = renderer(
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>' }}{% endif %}"
    )
    (row,) = template.examples(Conversation("c", (ASK, WAYS[way])))
    text = template.tokenizer.decode(row.ids)
    assert (text.count("<think>"), text.count("</think>")) == (1, 1)
    assert text.endswith("</think>\n\nRR<|im_end|>")


def test_channels() -> None:
    template = renderer(CHANNELS)
    ids = learned(template, Conversation("c", (ASK, WAYS["beside"])))
    text = template.tokenizer.decode(ids)
    assert text.startswith("<|channel|>analysis<|message|>hmm A<|end|><|start|>assistant<|channel|>final")
    assert template.decode(ids) == "RR"
    ends = template.tokenizer.convert_ids_to_tokens(sorted(template.ends))
    assert "<|return|>" in ends
    assert "<|end|>" not in ends, "it ends thoughts, behind which the answer goes on"


def test_who_begins_anothers_turn_has_ended_its_own() -> None:
    tokenizer = tokenizer_for("<|user|><|assistant|>" + NO_END)
    tokenizer.chat_template = NO_END
    template = Template(tokenizer)
    assert template.end_of_turn == tokenizer.eos_token_id
    assert tokenizer.convert_tokens_to_ids("<|user|>") in template.ends


def test_each_prompt_that_is_learned_is_the_prompt_that_is_asked() -> None:
    """With rules at work: system folded, neighbours joined, a later system message."""
    source = (
        "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) or m.role == 'system' %}"
        "{{ raise_exception('roles must alternate') }}{% endif %}"
        "{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
    template = renderer(source)
    roles = ("system", "user", "assistant", "system", "user", "user", "assistant")
    turns = tuple(Message(role, f"T{i}") for i, role in enumerate(roles))  # type: ignore[arg-type]
    rows = template.examples(Conversation("c", turns))
    for i, turn in enumerate(turns):
        if turn.role == "assistant":
            asked = template.prompt_ids(Conversation("c", turns[:i]))
            assert any(row.ids[: len(asked)] == asked and row.learn[len(asked)] for row in rows)
    text = template.tokenizer.decode(rows[-1].ids)
    assert all(text.count(turn.content) == 1 for turn in turns)


def test_a_later_system_message_that_a_template_would_lose_is_said() -> None:
    source = (
        "{% set ns = namespace(s='') %}{% for m in messages %}{% if m.role == 'system' %}{% set ns.s = m.content %}"
        "{% endif %}{% endfor %}{{ ns.s }}{% for m in messages %}{% if m.role != 'system' %}"
        "{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
    template = renderer(source)
    turns = (Message("system", "S1"), ASK, Message("assistant", "A1"), Message("system", "S2"), Message("user", "Q2"))
    text = template.tokenizer.decode(template.prompt_ids(Conversation("c", turns)))
    assert all(text.count(turn.content) == 1 for turn in turns)
    assert template.notes


def test_what_a_tool_said_is_not_lost_in_silence() -> None:
    call = {"type": "function", "id": "call00001", "function": {"name": "look_up", "arguments": '{"order": "A12"}'}}
    turns = (ASK, Message("assistant", "", tool_calls=(call,)), Message("tool", "ZZ", tool_call_id="call00001"))
    with pytest.raises(ValueError, match=r"'c'.*leaves out the call of 'look_up' in messages\[1\]"):
        renderer(OPENED).prompt_ids(Conversation("c", turns))


def test_several_templates_in_one_tokenizer() -> None:
    tokenizer = tokenizer_for(OPENED)
    tokenizer.chat_template = {"default": OPENED, "tool_use": OPENED}
    ids = Template(tokenizer).prompt_ids(Conversation("c", (ASK,)))
    assert tokenizer.decode(ids).endswith("<think>\n")


def test_learn_false_is_context() -> None:
    template = renderer(CHANNELS)
    turns = (ASK, dataclasses.replace(WAYS["none"], learn=False), Message("user", "Q2"), Message("assistant", "A2"))
    assert "RR" not in template.tokenizer.decode(learned(template, Conversation("c", turns)))


SWITCH = OURS["thoughts"]
DEFAULT_OFF = (
    START + "{% if m.role == 'assistant' %}</think>{% endif %}{{ m.content.split('</think>')[-1] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if thinking is defined and thinking %}{{ '<think>' }}{% else %}{{ '</think>' }}{% endif %}{% endif %}"
)


@pytest.mark.parametrize(
    ("source", "before", "after"),
    [
        (SWITCH, "assistant\n", "assistant\n<think>\n\n</think>\n\n"),
        (DEFAULT_OFF, "assistant\n</think>", "assistant\n</think>"),  # it does not think unless it is asked to
    ],
    ids=["switch", "off unless asked"],
)
def test_one_request_asks_for_no_thoughts(source: str, before: str, after: str) -> None:
    prompts = Prompts(tokenizer_for(source))
    asked = Conversation("c", (ASK,))
    quiet = dataclasses.replace(asked, think=False)
    assert prompts.unthinking is not None
    assert prompts._tokenizer.decode(prompts.ids(asked)).endswith(before)
    assert prompts._tokenizer.decode(prompts.ids(quiet)).endswith(after)
    assert prompts.count(quiet) == len(prompts.ids(quiet))
    growing = prompts.growing(prompt=quiet)
    assert growing.grow(prompts.said("RR")) == "RR"


def test_a_template_without_thoughts_has_no_way_to_ask_for_none() -> None:
    prompts = Prompts(tokenizer_for(OURS["plain"]))
    asked = Conversation("c", (ASK,))
    assert prompts.unthinking is None
    assert prompts.ids(dataclasses.replace(asked, think=False)) == prompts.ids(asked)
