"""Images through models' own chat templates: the text that transformers renders, or an error that names the part."""

from __future__ import annotations

from typing import Any

import pytest

import test_template_families as families
import tiny
from steersman.engine.prompts import Prompts
from steersman.parts import CannotTake, Citation, Image, Text
from steersman.text.template import CHATML, Template
from steersman.types import Conversation, Message

CAT, DOG = Image("ab" + "0" * 62, "image/png"), Image("cd" + "1" * 62, "image/webp")
FORMS = {
    "image pads": "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.content is string %}{{ m.content }}"
    "{% else %}"
    "{% for p in m.content %}{% if p.type == 'image' or 'image_url' in p %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif 'text' in p %}{{ p.text }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    "images first": "{% for m in messages %}{{ m.role | upper }}: {% for p in m.content if p.type == 'image' %}"
    "<image>\n{% endfor %}{% for p in m.content if p.type == 'text' %}{{ p.text }} {% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}",
    "first part tells": "<|im_start|>{% for m in messages %}{{ m.role | capitalize }}"
    "{{ ':' if m.content[0].type == 'image' else ': ' }}{% for p in m.content %}"
    "{% if p.type == 'text' %}{{ p.text }}{% else %}<image>{% endif %}{% endfor %}"
    "<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}",
}
"""How published families write images, in words of our own."""
SEES = (
    "Mistral-Small-3.2",
    "Qwen3.5",
    "Reka-Edge",
    "google-gemma-4",
    "mistralai-Ministral-3",
    "unsloth-Apriel",
    "Apriel-1.6",
)
PUBLISHED = [(p.stem, p.read_text(encoding="utf-8")) for p in families.PUBLISHED if p.stem.startswith(SEES)]
DIALOGUES = [
    Conversation("en", (Message("user", [CAT, Text("What is this?")]),)),
    Conversation("zh", (Message("user", [Text("这张图里"), CAT, Text("和这张里"), DOG, Text("有什么不同？")]),)),
    Conversation("alone", (Message("user", [CAT]),)),
    Conversation(
        "later",
        (
            Message("system", "Be brief. 请简短。"),
            Message("user", "Hello!"),
            Message("assistant", [Text("Hi, see here."), Citation("https://x.org", "X", 4, 7)]),
            Message("user", [Text("And this?"), DOG]),
        ),
    ),
]


def published() -> list[Any]:
    if not families.PUBLISHED:
        return [pytest.param("", "", marks=pytest.mark.skip(reason="../shared/data/templates is not there"))]
    return PUBLISHED


def theirs(tokenizer: Any, conversation: Conversation, lists: bool) -> str:
    """transformers' text, with content as processors take it; `lists`: words too are a list of one part."""

    def content(message: Message) -> Any:
        if not message.images:
            return [{"type": "text", "text": message.text}] if lists else message.text
        return [{"type": "image"} if isinstance(p, Image) else {"type": "text", "text": p.text} for p in message.said]

    messages = [{"role": m.role, "content": content(m)} for m in conversation.messages]
    text: str = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    return text


@pytest.mark.parametrize(("name", "source"), [*FORMS.items(), *published()])
def test_rendered_as_transformers_does(name: str, source: str) -> None:
    tokenizer = families.tokenizer_for(source)
    template = Template(tokenizer, sees=True)
    for conversation in DIALOGUES:
        assert template._spans.plain(template._prompt(conversation)) == theirs(
            tokenizer, conversation, template._parts
        ), conversation.id
        assert template.prompt_ids(conversation)
        (row,) = template.examples(conversation.with_answer("A cat. 一只猫。"))[-1:]
        asked = template.prompt_ids(conversation)
        assert row.ids[: len(asked)] == asked


@pytest.mark.parametrize("conversation", DIALOGUES)
def test_a_model_of_text_alone_says_which_part_it_cannot_take(conversation: Conversation) -> None:
    tokenizer = tiny.tokenizer()
    turn = len(conversation.messages) - 1
    first = next(j for j, part in enumerate(conversation.messages[-1].said) if isinstance(part, Image))
    said = rf"conversation '{conversation.id}': messages\[{turn}\]\.content\[{first}\] is an image; .* takes text alone"
    with pytest.raises(CannotTake, match=said):
        Template(tokenizer).prompt_ids(conversation)
    with pytest.raises(CannotTake, match=said):
        Template(tokenizer).examples(conversation.with_answer("A cat."))
    with pytest.raises(CannotTake, match=said):
        Prompts(tokenizer).ids(conversation)


def test_a_template_without_a_place_for_images_is_named() -> None:
    for source in (CHATML, CHATML.replace("message['content']", "message['content'] | string")):
        template = Template(families.tokenizer_for(source), sees=True)
        with pytest.raises(
            CannotTake, match=r"messages\[0\]\.content\[0\] is an image; the chat template of .* has no"
        ):
            template.prompt_ids(DIALOGUES[0])


def test_an_image_where_the_template_writes_none_is_an_error() -> None:
    tools = "{% if m.role == 'tool' and m.content is not string %}{{ m.content[0].text }}{% elif m.content is string"
    source = FORMS["image pads"].replace("{% if m.content is string", tools)
    turns = (Message("user", "Look."), Message("assistant", "So."), Message("tool", [Text("Seen"), CAT]))
    with pytest.raises(ValueError, match=r"leaves out the image messages\[2\]\.content\[1\]"):
        Template(families.tokenizer_for(source), sees=True).prompt_ids(Conversation("t", turns))


def test_an_image_is_no_answer_to_learn() -> None:
    template = Template(families.tokenizer_for(FORMS["image pads"]), sees=True)
    drawn = Conversation("d", (Message("user", "Draw."), Message("assistant", [Text("Here: "), CAT])))
    with pytest.raises(CannotTake, match=r"conversation 'd': messages\[1\]: an image cannot be an answer"):
        template.examples(drawn)
