"""`steersman.toml` and `--set section.key=value` <-> `steersman.config`.

An unknown key is an error that names the nearest known one; values from the command line go through the same checks
as those in the file.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import os
import tomllib
import typing
from pathlib import Path
from typing import Any

from steersman.config import Config, RuleConfig

TRUST = "STEERSMAN_TRUST_REMOTE_CODE"
"""1 in the environment of the one who runs Steersman lets a steersman.toml set `model.trust_remote_code`."""

LARGEST = 2**62
"""No whole number is meant to be larger, and all that computes with them can hold it."""


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known)}"


def _checked(field: dataclasses.Field[Any], value: Any, where: str) -> Any:
    """`value` as the field's type, or a ValueError that says what was expected at `where`."""
    if field.type == "list[RuleConfig]":
        return _checked_rules(value, where)
    if field.type == "dict[str, float]":
        return _checked_weights(value, where)
    kind = {"str": str, "int": int, "float": float, "bool": bool}[str(field.type)]
    if kind is float and type(value) is int and abs(value) < LARGEST:
        value = float(value)
    if type(value) is not kind:
        raise ValueError(f"{where}: expected {kind.__name__}, got {_shown(value)}")
    if isinstance(value, int) and abs(value) >= LARGEST:
        raise ValueError(f"{where}: expected a number below {LARGEST}, got {_shown(value)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{where}: expected a number, got {value}")
    low, high = field.metadata["low"], field.metadata["high"]
    if kind in (int, float) and ((low is not None and value < low) or (high is not None and value > high)):
        expected = f"{low:g} to {high:g}" if high is not None else f"at least {low:g}"
        raise ValueError(f"{where}: expected {expected}, got {_shown(value)}")
    choices = field.metadata["choices"]
    several = field.metadata["several"]
    named = [part.strip() for part in str(value).split(",") if part.strip()] if several else [value]
    if choices and (wrong := [name for name in named if name not in choices]):
        expected = f"{'any' if several else 'one'} of {', '.join(choices)}"
        raise ValueError(f"{where}: expected {expected}, got {wrong[0]!r}; {_nearest(str(wrong[0]), list(choices))}")
    return value


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits, or lists in lists without end
        return type(value).__name__
    return text if len(text) <= 200 else f"{text[:200]}..."


def _checked_weights(value: Any, where: str) -> dict[str, float]:
    good = isinstance(value, dict) and all(type(w) in (int, float) and 0 <= w < math.inf for w in value.values())
    if not good or (value and not any(value.values())):
        raise ValueError(
            f"{where}: expected a table of names and weights of at least 0, one above 0, such as {{helpful = 1.0}}, "
            f"got {_shown(value)}"
        )
    return {name: float(weight) for name, weight in sorted(value.items())}  # the order of a reward model's heads


def _checked_rules(value: Any, where: str) -> list[RuleConfig]:
    if not isinstance(value, list) or not all(isinstance(entry, dict) and "rule" in entry for entry in value):
        raise ValueError(
            f"{where}: expected a list of tables with 'rule', such as [{{rule = \"json\"}}], got {_shown(value)}"
        )
    fields = {f.name: f for f in dataclasses.fields(RuleConfig)}
    made = []
    for number, entry in enumerate(value):
        at = f"{where}[{number}]"
        for key in entry:
            if key not in fields:
                raise ValueError(f"{at}: unknown key {key}; {_nearest(key, list(fields))}")
        values = {key: _checked(fields[key], item, f"{at}.{key}") for key, item in entry.items()}
        try:
            made.append(RuleConfig(**values))
        except ValueError as error:
            raise ValueError(f"{at}: {error}") from None
    return made


def _rules_toml(entries: list[RuleConfig]) -> str:
    tables = []
    for entry in entries:
        changed = {k: v for k, v in dataclasses.asdict(entry).items() if k == "rule" or v != getattr(RuleConfig, k)}
        tables.append(", ".join(f"{k} = {json.dumps(v, ensure_ascii=False)}" for k, v in changed.items()))
    return f"[{', '.join(f'{{{table}}}' for table in tables)}]"


def from_dict(tree: dict[str, Any], source: str, start: Config | None = None) -> Config:
    """A Config from nested dicts; `source` names the file in errors, `start` gives the values not set."""
    config = start or Config()
    sections = {f.name: getattr(config, f.name) for f in dataclasses.fields(Config)}
    changed: dict[str, Any] = {}
    for name, values in tree.items():
        if name not in sections:
            raise ValueError(f"{source}: unknown section [{name}]; {_nearest(name, list(sections))}")
        if not isinstance(values, dict):
            raise ValueError(f"{source}: [{name}] must be a section, got {_shown(values)}")
        fields = {f.name: f for f in dataclasses.fields(sections[name])}
        for key in values:
            if key not in fields:
                raise ValueError(f"{source}: unknown key {name}.{key}; {_nearest(key, list(fields))}")
        checked = {key: _checked(fields[key], value, f"{source}: {name}.{key}") for key, value in values.items()}
        changed[name] = dataclasses.replace(sections[name], **checked)
    return dataclasses.replace(config, **changed)


def load(path: Path) -> Config:
    """Read a TOML file. Raises ValueError (what, where, expected) on anything unknown or of the wrong type."""
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError(f"{path}: not valid TOML: nested too deeply") from None
    except ValueError as error:  # of TOML, of UTF-8, of an integer of thousands of digits
        raise ValueError(f"{path}: not valid TOML: {error}") from None
    config = from_dict(tree, str(path))
    check_trust(config, str(path))
    return config


def check_trust(config: Config, source: str) -> None:
    """Raises ValueError where a settings file would let a model repository's code run: it may be somebody else's."""
    if config.model.trust_remote_code and os.environ.get(TRUST) != "1":
        raise ValueError(
            f"{source}: model.trust_remote_code: a file does not decide that code of a model's repository runs: it "
            "may be somebody else's; take the line out and give --set model.trust_remote_code=true to the commands "
            f"that need it, or set {TRUST}=1 in your environment"
        )


def with_overrides(config: Config, settings: typing.Iterable[str]) -> Config:
    """Apply 'section.key=value' strings; values are TOML, bare words are strings."""
    for setting in settings:
        name, eq, text = setting.partition("=")
        section, dot, key = name.strip().partition(".")
        if not (eq and dot):
            raise ValueError(f"--set {setting}: expected section.key=value, such as ppo.kl_coef=0.1")
        config = from_dict({section: {key: toml_value(text)}}, "--set", config)
    return config


def toml_value(text: str) -> Any:
    """A value as in the file; a bare word is a string."""
    try:
        return tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        return text.strip()
    except (ValueError, RecursionError) as error:
        raise ValueError(f"--set: expected a value as in the file, got {text[:80]}: {error}") from None


def toml_text(value: Any) -> str:
    if isinstance(value, list):
        return _rules_toml(value)
    if isinstance(value, dict):
        return f"{{{', '.join(f'{json.dumps(k, ensure_ascii=False)} = {v!r}' for k, v in value.items())}}}"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str | bool) else repr(value)


def to_toml(config: Config, only_changed: bool = False) -> str:
    """The file that `load` reads back to an equal Config, each key explained by a comment."""
    lines = ["# Every key with its default's meaning; an unknown key is an error.", ""]
    for section in dataclasses.fields(config):
        values = getattr(config, section.name)
        start = type(values)()
        keys = [
            f
            for f in dataclasses.fields(values)
            if not only_changed or getattr(values, f.name) != getattr(start, f.name)
        ]
        if not keys:
            continue
        lines.append(f"[{section.name}]")
        for f in keys:
            choices = f" ({' | '.join(f.metadata['choices'])})" if f.metadata["choices"] else ""
            lines += [f"# {f.metadata['doc']}{choices}", f"{f.name} = {toml_text(getattr(values, f.name))}"]
        lines.append("")
    return "\n".join(lines)
