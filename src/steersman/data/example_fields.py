"""Which column of a labelled record means what: names as public sets and people's tables have them."""

from __future__ import annotations

import ast
import json
import math
import re
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]

ROLES: Mapping[str, tuple[str, ...]] = {
    "text": (
        *("text", "sentence", "sentence1", "premise", "question1", "query1", "text1", "text_a", "s1", "utterance"),
        *("question", "query", "anchor", "content", "review", "comment", "message", "input", "tweet", "title", "abst"),
        *("文本", "句子", "内容", "问题", "评论", "句子1"),
    ),
    "second": ("sentence2", "hypothesis", "question2", "query2", "text2", "text_b", "s2", "sent2", "句子2"),
    "label": (
        *("label", "labels", "intent", "category", "class", "target", "tag", "tags", "gold_label", "is_duplicate"),
        *("relevance", "emotion", "emotions", "sentiment", "topic", "标签", "类别", "意图", "分类"),
    ),
    "name": ("label_desc", "label_des", "label_text", "label_name", "category_name"),
    "score": ("score", "similarity", "similarity_score", "sts", "分数", "相似度"),
    "answers": ("answers", "answer", "answer_text", "答案"),
    "start": ("answer_start", "start", "answer_starts"),
    "positive": ("positive", "pos", "positives", "positive_passages"),
    "negatives": ("negative", "negatives", "neg", "hard_negative", "hard_negatives", "negative_passages", "neg_title"),
    "split": ("split", "subset", "partition", "划分"),
    "id": ("id", "qid", "guid", "idx", "index", "编号"),
}
"""Role -> names of its column, the likelier first."""
PASSAGES = ("context", "passage", "paragraph", "段落", "文章")
PAIRS = (
    *((asked, passage) for asked in ("question", "问题") for passage in PASSAGES),
    *(("context", "response"), ("prompt", "response"), ("query", "title"), ("query", "passage"), ("query", "document")),
    *(("question", "sentence"), ("abst", "keyword"), ("question", "answer")),
)
"""Names that are two texts where both are there, though each alone may be something else."""
NOTHING = ("", "-", "-1", "none", "null", "nan", "n/a")
"""Labels that say that there is none: CLUE's tests have -1, SNLI's and OCNLI's '-'."""
MAY_NAME = ("-1", "none")
"""Of NOTHING what is a label where many records have it: sentiment is -1, 0 or 1, a stance for, against or none."""
MANY = 0.05
"""Share of the records from which it is one; that of records that nobody could label is lower (SNLI: 0.001)."""
SPLITS = {
    **dict.fromkeys(("train", "training", "训练", "训练集"), "train"),
    **dict.fromkeys(("dev", "devel", "val", "valid", "validation", "eval", "验证", "验证集", "开发集"), "validation"),
    **dict.fromkeys(("test", "testing", "测试", "测试集"), "test"),
}


def plain(name: Any) -> str:
    return re.sub(r"[\s\-]+", "_", str(name).strip().lower())


def roles_in(rows: Sequence[Row], columns: Mapping[str, str], where: str, notes: list[str]) -> dict[str, Any]:
    """Role -> column, of 'negatives' and 'flags' (columns of 0 and 1) the columns. `columns`: what was said.

    Raises ValueError where a column that was said is not there, or there is none that could be the text.
    """
    there = {plain(name): name for row in rows[:200] for name in row}
    roles: dict[str, Any] = {}
    for role, name in columns.items():
        if plain(name) not in there:
            raise ValueError(
                f"{where}: no column '{name}' ({role}); the file has {', '.join(map(str, there.values()))}"
            )
        roles[role] = there[plain(name)]
    judged = {"label", "labels", "relevance", *columns}
    pair = next((pair for pair in PAIRS if set(pair) <= set(there)), None)
    if pair and not {"text", "second"} & set(roles) and (pair[1] != "answer" or judged & set(there)):
        second = "positive" if "neg_title" in there else "second"
        roles |= {"text": there[pair[0]], second: there[pair[1]]}
    for role, names in ROLES.items():
        taken = {value for value in roles.values() if isinstance(value, str)}
        found = [there[n] for n in names if n in there and there[n] not in taken]
        if role in roles or not found:
            continue
        if role == "negatives":
            roles[role] = found
        elif role not in ("answers", "start") or _is_span(there):
            roles[role] = found[0]
    numbered = [there[n] for n in sorted(there) if re.fullmatch(r"(hard_)?neg(ative)?s?_?\d+", n)]
    if numbered and "positive" in roles:
        roles["negatives"] = [*roles.get("negatives", []), *numbered]
    if "negatives" in roles and not isinstance(roles["negatives"], list):
        roles["negatives"] = [roles["negatives"]]
    if "text" not in roles:
        expected = f'expected one of {", ".join(ROLES["text"][:10])}, or say it: encoder.columns = ["text=NAME"]'
        raise ValueError(f"{where}: no column of text among {', '.join(map(str, there.values()))}; {expected}")
    if "label" not in roles and (flags := _flags(rows, roles)):
        roles["flags"] = flags
    _named(rows, roles, notes)
    known = {x for value in roles.values() for x in (value if isinstance(value, list) else [value])}
    if unused := [str(name) for name in there.values() if name not in known]:
        notes.append(f"{where}: columns that are not used: {', '.join(unused[:8])}")
    shown = {r: v for r, v in roles.items() if r not in ("id", "split")}
    notes.append(f"{where}: read as " + ", ".join(f"{r} = {v}" for r, v in shown.items()))
    return roles


def _is_span(there: Mapping[str, str]) -> bool:
    """Whether answers are parts of a passage: there is a passage, and no label."""
    return bool(set(PASSAGES) & set(there)) and not {"label", "labels", "category"} & set(there)


def _flags(rows: Sequence[Row], roles: Mapping[str, Any]) -> list[str]:
    """Columns that hold 0 or 1 in every row, two at least: a label each, as moderation sets have them."""
    taken = set(map(str, roles.values()))
    names = [n for n in rows[0] if str(n) not in taken]
    found = [n for n in names if all(str(row.get(n)) in ("0", "1", "0.0", "1.0") for row in rows)]
    return found if len(found) > 1 else []


def _named(rows: Sequence[Row], roles: dict[str, Any], notes: list[str]) -> None:
    """Take a label's description for its number where each number has one of its own."""
    if "name" not in roles:
        return
    name = roles.pop("name")
    if "label" not in roles:
        roles["label"] = name
        return
    pairs = {(str(row.get(roles["label"])), str(row.get(name))) for row in rows if text_of(row.get(name))}
    if pairs and len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs}):
        notes.append(f"labels are named by '{name}', one for each value of '{roles['label']}'")
        roles["label"] = name


def text_of(value: Any) -> str:
    """A cell as text; a list of texts joined."""
    if isinstance(value, list):
        return "; ".join(filter(None, map(text_of, value)))
    return "" if value is None or isinstance(value, Mapping | bool) else str(value).strip()


def number_of(value: Any) -> float | None:
    """A finite number, or None."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def named_nothing(values: Iterable[Any]) -> dict[str, int]:
    """The words of MAY_NAME that are labels of their own among these cells -> how often they are."""
    counts = Counter(_label(value).lower() for value in values if not isinstance(value, list))
    others = sum(n for label, n in counts.items() if label not in NOTHING)
    return {w: counts[w] for w in MAY_NAME if others and counts[w] >= max(2, MANY * counts.total())}


def labels_of(value: Any, several: bool, names: Container[str] = ()) -> tuple[str, ...] | None:
    """The labels in a cell; None where it says that there is none. With `several` a list, or text with separators.
    `names`: words of NOTHING that are labels here."""
    if isinstance(value, str) and value.strip().startswith("[") and value.strip().endswith("]"):
        value = _list_in(value.strip())
    if isinstance(value, list):
        return tuple(dict.fromkeys(filter(None, (_label(x) for x in value))))
    label = _label(value)
    if not several:
        return None if label.lower() in NOTHING and label.lower() not in names else (label,)
    parts = [part.strip() for part in re.split(r"[,;|、，；]", label)]
    return tuple(dict.fromkeys(p for p in parts if p.lower() not in NOTHING))


def _label(value: Any) -> str:
    if isinstance(value, Mapping):
        value = value.get("name", value.get("label", ""))
    if isinstance(value, bool):
        return str(value).lower()
    return (
        str(int(value))
        if isinstance(value, float) and value == round(value)
        else str("" if value is None else value).strip()
    )


def _list_in(text: str) -> Any:
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        return found if isinstance(found, list) else [found]
    return [part.strip(" '\"") for part in text[1:-1].split(",")]


def split_of(value: Any) -> str:
    """'train', 'validation' or 'test' as a record says it, such as 'dev' or 'oos_val'; '' where it says none."""
    name = plain(value or "")
    return next((SPLITS[part] for part in name.split("_") if part in SPLITS), "")
