"""Grammars: what is followed, what is refused by name, and that neither size nor white space has no end."""

from __future__ import annotations

import json
import random
import re
import time
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

import tiny as t
from steersman.engine import grammar
from steersman.engine.load import load_engine
from steersman.engine.protocol import Refused
from steersman.types import SamplingParams

pytest.importorskip("llguidance")
PROMPT = t.conversation("Where is my order?")


@pytest.fixture(scope="module")
def engine(tiny: Path) -> Any:
    return load_engine(tiny, dtype="float32")


def wander(engine: Any, schema: dict[str, Any], rng: random.Random, most: int, likes: str) -> tuple[str, bool]:
    """A text that the grammar lets through token by token, as far from sense as it allows, and whether it ended."""
    state, ids = engine._grammars.of(SamplingParams(json_schema=schema)), []
    pieces = {i: engine.token_bytes(i) for i in range(350)}
    liked = {i for i, piece in pieces.items() if i != 2 and set(piece) <= set(likes.encode())}
    for _ in range(most):
        allowed = state.allowed(350, engine.decoder.device).nonzero()[:, 0].tolist()
        good = [i for i in allowed if i in liked]
        if 2 in allowed and (rng.random() < 0.5 or allowed == [2]):
            return b"".join(pieces[i] for i in ids).decode(), True
        ids.append(rng.choice(good if good and rng.random() < 0.9 else [i for i in allowed if i != 2]))
        state.accept(ids[-1])
    return b"".join(pieces[i] for i in ids).decode("utf-8", "ignore"), False


def test_white_space_of_json_has_an_end(engine: Any) -> None:
    """A model that likes nothing but white space is let have little of it between two things that are said."""
    rng = random.Random(0)
    for schema in ({"type": "object"}, {"type": "array", "items": {"type": "integer"}}, {"enum": [{"a": [1, 2]}]}):
        # and one that asks llguidance itself for more is not heard
        for asked in (schema, schema | {"x-guidance": {"whitespace_pattern": "[ ]*", "lenient": True}}):
            text, _ = wander(engine, asked, rng, 80, " \n\t\r")
            outside = re.sub(r'"(\\.|[^"\\])*("|$)', "", text)
            assert not re.search(r"\s{64}", outside), text
            assert not text.startswith((" ", "\n"))


@pytest.mark.usefixtures("with_and_without_kernels")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_untrained_model_says_objects_without_wandering(tiny: Path, dtype: str) -> None:
    engine: Any = load_engine(tiny, dtype=dtype)
    params = SamplingParams(max_tokens=150, n=6, seed=1, temperature=1.5, json_schema={"type": "object"})
    blanks = {i: 6.0 for i in range(350) if not engine.token_bytes(i).strip()}
    for bias in ({}, blanks):
        every = SamplingParams(**{**{f: getattr(params, f) for f in params.__slots__}, "logit_bias": bias})
        for answer in engine.generate([PROMPT], every)[0]:
            assert answer.text.startswith("{")
            assert not re.search(r"\s{64}", re.sub(r'"(\\.|[^"\\])*("|$)', "", answer.text))
            if answer.finish_reason == "stop":
                assert isinstance(json.loads(answer.text, strict=False), dict)


FOLLOWED: dict[str, dict[str, Any]] = {
    "minProperties": {"type": "object", "minProperties": 2},
    "patternProperties": {
        "type": "object",
        "patternProperties": {"^a": {"type": "integer"}},
        "additionalProperties": False,
    },
    "multipleOf": {"type": "integer", "multipleOf": 7},
    "minimum": {"type": "number", "minimum": 3.5, "maximum": 4},
    "exclusiveMaximum": {"type": "integer", "exclusiveMinimum": -2, "exclusiveMaximum": 3},
    "prefixItems": {"type": "array", "prefixItems": [{"type": "integer"}], "items": False},
    "minItems": {"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 3},
    "oneOf": {"oneOf": [{"type": "integer"}, {"type": "boolean"}]},
    "anyOf": {"anyOf": [{"type": "null"}, {"type": "string", "maxLength": 2}]},
    "$ref": {"$defs": {"n": {"type": "integer"}}, "$ref": "#/$defs/n", "minimum": 1, "maximum": 3},
    "pattern": {"type": "string", "pattern": "^[0-9]+$", "maxLength": 3},
    "format": {"type": "string", "format": "date"},
    "const": {"const": {"a": [1, "二"]}},
    "additionalProperties": {"type": "object", "required": ["b"], "additionalProperties": {"type": "boolean"}},
    "中文": {
        "type": "object",
        "properties": {"订单": {"type": "integer"}, "状态": {"enum": ["已发货", "待付款"]}},
        "required": ["订单", "状态"],
        "additionalProperties": False,
    },
}


@pytest.mark.parametrize("keyword", FOLLOWED)
def test_what_is_followed_is_followed(engine: Any, keyword: str) -> None:
    """Random answers that the grammar lets through are what an independent validator calls valid."""
    rng, ended = random.Random(1), 0
    for _ in range(12):
        text, whole = wander(engine, FOLLOWED[keyword], rng, 60, '"}],:0123456789')
        if whole:
            ended += 1
            assert jsonschema_rs.is_valid(FOLLOWED[keyword], json.loads(text, strict=False), validate_formats=True), (
                text
            )
    assert ended


@pytest.mark.parametrize(
    ("schema", "named"),
    [
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"type": "array", "contains": {"type": "integer"}}, "contains"),
        ({"type": "object", "properties": {"a": {"not": {"type": "integer"}}}}, "not"),
        ({"if": {"type": "integer"}, "then": {"minimum": 3}}, "if"),
        ({"type": "object", "propertyNames": {"pattern": "^a"}}, "propertyNames"),
        ({"type": "object", "dependentRequired": {"a": ["b"]}}, "dependentRequired"),
        ({"type": "string", "format": "zorp"}, "zorp"),
        ({"type": "string", "contentEncoding": "base64"}, "contentEncoding"),
        ({"type": "array", "items": {"anyOf": [{"type": "integer", "divisibleBy": 5}]}}, "divisibleBy"),
        (
            {"type": "object", "properties": {"a": {"type": "string", "contentMediaType": "text/html"}}},
            "contentMediaType",
        ),
        ({"type": "string", "pattern": "(?=a)b"}, "look-around"),
        ({"$ref": "http://example.com/x.json"}, "example.com"),
        ({"$ref": "#/$defs/none"}, "none"),
        ({"type": "strung"}, "strung"),
        ({"enum": []}, "empty"),
        ({"type": "array", "uniqueItems": True, "x-guidance": {"lenient": True}}, "uniqueItems"),
    ],
)
def test_what_is_not_followed_is_refused_by_name(engine: Any, schema: dict[str, Any], named: str) -> None:
    with pytest.raises(Refused, match=rf"sampling\.json_schema: [^§]*{re.escape(named)}"):
        engine.generate([PROMPT], SamplingParams(json_schema=schema))


def test_an_id_that_is_a_title_in_words_is_none(engine: Any) -> None:
    title = {"$id": "Output Format", "$schema": "http://json-schema.org/draft-07/schema#", "type": "boolean"}
    assert engine._grammars.of(SamplingParams(json_schema=title)) is not None
    by_id = {"$id": "http://x.org/a", "$ref": "http://x.org/a#/$defs/b", "$defs": {"b": {"enum": [7]}}}
    state = engine._grammars.of(SamplingParams(json_schema=by_id))
    assert [engine.token_bytes(int(i)) for i in state.allowed(350, engine.decoder.device).nonzero()] == [b"7"]


def test_names_of_properties_and_data_are_no_keywords(engine: Any) -> None:
    schema = {
        "type": "object",
        "properties": {"contentEncoding": {"type": "integer"}, "extends": {"enum": [{"disallow": 1}]}},
        "title": "a",
        "default": {"divisibleBy": 3},
    }
    assert engine._grammars.of(SamplingParams(json_schema=schema)) is not None


def deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


LARGE: dict[str, dict[str, Any]] = {
    "long regex": {"regex": "a" * 10**6},
    "many dots": {"regex": "(.*)" * 1000},
    "nested": {"regex": "(" * 3000 + "a"},
    "nothing": {"regex": r"[^\s\S]"},
    "half a character": {"regex": "\ud800"},
    "many values": {"json_schema": {"enum": [f"v{i}" for i in range(100_000)]}},
    "deep": {"json_schema": deep(5000)},
    "less deep": {"json_schema": deep(300)},
    "itself": {"json_schema": {"$ref": "#"}},
    "huge number": {"json_schema": {"type": "integer", "maximum": 10**400}},
    "many properties": {"json_schema": {"type": "object", "properties": {f"v{i}": {} for i in range(1500)}}},
    "intersections": {"json_schema": {"allOf": [{"type": "string", "pattern": f"a{i}b"} for i in range(30)]}},
    "multiples": {"json_schema": {"anyOf": [{"type": "integer", "multipleOf": 900 + i} for i in range(10)]}},
    "not JSON": {"json_schema": {"enum": [{1, 2}]}},
}


@pytest.mark.parametrize("name", LARGE)
def test_what_is_too_large_is_refused_soon(engine: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grammar, "_CHILD", grammar._CHILD.replace("(2, 2)", "(1, 1)"))
    began = time.process_time()
    with pytest.raises(Refused, match=r"sampling\.(regex|json_schema): .{1,400}$"):
        engine.generate([PROMPT], SamplingParams(max_tokens=4, **LARGE[name]))
    assert time.process_time() - began < 3, "of this process"
    assert engine.generate([PROMPT], SamplingParams(max_tokens=4, seed=1))[0][0].token_ids


def test_a_grammar_is_made_once_for_a_call(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    of = engine._grammars.of
    monkeypatch.setattr(engine._grammars, "of", lambda params: (made.append(params), of(params))[1])
    params = SamplingParams(max_tokens=30, n=3, seed=1, regex="[a-z]{2,5}")
    answers = engine.generate([PROMPT] * 4, params)
    assert len(made) == 1
    assert len({a.text for group in answers for a in group}) > 3, "each goes its own way"
    assert all(re.fullmatch("[a-z]{2,5}", a.text) for group in answers for a in group)


def test_going_on_after_the_end_of_a_grammar_is_the_end_again(engine: Any) -> None:
    (answer,) = engine.generate([PROMPT], SamplingParams(max_tokens=9, seed=1, regex="[0-9]{2}", ignore_end=True))[0]
    assert re.fullmatch("[0-9]{2}", answer.text)
