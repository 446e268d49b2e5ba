"""Test prompts that were trained on, exactly and nearly, in both languages."""

from __future__ import annotations

import pytest

from steersman.data.contamination import overlap
from steersman.types import Conversation, Message, Ranking

LONG = "My parcel left Hamburg nine days ago and has not moved since; can you please find out where it is now?"
LONG_ZH = "我九天前从杭州寄出的包裹一直没有更新物流信息，请帮我查一下它现在到底在哪里。"


def asked(text: str, *more: str, id: str = "t") -> Conversation:
    roles = ("assistant", "user")
    later = tuple(Message(roles[i % 2], m) for i, m in enumerate(more))  # type: ignore[arg-type]
    return Conversation(id, (Message("user", text), *later))


@pytest.mark.parametrize("text", [LONG, LONG_ZH])
def test_the_same_words_are_exact_whatever_their_case_and_punctuation(text: str) -> None:
    trained = asked(f"  {text.upper()} !!", "We look into it.", id="d")
    found = overlap([asked(text)], [trained])
    assert (found.exact, found.near, found.examples) == (1, 0, ("t",))
    assert "1 of 1 test prompts are in the training data (1 exactly; such as t)" in str(found)


@pytest.mark.parametrize(
    ("test", "trained"),
    [
        (LONG, "Hello there. " + LONG.replace("nine", "six") + " Thanks!"),
        ("How do I return the shoes I bought in Berlin?", "How do I return the shoes that I bought in Berlin?"),
        ("我上周买的鞋子不合适怎么退", "我上周买的鞋不合适怎么退"),
        (LONG_ZH, "你好，" + LONG_ZH.replace("现在", "") + "谢谢"),
    ],
)
def test_a_few_words_changed_are_near(test: str, trained: str) -> None:
    found = overlap([asked(test)], [asked(trained, "Yes.")])
    assert (found.exact, found.near) == (0, 1)


def test_texts_and_rankings_are_looked_at_too() -> None:
    ranking = Ranking("r", asked(LONG, id="p"), ("a", "b"), (1, 2))
    assert overlap([asked(LONG)], [ranking]).exact == 1
    assert overlap([asked(LONG)], [f"Chapter one. {LONG} The end."]).near == 1


def test_what_only_shares_phrases_is_not_in_it() -> None:
    short = "Can you please help me to find my parcel from Berlin?"
    assert not overlap([asked(short)], [asked("Can you please help me to find my phone?", "No.")]).found
    other = "My parcel left Berlin yesterday; can you please tell me whether the shop is open on Sunday?"
    assert not overlap([asked(LONG), asked("Where is it?", id="u")], [asked(other, "No."), asked("Where is he?")]).found


def test_a_short_prompt_counts_only_where_it_is_the_same() -> None:
    assert overlap([asked("Where is it?")], [asked("where is it", "There.")]).exact == 1
    assert not overlap([asked("Where is it?")], [asked("So where is it then, my friend?", "There.")]).found


def test_later_turns_of_a_training_dialogue_count() -> None:
    trained = asked("Hi", "Hello", LONG, "Soon.", id="d")
    assert overlap([asked("Hi", "What is it?", LONG)], [trained]).exact == 1
    assert overlap([asked(LONG)], [trained]).near == 1
