"""Exports of annotation tools (Argilla, Label Studio, Prodigy, Doccano) -> what was annotated and what people wrote."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from steersman.data.formats.fields import Fields

Record = Mapping[str, Any]
SENTENCE = re.compile(r"[\u4e00-\u9fff].{7}|[.!?。！？]\s*\Z", re.S)
"""Pattern of a label that says something."""


def annotated(record: Record, fields: Fields) -> list[Record] | None:
    """One record, or of Label Studio one for each annotation; None for records of other kinds."""
    asked, said = record.get("fields"), record.get("responses")
    if isinstance(asked, Mapping) and isinstance(said, Mapping | list):
        return [_record(record, asked, _argilla(said, fields))]
    if "_task_hash" in record and "answer" in record:
        return _prodigy(record, fields)
    if (found := _doccano(record, fields)) is not None:
        return [found]
    asked, said = record.get("data"), record.get("annotations")
    if not isinstance(asked, Mapping) or not isinstance(said, list) or not all(isinstance(a, Mapping) for a in said):
        return None
    done = [a for a in said if not a.get("was_cancelled")]
    fields.note("annotations that people cancelled left out", len(said) - len(done))
    return [_record(record, asked, _label_studio(a)) for a in done or [{}]]


def _doccano(record: Record, fields: Fields) -> Record | None:
    """A text with sentences that people wrote to it; labels of few words are classes, and the text is one by itself."""
    labels = record.get("label")
    if not {"text", "label"} <= record.keys() <= {"id", "text", "label", "Comments"} or not isinstance(labels, list):
        return None
    if not labels or not all(isinstance(label, str) and _is_sentence(label) for label in labels):
        return None
    fields.note("labels that are sentences taken for answers to their texts")
    fields.note("answers of further annotators left out", len(labels) - 1)
    return {**{k: record[k] for k in ("id",) if k in record}, "prompt": record["text"], "response": labels[0]}


def _is_sentence(text: str) -> bool:
    """Four words, eight characters of Chinese, or an end of a sentence; else it is the name of a class."""
    return len(text.split(None, 3)) > 3 or SENTENCE.search(text) is not None


def _prodigy(record: Record, fields: Fields) -> list[Record]:
    """The text with what was typed, or a ranking in which accepted options are before the others; [] for what was
    rejected and where options are classes. (`answer` says whether the example was accepted.)"""
    if record["answer"] != "accept":
        fields.note("examples that annotators rejected or ignored left out")
        return []
    rest = {k: v for k, v in record.items() if not k.startswith("_") and k not in ("answer", "options", "accept")}
    options, accepted = (v if isinstance(v := record.get(k), list) else [] for k in ("options", "accept"))
    options = [o for o in options if isinstance(o, Mapping)]
    texts = [str(o.get("text", o.get("html", ""))) for o in options]
    if texts and not any(map(_is_sentence, texts)):
        fields.note("examples whose options are names of classes left out")
        return []
    if options and accepted:
        asked = {"prompt": rest.pop("text", rest.pop("prompt", None))}
        ranks = [1 if o.get("id") in accepted else 2 for o in options]
        return [rest | asked | {"answers": texts, "ranks": ranks}]
    if options:
        fields.note("examples in which no option was accepted left out")
        return []
    typed = record.get("user_input", record.get("response"))
    if isinstance(typed, str) and "text" in rest:
        return [
            {k: v for k, v in rest.items() if k not in ("text", "user_input")}
            | {"prompt": rest["text"], "response": typed}
        ]
    return [rest]


def _record(record: Record, asked: Record, said: Record) -> Record:
    return {**({"id": record["id"]} if "id" in record else {}), **asked, **said}


def _argilla(said: Any, fields: Fields) -> Record:
    """What the first person answered to each question: by name in version 2, by person in version 1."""
    if isinstance(said, list):
        given = [r for r in said if isinstance(r, Mapping)]
        sent = [r for r in given if r.get("status") not in ("discarded", "draft")]
        fields.note("responses that people discarded or left as drafts left out", len(given) - len(sent))
        people: list[Any] = [r.get("values") for r in sent]
        values: list[Record] = [v for v in people if isinstance(v, Mapping)]
        found = {name: [v[name] for v in values if name in v] for v in values for name in v}
    else:
        found = {name: list(answers) for name, answers in said.items() if isinstance(answers, list)}
    fields.note("answers of further annotators left out", sum(max(0, len(a) - 1) for a in found.values()))
    return {
        name: answers[0].get("value") if isinstance(answers[0], Mapping) else answers[0]
        for name, answers in found.items()
        if answers
    }


def _label_studio(annotation: Record) -> Record:
    """Texts, choices and ratings, by the names of the fields in which people gave them."""
    out: dict[str, Any] = {}
    for result in annotation.get("result") or ():
        value = result.get("value") if isinstance(result, Mapping) else None
        if isinstance(value, Mapping):
            key = next((k for k in ("text", "choices", "rating") if k in value and "start" not in value), None)
            given = value[key] if key else None
            if isinstance(given, list):
                given = "\n".join(map(str, given)) if key == "text" or len(given) == 1 else given
            if given is not None:
                out[str(result.get("from_name"))] = given
    return out
