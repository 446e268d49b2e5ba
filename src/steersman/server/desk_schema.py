"""What the labeling desk's routes take, and what they show of a task and a label."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictInt
from pydantic_core import PydanticCustomError

from steersman.server.ranking_api import shown_message
from steersman.server.request_text import WHOLE, Number, Said, Text
from steersman.store.desk import DeskTask
from steersman.store.desk_labels import COMMENT_LIMIT, DeskLabel
from steersman.store.desk_values import RANKING
from steersman.store.ranking_tasks import LABELER_LIMIT

Labeler = Annotated[Text, Field(max_length=LABELER_LIMIT)]
Kind = Literal["ranking", "demonstration", "edit", "flag", "vote"]
DRAFT_LIMIT = 400_000
MOST_ROWS = 2000


def _small(value: dict[str, Any]) -> dict[str, Any]:
    if len(json.dumps(value)) > DRAFT_LIMIT:
        raise PydanticCustomError("size", "{expected}", {"expected": f"at most {DRAFT_LIMIT} characters of JSON"})
    return value


def _most(limit: int) -> AfterValidator:
    """At most so many entries or characters; said by the server alone, since who reads JSON Schema tries each bound."""

    def check(value: Any) -> Any:
        if len(value) > limit:
            raise PydanticCustomError("size", "{expected}", {"expected": f"at most {limit}, got {len(value)}"})
        return value

    return AfterValidator(check)


Value = Annotated[dict[str, Any], AfterValidator(_small)]


class Asked(BaseModel):
    """Who asks, where the server has no accounts: the name typed on the page."""

    model_config = ConfigDict(extra="forbid")

    labeler: Labeler = ""


class Next(Asked):
    kind: Kind


class Draft(Asked):
    value: Value
    """Unfinished work, as the page likes it; {} throws it away."""


class Label(Asked):
    """A label's value by the task's kind (`store.desk_values`); of a ranking by the keys of the answers."""

    said: Literal["label", "bad_prompt", "skip"] = "label"
    value: Value | None = None
    comment: Annotated[Text, Field(max_length=COMMENT_LIMIT)] = ""
    guidelines: Annotated[Text, Field(max_length=64)] = ""
    seconds: Annotated[Number, Field(ge=0)] | None = None


class Turn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    role: Literal["system", "user", "assistant"]
    content: Said


class Suggest(Asked):
    messages: Annotated[list[Turn], Field(min_length=1), _most(200)]
    """Ends with the user."""


class Read(Asked):
    guidelines: Annotated[Text, Field(max_length=64)]


class Guidelines(Asked):
    text: Annotated[Text, _most(200_000)]
    before: Annotated[Text, Field(max_length=64)] | None = None
    """Hash of the version that was changed, '' where there was none: 409 where another one holds by now."""


class Rows(Asked):
    """Tasks as `steersman desk import` reads them."""

    rows: Annotated[list[dict[str, Any]], Field(min_length=1), _most(MOST_ROWS)]
    kind: Kind | None = None
    assign: Annotated[list[Labeler], _most(100)] = []
    overlap: Annotated[StrictInt, Field(ge=0, le=100), WHOLE] = 0


_TASKS: dict[str, Any] = {"properties": {"tasks": {"minItems": 1}, "of": {"const": ""}}, "required": ["tasks"]}
_OF: dict[str, Any] = {"properties": {"tasks": {"maxItems": 0}, "of": {"minLength": 1}}, "required": ["of"]}


class Assign(Asked):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"anyOf": [_TASKS, _OF]})

    tasks: Annotated[list[Annotated[Said, Field(max_length=32)]], _most(MOST_ROWS)] = []
    of: Annotated[Text, Field(max_length=100)] = ""
    """In place of tasks: all that wait for this person, as `GET /api/desk/team` names them."""
    to: Annotated[list[Labeler], _most(100)] = []
    """Nobody named: for all."""


class Decision(Label):
    """A manager's decision: a label of their own, or `choose`, the id of somebody's that is right."""

    choose: Annotated[Text, Field(max_length=80)] = ""


def task_json(task: DeskTask, objective: str | None) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": task.id,
        "kind": task.kind,
        "messages": [shown_message(message) for message in task.messages],
        "brief": task.brief,
        "draft": task.draft,
        "expires": task.expires,
        "mine": None if task.mine is None else label_json(task.mine, task),
    }
    if task.ranking is not None:
        shown["answers"] = [{"key": key, "text": text} for key, text in task.ranking.presented]
        shown |= {"flags": task.flags} if task.flags else {}
        return shown | ({"objective": objective} if objective else {})
    return shown | ({"answer": task.answer} if task.answer else {})


def label_json(label: DeskLabel, task: DeskTask | None = None) -> dict[str, Any]:
    """A label; with its ranking task, the value by the keys of the answers."""
    value: Any = label.value
    if label.kind == RANKING and value is not None and task is not None and task.ranking is not None:
        keys = task.ranking.keys
        by = {name: dict(zip(keys, value[name], strict=True)) for name in ("ranks", "grades") if value[name]}
        value = {**by, "all_bad": value["all_bad"]}
    return {
        "id": label.id,
        "task": label.task,
        "kind": label.kind,
        "said": label.said,
        "value": value,
        "comment": label.comment,
        "guidelines": label.guidelines,
        "seconds": label.seconds,
        "created": label.created,
        "by": label.labeler,
    }
