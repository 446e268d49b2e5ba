"""Chats in the store: the tree, feedback that holds, what comes out for training."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from steersman.parts import Citation, Image, Text
from steersman.store import ChatMessage, NotFound, Outdated, Store, StoreError
from steersman.types import Candidates, Completion, Conversation, Feedback, Message


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    with Store.open(store_url) as opened:
        yield opened


def completion(text: str, version: str = "ppo-1") -> Completion:
    return Completion(text, (5, 6, 7), (-1.0, -1.0, -1.0), "stop", version)


def exchange(store: Store, chat: str, question: str, answer: str, after: str | None = None) -> ChatMessage:
    asked = store.add_question(chat, question, after)
    return store.add_answer(asked.id, completion(answer), {"temperature": 0.7})


def test_a_tree_of_messages(store: Store) -> None:
    chat = store.create_conversation(system_prompt="Be kind.")
    first = exchange(store, chat.id, "你好，我的包裹在哪里?", "在路上。")
    second = exchange(store, chat.id, "When?", "Tomorrow.", first.id)
    reworded = exchange(store, chat.id, "When exactly?", "At noon.", first.id)
    again = store.add_answer(str(second.parent_id), completion("Friday."), id="f" * 32)
    nodes = store.messages(chat.id)
    assert [n.content for n in nodes] == [
        "你好，我的包裹在哪里?",
        "在路上。",
        "When?",
        "Tomorrow.",
        "When exactly?",
        "At noon.",
        "Friday.",
    ]
    assert (again.id, again.parent_id, again.tokens, again.sampling) == ("f" * 32, second.parent_id, 3, {})
    assert (nodes[1].sampling, nodes[1].finish_reason, nodes[1].policy_version) == (
        {"temperature": 0.7},
        "stop",
        "ppo-1",
    )
    assert (nodes[0].finish_reason, nodes[0].sampling, nodes[0].policy_version) == (None, None, "")
    assert store.dialogue(chat.id, reworded.id).messages == (
        Message("system", "Be kind."),
        Message("user", "你好，我的包裹在哪里?"),
        Message("assistant", "在路上。"),
        Message("user", "When exactly?"),
        Message("assistant", "At noon."),
    )
    assert store.dialogue(chat.id, again.parent_id).is_prompt
    assert store.message(again.id) == nodes[-1]


def test_titles_and_order_of_chats(store: Store) -> None:
    old, new = store.create_conversation(), store.create_conversation("Named")
    assert [c.id for c in store.conversations()] == [new.id, old.id]
    exchange(store, old.id, "  a\n long " + "question " * 20, "yes")
    assert [c.id for c in store.conversations()] == [old.id, new.id]
    title = store.conversation(old.id).title
    assert title.startswith("a long question")
    assert title.endswith("…")
    assert len(title) <= 60
    exchange(store, new.id, "What?", "That.")
    assert store.conversation(new.id).title == "Named"


def test_parents_are_checked(store: Store) -> None:
    chat, other = store.create_conversation(), store.create_conversation()
    answer = exchange(store, chat.id, "q", "a")
    with pytest.raises(StoreError, match="belongs to another conversation"):
        store.add_question(other.id, "q", answer.id)
    with pytest.raises(StoreError, match="expected a message of the assistant, got one of the user"):
        store.add_question(chat.id, "q", answer.parent_id)
    with pytest.raises(StoreError, match="expected a message of the user"):
        store.add_answer(answer.id, completion("b"))
    with pytest.raises(StoreError, match="content: expected some text"):
        store.add_question(chat.id, " \n", answer.id)
    for call in (
        lambda: store.add_question("nope", "q"),
        lambda: store.add_question(chat.id, "q", "nope"),
        lambda: store.add_answer("nope", completion("b")),
        lambda: store.messages("nope"),
        lambda: store.message("nope"),
        lambda: store.dialogue(other.id, answer.id),
        lambda: store.delete_conversation("nope"),
        lambda: store.add_feedback("nope", "like"),
    ):
        with pytest.raises(NotFound):
            call()
    assert len(store.messages(chat.id)) == 2


def test_the_latest_reaction_holds_and_history_is_kept(store: Store, tmp_path: Path) -> None:
    chat = store.create_conversation(system_prompt="Be kind.")
    first = exchange(store, chat.id, "q1", "a1")
    second = exchange(store, chat.id, "q2", "a2", first.id)
    assert store.add_feedback(first.id, "like").liked is True
    assert store.add_feedback(first.id, "dislike", comment="rude").liked is False
    assert store.add_feedback(first.id, "edit", edited="better").edited == "better"
    store.add_feedback(second.id, "like")
    assert store.add_feedback(second.id, "clear").liked is None
    store.add_feedback(second.id, "regenerate")
    store.add_feedback(second.id, "regenerate")
    last = store.add_feedback(first.id, "edit", edited="best", comment="shorter", user="ann")
    assert (last.liked, last.edited) == (False, "best")
    found = list(store.feedback())
    assert [(f.kind, f.answer, f.edited, f.comment, f.user) for f in found] == [
        ("dislike", "a1", None, "rude", ""),
        ("edit", "a1", "better", "", ""),
        ("regenerate", "a2", None, "", ""),
        ("regenerate", "a2", None, "", ""),
        ("edit", "a1", "best", "shorter", "ann"),
    ]
    assert [m.content for m in found[2].prompt.messages] == ["Be kind.", "q1", "best", "q2"]
    assert found[2].prompt.is_prompt
    assert found[0].policy_version == "ppo-1"
    assert len({f.id for f in found}) == 5
    assert [f.kind for f in store.feedback(["like", "dislike"])] == ["dislike"]
    assert list(store.feedback()) == found
    assert [(m.liked, m.edited) for m in store.messages(chat.id)] == [
        (None, None),
        (False, "best"),
        (None, None),
        (None, None),
    ]


def test_feedback_goes_over_pages(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steersman.store.chats._PAGE", 2)
    chat = store.create_conversation()
    answers = [exchange(store, chat.id, f"q{i}", f"a{i}") for i in range(5)]
    for answer in answers:
        store.add_feedback(answer.id, "like")
    assert [f.answer for f in store.feedback()] == [f"a{i}" for i in range(5)]


@pytest.mark.parametrize(
    ("kind", "edited", "message"),
    [
        ("love", None, "kind: expected one of like"),
        ("edit", None, "edited: expected text"),
        ("edit", " ", "edited: expected some text"),
        ("edit", "a", "another text than the answer"),
        ("like", "b", "edited: expected nothing"),
    ],
)
def test_feedback_that_makes_no_sense(store: Store, kind: str, edited: str | None, message: str) -> None:
    answer = exchange(store, store.create_conversation().id, "q", "a")
    with pytest.raises(StoreError, match=message):
        store.add_feedback(answer.id, kind, edited=edited)  # type: ignore[arg-type]
    with pytest.raises(StoreError, match="expected an answer's id"):
        store.add_feedback(str(answer.parent_id), "like")
    with pytest.raises(StoreError, match="kinds: expected some of"):
        list(store.feedback(["love"]))
    assert list(store.feedback()) == []


def test_a_deleted_chat_is_gone_with_its_feedback(store: Store) -> None:
    chat, kept = store.create_conversation(), store.create_conversation()
    answer = exchange(store, chat.id, "q", "a")
    exchange(store, chat.id, "q2", "a2", answer.id)
    store.add_feedback(answer.id, "like")
    store.add_feedback(exchange(store, kept.id, "q", "a").id, "dislike")
    store.delete_conversation(chat.id)
    assert [f.kind for f in store.feedback()] == ["dislike"]
    with pytest.raises(NotFound):
        store.message(answer.id)


LIKED, DISLIKED, EDITED = ("like", None), ("dislike", None), ("edit", "better")


@pytest.mark.parametrize(
    ("said", "stands", "learned"),
    [
        ([], "a1", False),
        ([LIKED], "a1", True),
        ([LIKED, ("clear", None)], "a1", False),
        ([DISLIKED], "a1", False),
        ([EDITED], "better", True),
        ([DISLIKED, EDITED], "better", True),
        ([LIKED, EDITED], "better", True),
        ([EDITED, LIKED], "better", True),
        ([EDITED, DISLIKED], "better", False),
        ([EDITED, ("edit", "best"), LIKED], "best", True),
        ([EDITED, ("withdraw", None)], "a1", False),
        ([LIKED, EDITED, ("withdraw", None)], "a1", True),
        ([EDITED, LIKED, ("withdraw", None)], "a1", False),
        ([("regenerate", None)], "a1", False),
    ],
)
@pytest.mark.parametrize("later", [[EDITED], [LIKED], [DISLIKED, EDITED]])
def test_what_an_earlier_answer_is_in_the_export_of_a_later_one(
    store: Store, said: list[Any], stands: str, learned: bool, later: list[Any]
) -> None:
    chat = store.create_conversation()
    first = exchange(store, chat.id, "q1", "a1")
    second = exchange(store, chat.id, "q2", "a2", first.id)
    for kind, edited in later:
        store.add_feedback(second.id, kind, edited=edited)
    for kind, edited in said:
        store.add_feedback(first.id, kind, edited=edited)
    found = [f for f in store.feedback() if len(f.prompt.messages) == 3]
    assert [f.kind for f in found] == [kind for kind, _ in later]
    for feedback in found:
        assert feedback.prompt.messages[1] == Message("assistant", stands, learn=learned)
    # The model goes on from what stands, and this is no demonstration.
    assert store.dialogue(chat.id, second.parent_id).messages[1] == Message("assistant", stands)


def test_what_feedback_is_about(store: Store) -> None:
    chat = store.create_conversation()

    def given(*said: tuple[Any, str | None]) -> list[tuple[str, str, str | None]]:
        answer = exchange(store, chat.id, "q", "a")
        for kind, edited in said:
            store.add_feedback(answer.id, kind, edited=edited)
        out = [(f.kind, f.answer, f.edited) for f in store.feedback() if f.id.startswith(answer.id)]
        message = store.message(answer.id)
        assert (message.edited is not None) == any(kind == "edit" for kind, _, _ in out) or message.liked is False
        return out

    edit = ("edit", "a", "better")
    assert given(EDITED, LIKED) == [edit, ("like", "better", None)]
    assert given(LIKED, EDITED) == [("like", "better", None), edit]
    assert given(DISLIKED, EDITED) == [("dislike", "a", None), edit]
    assert given(EDITED, DISLIKED) == [("dislike", "better", None)], "nobody is taught what was disliked since"
    assert given(DISLIKED, EDITED, ("withdraw", None)) == [("dislike", "a", None)]
    assert given(EDITED, LIKED, ("withdraw", None)) == []
    assert given(EDITED, ("withdraw", None), EDITED) == [edit]
    answer = exchange(store, chat.id, "q", "a")
    with pytest.raises(StoreError, match="somebody improved"):
        store.add_feedback(answer.id, "withdraw")
    assert store.add_feedback(answer.id, "dislike").about_edit is False
    assert store.add_feedback(answer.id, "edit", edited="b").about_edit is False
    assert store.add_feedback(answer.id, "like").about_edit is True


def test_turns_that_the_model_was_not_shown_are_not_exported(store: Store) -> None:
    chat = store.create_conversation(system_prompt="Be kind.")
    first = exchange(store, chat.id, "q1", "a1")
    question = store.add_question(chat.id, "q2", first.id)
    second = store.add_answer(question.id, completion("a2"), {"left_out": 2})
    assert second.left_out == 2
    store.add_feedback(second.id, "like")
    (liked,) = store.feedback()
    assert [m.content for m in liked.prompt.messages] == ["Be kind.", "q2"]


def test_parts_of_an_answer_are_kept_until_it_is_whole(store: Store) -> None:
    question = store.add_question(store.create_conversation().id, "q")
    store.keep_part("f" * 32, question.id, "He", "ppo-1")
    store.keep_part("f" * 32, question.id, "Hell", "ppo-1", {"temperature": 1})
    part = store.message("f" * 32)
    assert (part.content, part.finish_reason, part.sampling) == ("Hell", None, {"temperature": 1})
    whole = store.add_answer(question.id, completion("Hello"), {"temperature": 1}, "f" * 32)
    assert (whole.content, whole.finish_reason) == ("Hello", "stop")
    store.keep_part("f" * 32, question.id, "late", "ppo-1")
    assert store.message("f" * 32) == whole
    assert len(store.messages(question.conversation_id)) == 2


def test_a_chat_that_went_on_elsewhere(store: Store) -> None:
    chat = store.create_conversation()
    answer = exchange(store, chat.id, "q", "a")
    with pytest.raises(Outdated, match="went on elsewhere"):
        store.add_question(chat.id, "first", known=0)
    store.add_question(chat.id, "one tab", answer.id, known=0)
    with pytest.raises(Outdated):
        store.add_question(chat.id, "another tab", answer.id, known=0)
    store.add_question(chat.id, "an alternative", answer.id, known=1)
    assert len(store.messages(chat.id)) == 4


CAT, DOG = Image("ab" + "0" * 62, "image/png", 8, 6), Image("cd" + "1" * 62, "image/webp")


def test_images_and_citations_are_kept_and_come_out(store: Store) -> None:
    chat = store.create_conversation()
    asked = store.add_question(chat.id, [Text("这是什么？ "), CAT, Text("What is it?")])
    assert (asked.content, asked.said[1]) == ("这是什么？ What is it?", CAT)
    assert store.conversation(chat.id).title == "这是什么？ What is it?"
    cited = Citation("https://x.org/cats", "Cats", 2, 5)
    told = store.add_answer(asked.id, completion("A cat. 一只猫。"), citations=[cited])
    assert told.said == (Text("A cat. 一只猫。"), cited)
    dialogue = store.dialogue(chat.id, told.id)
    assert dialogue.messages == (Message("user", asked.said), Message("assistant", told.said))
    store.add_feedback(told.id, "like")
    (liked,) = store.feedback()
    assert liked.prompt.messages[0].images == (CAT,)
    assert Feedback.from_json(liked.to_json()) == liked
    store.add_feedback(told.id, "edit", edited="A dog.")
    assert store.dialogue(chat.id, told.id).messages[1] == Message("assistant", "A dog.")
    alone = store.add_question(chat.id, [CAT], told.id)
    assert (alone.content, store.dialogue(chat.id, alone.id).messages[-1].text) == ("", "")
    with pytest.raises(StoreError, match="expected some text"):
        store.add_question(chat.id, [cited], told.id)


def test_a_deleted_chat_tells_which_images_nothing_names_any_more(store: Store) -> None:
    first, second = store.create_conversation(), store.create_conversation()
    store.add_question(first.id, [CAT, Text("?")])
    store.add_question(second.id, [CAT, DOG, Text("?")])
    assert store.delete_conversation(first.id) == []
    prompt = Conversation("p", (Message("user", [DOG, Text("Which?")]),))
    store.add_candidates(1, [Candidates(prompt, (completion("A dog."), completion("A cat.")))])
    (task,) = store.tasks()
    assert task.prompt.messages == prompt.messages
    assert store.delete_conversation(second.id) == [CAT]
