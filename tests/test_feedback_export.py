"""What people said on the page, as files: which text is learned, and as what."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from steersman.artifact.workspace import Workspace
from steersman.config import Config
from steersman.data.dataset import write_dataset
from steersman.rounds.export import edited, export_lines, export_rankings, feedback_for
from steersman.store import Store
from steersman.types import Candidates, Completion, Conversation, Message


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    """A chat of three turns: the first answer disliked and corrected, the second plain, the third edited and liked."""
    space = Workspace.create(tmp_path, Config())
    with Store.open(space.store) as store:
        chat, parent = store.create_conversation(system_prompt="Be kind."), None
        answers = []
        for i in (1, 2, 3):
            question = store.add_question(chat.id, f"q{i}", parent)
            answers.append(store.add_answer(question.id, Completion(f"bad{i}", (1,), (-0.1,), "stop", "ppo-1")))
            parent = answers[-1].id
        store.add_feedback(answers[0].id, "dislike")
        store.add_feedback(answers[0].id, "edit", edited="good1")
        store.add_feedback(answers[2].id, "edit", edited="good3")
        store.add_feedback(answers[2].id, "like")
    return space


def test_a_corrected_answer_is_not_learned_with_a_later_turn(space: Workspace) -> None:
    first, later = edited(space)
    assert first.messages == (Message("system", "Be kind."), Message("user", "q1"), Message("assistant", "good1"))
    assert later.messages == (
        Message("system", "Be kind."),
        Message("user", "q1"),
        Message("assistant", "good1"),
        Message("user", "q2"),
        Message("assistant", "bad2", learn=False),
        Message("user", "q3"),
        Message("assistant", "good3"),
    )
    lines = [json.loads(line) for line in export_lines(space, "demonstrations", 1)]
    assert [Conversation.from_json(line).messages for line in lines] == [first.messages, later.messages]
    assert lines[1]["messages"][4] == {"role": "assistant", "content": "bad2", "learn": False}
    assert "bad1" not in json.dumps(lines)


def test_a_like_counts_for_what_somebody_improved(space: Workspace) -> None:
    told = [(r.answers, r.grades) for r in feedback_for(space, labelled=True)]
    assert told == [
        (("bad1",), ("poor",)),
        (("good1", "bad1"), ("good", "poor")),
        (("good3", "bad3"), ("good", "poor")),
        (("good3",), ("good",)),
    ]
    lines = [json.loads(line) for line in export_lines(space, "feedback", 1)]
    assert [(line["kind"], line["answer"]) for line in lines][-1] == ("like", "good3")


@pytest.mark.sqlite("writes into the file")
def test_edits_that_leave_the_words_as_they_were_are_no_pairs(
    space: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    with Store.open(space.store) as store:
        chat = store.create_conversation()
        question = store.add_question(chat.id, "q", None)
        same = store.add_answer(question.id, Completion("same", (1,), (-0.1,), "stop", "p"))
        other = store.add_answer(question.id, Completion("other ", (1,), (-0.1,), "stop", "p"))
        for text in ("same\n", "same<|im_end|>", "<|im_end|>"):
            with pytest.raises(ValueError, match="edited: expected"):
                store.add_feedback(same.id, "edit", edited=text)
        store.add_feedback(same.id, "edit", edited="changed")
        with sqlite3.connect(space.store_path) as database:  # as an older version let it be written
            database.execute("update feedback set edited = 'same<|eot_id|>' where edited = 'changed'")
        store.add_feedback(other.id, "edit", edited="  better</s>\n")
    assert [r.answers for r in feedback_for(space, labelled=False)][2:] == [("  better", "other ")]
    assert "1 edits leave the words of the answer as they were" in capsys.readouterr().err
    assert edited(space)[-1].messages[-1] == Message("assistant", "  better")


def test_lines_end_at_line_feeds_alone(space: Workspace) -> None:
    text = "a\u2028b\u2029c\u0085d"
    record = Conversation("1", (Message("user", "q"), Message("assistant", text)))
    write_dataset(space.data, "odd", "demonstrations", "train", [record], "f", {})
    (line,) = export_lines(space, "odd", 1)
    assert json.loads(line)["messages"][1]["content"] == text


def test_a_flagged_answer_that_led_is_not_exported(space: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    """By hand as by a round: `dpo` and `reward` learn what `export` wrote, and edits that `feedback_for` names."""
    answers = [Completion(text, (1,), (-0.1,), "stop", "p") for text in ("worst", "fair", "good")]
    with Store.open(space.store) as store:
        store.add_candidates(1, [Candidates(Conversation("q", (Message("user", "q1"),)), tuple(answers))])
        (task,) = store.tasks(1)
        at = {text: i for i, text in enumerate(task.answers)}
        ranks = [0, 0, 0]
        for rank, text in enumerate(("worst", "good", "fair"), 1):
            ranks[at[text]] = rank
        store.add_ranking(task.id, ranks=ranks, labeler="ann")
        before = export_rankings(space, 1)[0].inputs
        chat = store.create_conversation()
        question = store.add_question(chat.id, "q1", None)
        told = store.add_answer(question.id, answers[0])
        store.add_feedback(told.id, "flag", user="bob")
        fair = store.add_answer(question.id, answers[1])
        store.add_feedback(fair.id, "edit", edited="worst")
    assert export_rankings(space, 1)[0].inputs != before
    assert "1 are left out of rankings in which they led" in capsys.readouterr().err
    pairs = [json.loads(line) for line in export_lines(space, "comparisons", 1)]
    assert [(pair["chosen"], pair["rejected"]) for pair in pairs] == [("good", "fair")]
    assert "worst" not in [text for r in feedback_for(space, labelled=False) for text in r.answers]
    assert "worst" not in [c.messages[-1].text for c in edited(space)]
    assert "1 edited answers are left out" in capsys.readouterr().err
