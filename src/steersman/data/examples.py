"""Labelled texts, pairs, passages with answers and texts that belong together, from files as people have them.

Forms: tables with or without headings (CSV, TSV, Excel, parquet), JSON lines, lists of JSON, SQuAD's nested JSON,
CLUE's and GLUE's fields. What a column means is known by its name, or said by `columns` (role -> name). A record that
lacks something is counted and left out; a file without the columns of its kind is refused with the names expected.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from steersman.data.example_fields import (
    ROLES,
    Row,
    labels_of,
    named_nothing,
    number_of,
    roles_in,
    split_of,
    text_of,
)
from steersman.data.example_files import rows_in
from steersman.data.reading import Reading

KINDS = ("single_label", "multi_label", "regression", "span", "embedding")


@dataclass(frozen=True)
class Example:
    """One record. `text` is the text, the first of a pair, the question about a passage, or what is searched with."""

    id: str
    text: str
    second: str = ""
    """The second of a pair, the passage, or what belongs to the text."""
    labels: tuple[str, ...] = ()
    score: float | None = None
    answers: tuple[tuple[int, str], ...] = ()
    """(first character in the passage, text); none for a question that the passage does not answer."""
    negatives: tuple[str, ...] = ()
    """Texts that do not belong to `text`, though they seem to."""
    split: str = ""
    """'train', 'validation' or 'test' where the record says so."""


@dataclass
class Examples:
    """What files hold: the kind of their records, and what was left out or decided, counted."""

    kind: str
    records: list[Example] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def of(self, *splits: str) -> list[Example]:
        return [r for r in self.records if r.split in splits]


def load(
    paths: Sequence[Path], reading: Reading, columns: Mapping[str, str] | None = None, kind: str = "auto"
) -> Examples:
    """The examples of files, which must be of one kind; `kind`: one of KINDS, or auto.

    Raises ValueError 'file: what was expected', also where nothing is left.
    """
    columns = dict(columns or {})
    if unknown := sorted(set(columns) - set(ROLES)):
        raise ValueError(f"encoder.columns: {unknown[0]}: expected roles among {', '.join(ROLES)}")
    every: list[Examples] = []
    for path in paths:
        every.append(_of_file(path, reading, columns, kind))
        if every[-1].kind != every[0].kind:
            raise ValueError(
                f"{path}: holds {every[-1].kind} examples, {paths[0]} {every[0].kind} ones; expected one kind: "
                "encoder.task says which"
            )
    merged = Examples(every[0].kind)
    for one in every:
        merged.records += one.records
        merged.left_out += one.left_out
        merged.notes += one.notes
    return _unique(merged)


def _of_file(path: Path, reading: Reading, columns: Mapping[str, str], kind: str) -> Examples:
    out = Examples("")
    good = list(rows_in(path, reading, columns, out.left_out, out.notes))
    if not good:
        told = "; ".join(f"{n} {why}" for why, n in out.left_out.items())
        raise ValueError(f"{path}: expected labelled records, found none{f' ({told})' if told else ''}")
    roles = roles_in(good, columns, str(path), out.notes)
    out.kind = kind if kind != "auto" else _kind(good, roles)
    _check(out.kind, roles, good, path)
    names = named_nothing(row.get(roles["label"]) for row in good) if out.kind == "single_label" else {}
    for word, n in names.items():
        out.notes.append(f"{path}: '{word}' is a label of its own ({n} of {len(good)} records)")
    if strange := _strange_splits(good, roles):
        out.notes.append(f"{path}: a split that is not known is none: {strange}")
    for number, row in enumerate(good, 1):
        made = _example(row, roles, out.kind, f"{path.name}:{number}", names)
        if isinstance(made, Example):
            out.records.append(made)
        else:
            out.left_out[made] += 1
    if not out.records:
        told = "; ".join(f"{n} {why}" for why, n in out.left_out.items())
        raise ValueError(f"{path}: expected at least one {out.kind} example, found none ({told})")
    return out


def _kind(rows: Sequence[Row], roles: Mapping[str, Any]) -> str:
    """What the columns mean together."""
    if "answers" in roles:
        return "span"
    if "positive" in roles:
        return "embedding"
    if "flags" in roles:
        return "multi_label"
    if "label" not in roles:
        return "regression" if "score" in roles else "single_label"
    values = [row.get(roles["label"]) for row in rows]
    if any(isinstance(v, list) or (isinstance(v, str) and v.startswith("[") and v.endswith("]")) for v in values):
        return "multi_label"
    numbers = [number_of(v) for v in values]
    if all(n is not None for n in numbers) and any(n != round(n) for n in numbers if n is not None):
        return "regression"
    return "single_label"


NEEDED = {
    "single_label": ("text", "label"),
    "multi_label": ("text", "label"),
    "regression": ("text", "second", "score"),
    "span": ("text", "second", "answers"),
    "embedding": ("text", "positive"),
}
"""Roles that a kind cannot do without; 'label' may be columns of 0 and 1, 'positive' a pair with a label."""
INSTEAD = {("multi_label", "label"): "flags", ("regression", "score"): "label", ("embedding", "positive"): "second"}


def _check(kind: str, roles: Mapping[str, Any], rows: Sequence[Row], path: Path) -> None:
    lacking = [role for role in NEEDED[kind] if role not in roles and INSTEAD.get((kind, role)) not in roles]
    if lacking:
        there = ", ".join(dict.fromkeys(str(name) for row in rows[:50] for name in row))
        example = f'encoder.columns = ["{lacking[0]}=NAME"]'
        known = ", ".join(ROLES[lacking[0]][:8])
        raise ValueError(
            f"{path}: {kind} examples need {', '.join(NEEDED[kind])}; no column of {lacking[0]} among {there[:300]}; "
            f"expected one of {known}, or say it: {example}"
        )


def _strange_splits(rows: Sequence[Row], roles: Mapping[str, Any]) -> str:
    """What records name as their split and is none that is known, with counts; '' where nothing is."""
    said = Counter(text_of(row.get(roles["split"])) for row in rows) if "split" in roles else Counter[str]()
    strange = [f"{name[:30]} ({n} records)" for name, n in said.most_common() if name and not split_of(name)]
    return ", ".join(strange[:5])


def _example(row: Row, roles: Mapping[str, Any], kind: str, id_: str, names: Container[str] = ()) -> Example | str:
    """The record, or why it is left out; `names`: as `labels_of` takes them."""
    given = text_of(row.get(roles["id"])) if "id" in roles else ""
    text, second = (text_of(row.get(roles[role])) if role in roles else "" for role in ("text", "second"))
    made = Example(given or id_, text, second, split=split_of(row.get(roles["split"])) if "split" in roles else "")
    if not text:
        return "without a text"
    if kind in ("span", "regression") and not second:
        return "without a second text"
    if kind == "embedding":
        return _belonging(row, roles, made)
    if kind == "span":
        return _with_answers(row, roles, made)
    if kind == "regression":
        score = number_of(row.get(roles.get("score", roles.get("label", ""))))
        return "without a score" if score is None else dataclasses.replace(made, score=score)
    if "flags" in roles and kind == "multi_label":
        return dataclasses.replace(made, labels=tuple(n for n in roles["flags"] if str(row.get(n)) in ("1", "1.0")))
    labels = labels_of(row.get(roles["label"]), kind == "multi_label", names)
    if labels is None:
        return "without a label"
    if kind == "single_label" and len(labels) != 1:
        return f"with {len(labels)} labels where one was expected"
    return dataclasses.replace(made, labels=labels)


YES = ("1", "1.0", "true", "yes", "entailment", "positive", "similar", "是", "相似")
NO = ("0", "0.0", "false", "no", "contradiction", "negative", "dissimilar", "否", "不相似")


def _belonging(row: Row, roles: Mapping[str, Any], made: Example) -> Example | str:
    negatives = tuple(text_of(x) for name in roles.get("negatives", ()) for x in _listed(row.get(name)) if text_of(x))
    if "positive" in roles:
        second = text_of(row.get(roles["positive"]))
        return dataclasses.replace(made, second=second, negatives=negatives) if second else "without a second text"
    if not made.second:
        return "without a second text"
    if "label" not in roles:
        return dataclasses.replace(made, negatives=negatives)
    said = str(row.get(roles["label"])).strip().lower()
    if said in YES:
        return dataclasses.replace(made, negatives=negatives)
    return dataclasses.replace(made, second="", negatives=(made.second,)) if said in NO else "of another relation"


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _with_answers(row: Row, roles: Mapping[str, Any], made: Example) -> Example | str:
    value = row.get(roles["answers"])
    starts = _listed(row.get(roles["start"])) if "start" in roles else []
    if isinstance(value, Mapping):
        texts, starts = _listed(value.get("text", [])), _listed(value.get("answer_start", value.get("start", [])))
    else:
        items = _listed(value) if value is not None else []
        texts = [item.get("text", "") if isinstance(item, Mapping) else item for item in items]
        inside = [item.get("answer_start", item.get("start")) for item in items if isinstance(item, Mapping)]
        starts = inside or starts
    found: dict[tuple[int, str], None] = {}
    for number, text in enumerate(texts):
        said = number_of(starts[number]) if number < len(starts) else None
        at = _place(made.second, str(text or ""), None if said is None else int(said))
        if at is not None:
            found[at, str(text)] = None
    if any(str(text or "") for text in texts) and not found:
        return "whose answer does not stand in the passage"
    return dataclasses.replace(made, answers=tuple(found))


def _place(passage: str, answer: str, said: int | None) -> int | None:
    """Where the answer stands: where it is said to, else where it is nearest to that, else its first place."""
    if not answer or answer not in passage:
        return None
    if said is None or said < 0:
        return passage.index(answer)
    if passage.startswith(answer, said):
        return said
    places = [i for i in range(len(passage)) if passage.startswith(answer, i)]
    return min(places, key=lambda i: abs(i - said))


def _unique(found: Examples) -> Examples:
    """Repeated records once; pairs that do not belong together become negatives of those that do; what is of one text
    and different labels stays and is said."""
    seen: set[Example] = set()
    records = []
    for record in found.records:
        key = dataclasses.replace(record, id="")
        if key in seen:
            found.left_out["repeated"] += 1
        else:
            seen.add(key)
            records.append(record)
    found.records = _paired(records, found) if found.kind == "embedding" else records
    if found.kind == "single_label":
        said: dict[tuple[str, str], set[tuple[str, ...]]] = {}
        for record in found.records:
            said.setdefault((record.text, record.second), set()).add(record.labels)
        if torn := sum(len(labels) > 1 for labels in said.values()):
            found.notes.append(f"{torn} texts stand there with different labels; all are learned")
    return found


def _paired(records: list[Example], found: Examples) -> list[Example]:
    """Records with a text that belongs to them, each with all negatives of its text."""
    against: dict[str, list[str]] = {}
    for record in records:
        against.setdefault(record.text, []).extend(record.negatives)
    out = [
        dataclasses.replace(r, negatives=tuple(dict.fromkeys(x for x in against[r.text] if x != r.second)))
        for r in records
        if r.second
    ]
    if lone := len(records) - len(out):
        found.left_out["of two texts that do not belong together (negatives where their first text has a match)"] += (
            lone
        )
    if not out:
        raise ValueError("no two texts that belong together; expected some, of label 1")
    return out
