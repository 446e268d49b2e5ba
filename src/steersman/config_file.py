"""`steersman.toml` and `--set section.key=value` <-> `steersman.config`.

Settings are nested by component (`ppo.kl.coef`); the flat names of earlier files (`ppo.kl_coef`) are read everywhere.
An unknown key is an error that names the nearest known one; values from the command line go through the same checks
as those in the file.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import os
import re
import shlex
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from steersman import chosen
from steersman.config import Config, Leaf, RouteConfig, RuleConfig, components, leaves, replaced

TRUST = "STEERSMAN_TRUST_REMOTE_CODE"
"""1 in the environment of the one who runs Steersman lets a steersman.toml set `model.trust_remote_code`."""

LARGEST = 2**62
"""Largest whole number of a setting, which all code can represent."""


TABLES: dict[Any, tuple[type[Any], str]] = {
    "list[RuleConfig]": (RuleConfig, "rule"),
    "list[RouteConfig]": (RouteConfig, "label"),
}
"""Settings that are lists of tables: what each becomes, and the key that it cannot do without."""


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known)}"


def _checked(field: dataclasses.Field[Any], value: Any, where: str) -> Any:
    """`value` as the field's type, or a ValueError that says what was expected at `where`."""
    if field.type in TABLES:
        return _checked_tables(value, where, *TABLES[field.type])
    if field.type == "list[str]":
        if not isinstance(value, list) or not all(isinstance(name, str) and name for name in value):
            raise ValueError(f'{where}: expected a list of names, such as ["sums"], got {_shown(value)}')
        return value
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
    except (ValueError, RecursionError):  # an integer of thousands of digits, or endless nesting of lists
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


def _checked_tables(value: Any, where: str, kind: type[Any], needed: str) -> list[Any]:
    if not isinstance(value, list) or not all(isinstance(entry, dict) and needed in entry for entry in value):
        example = {"rule": "json", "label": "refund"}[needed]
        raise ValueError(
            f"{where}: expected a list of tables with '{needed}', such as [{{{needed} = \"{example}\"}}], "
            f"got {_shown(value)}"
        )
    fields = {f.name: f for f in dataclasses.fields(kind)}
    made = []
    for number, entry in enumerate(value):
        at = f"{where}[{number}]"
        for key in entry:
            if key not in fields:
                raise ValueError(f"{at}: unknown key {key}; {_nearest(key, list(fields))}")
        values = {key: _checked(fields[key], item, f"{at}.{key}") for key, item in entry.items()}
        try:
            made.append(kind(**values))
        except ValueError as error:
            raise ValueError(f"{at}: {error}") from None
    return made


def _tables_toml(entries: list[Any]) -> str:
    tables = []
    for entry in entries:
        needed = dataclasses.fields(entry)[0].name
        changed = {k: v for k, v in dataclasses.asdict(entry).items() if k == needed or v != getattr(type(entry), k)}
        tables.append(", ".join(f"{k} = {json.dumps(v, ensure_ascii=False)}" for k, v in changed.items()))
    return f"[{', '.join(f'{{{table}}}' for table in tables)}]"


def from_dict(tree: Mapping[str, Any], source: str, start: Config | None = None) -> Config:
    """A Config from nested dicts; `source` names the file in errors, `start` gives the values not set.

    A setting may stand under its component or under its flat name, not under both.
    """
    config = start or Config()
    sections = components(config)
    changed: dict[str, Any] = {}
    for name, values in tree.items():
        if name not in sections:
            raise ValueError(f"{source}: unknown section [{name}]; {_nearest(name, list(sections))}")
        if not isinstance(values, dict):
            raise ValueError(f"{source}: [{name}] must be a section, got {_shown(values)}")
        given = _given(sections[name], name, values, source)
        checked = {leaf.name: _checked(leaf.field, value, f"{source}: {at}") for at, leaf, value in given}
        if name == "model" and checked.get("dtype") == "auto":  # what a manifest records is what computes
            checked["dtype"] = chosen.dtype()
        changed[name] = replaced(sections[name], **checked)
    return dataclasses.replace(config, **changed)


def _given(section: Any, name: str, values: dict[str, Any], source: str) -> list[tuple[str, Leaf, Any]]:
    """(name in errors, setting, value) of all that a section's table sets, flat and below components."""
    known = leaves(section)
    flat, parts = {leaf.name: leaf for leaf in known}, components(section)
    nested = {leaf.path: leaf for leaf in known}
    out: list[tuple[str, Leaf, Any]] = []
    for key, value in values.items():
        if key in parts and isinstance(value, dict):
            for inner, item in value.items():
                at = f"{name}.{key}.{inner}"
                if (key, inner) not in nested:
                    paths = [".".join((name, *leaf.path)) for leaf in known]
                    near = f"did you mean '{name}.{'.'.join(flat[inner].path)}'?" if inner in flat else ""
                    raise ValueError(f"{source}: unknown key {at}; {near or _nearest(at, paths)}")
                out.append((at, nested[key, inner], item))
        elif key in flat:
            out.append((f"{name}.{key}", flat[key], value))
        elif key in parts:
            inside = ", ".join(leaf.path[1] for leaf in known if leaf.path[0] == key and len(leaf.path) > 1)
            raise ValueError(f"{source}: {name}.{key}: expected a table of {inside}; got {_shown(value)}")
        else:
            raise ValueError(f"{source}: unknown key {name}.{key}; {_nearest_flat(key, name, known)}")
    places: dict[tuple[str, ...], str] = {}
    for at, leaf, _ in out:
        if (before := places.setdefault(leaf.path, at)) != at:
            raise ValueError(f"{source}: {before} and {at} are one setting; expected one of them")
    return out


def _nearest_flat(key: str, section: str, known: Sequence[Leaf]) -> str:
    """A suggestion for an unknown key of a section, with its component."""
    said = _nearest(key, [leaf.name for leaf in known])
    found = next((leaf for leaf in known if said == f"did you mean '{leaf.name}'?"), None)
    return said if found is None or len(found.path) == 1 else f"{said} ({'.'.join((section, *found.path))})"


def old_names(tree: Mapping[str, Any]) -> list[str]:
    """The settings of a file's tree that stand under a flat name, which now belong to a component: `sft.lr`."""
    sections = components(Config())
    return [
        f"{name}.{leaf.name}"
        for name, values in tree.items()
        for leaf in leaves(sections[name])
        if len(leaf.path) > 1
        and leaf.name in values
        # a component may have the name of a setting that became part of it, such as ppo.monitors
        and not (leaf.name in components(sections[name]) and isinstance(values[leaf.name], dict))
    ]


def load(path: Path, tell: Callable[[str], None] | None = None) -> Config:
    """Read a TOML file. Raises ValueError (what, where, expected) on anything unknown or of the wrong type.

    `tell` receives a note if the file is of the old form, in which all settings of a stage stood in one flat section.
    """
    tree = read_tree(path)
    config = from_dict(tree, str(path))
    check_trust(config, str(path))
    if tell is not None and (old := old_names(tree)):
        tell(
            f"{path}: of the old form ({len(old)} settings such as {old[0]} now stand in sections of their own), and "
            f"read as ever; `steersman init --upgrade {shlex.quote(str(path.parent))}` rewrites it"
        )
    return config


def read_tree(path: Path) -> dict[str, Any]:
    """The TOML file as nested dicts. Raises ValueError where it is none."""
    raw, text = path.read_bytes(), ""
    try:
        text = raw.decode("utf-8-sig")
        return tomllib.loads(text.replace("\r\n", "\n").replace("\r", "\n"))
    except RecursionError:
        raise ValueError(f"{path}: not valid TOML: nested too deeply") from None
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path}: line {line} is not UTF-8; save the file in the encoding UTF-8") from None
    except ValueError as error:  # invalid TOML, or an integer of thousands of digits
        raise ValueError(f"{path}: not valid TOML: {error}{_advice(text, str(error))}") from None


def _advice(text: str, error: str) -> str:
    """What is usually wrong with the line that the TOML reader names: quotes of word processors, paths of Windows."""
    if (at := re.search(r"at line (\d+)", error)) is None:
        return ""
    line = text.split("\n")[int(at[1]) - 1]
    if "\\" in line and '"' in line:
        return "; a path with \\ stands between single quotes: 'C:\\models', or has / instead"
    if found := [c for c in "“”„‘’＝，" if c in line]:
        return f'; found {found[0]}, expected the plain " and ='
    return ""


def check_trust(config: Config, source: str) -> None:
    """Raises ValueError where a settings file would let a model repository's code run: it may be somebody else's."""
    if config.model.trust_remote_code and os.environ.get(TRUST) != "1":
        raise ValueError(
            f"{source}: model.trust_remote_code: a file does not decide that code of a model's repository runs: it "
            "may be somebody else's; take the line out and give --set model.trust_remote_code=true to the commands "
            f"that need it, or set {TRUST}=1 in your environment"
        )


def with_overrides(config: Config, settings: Iterable[str]) -> Config:
    """Apply 'section.component.key=value' (or flat 'section.key=value'); values are TOML, bare words are strings."""
    for setting in settings:
        name, eq, text = setting.partition("=")
        section, dot, rest = name.strip().partition(".")
        if not (eq and dot):
            raise ValueError(f"--set {setting}: expected section.key=value, such as ppo.kl.coef=0.1")
        config = from_dict({section: below(rest, toml_value(text))}, "--set", config)
    return config


def below(name: str, value: Any) -> dict[str, Any]:
    """'kl.coef' and a value as the tables of TOML: {"kl": {"coef": value}}."""
    for key in reversed(name.split(".")):
        value = {key.strip(): value}
    return dict(value)


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
        return json.dumps(value, ensure_ascii=False) if not value or isinstance(value[0], str) else _tables_toml(value)
    if isinstance(value, dict):
        return f"{{{', '.join(f'{json.dumps(k, ensure_ascii=False)} = {v!r}' for k, v in value.items())}}}"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str | bool) else repr(value)


def to_toml(config: Config, only_changed: bool = False) -> str:
    """The file that `load` reads back to an equal Config, each key explained by a comment."""
    lines = ["# Every key with its default's meaning; an unknown key is an error.", ""]
    usual = components(Config())
    for name, section in components(config).items():
        for part in ("", *components(section)):
            keys = [leaf for leaf in leaves(section) if (leaf.path[0] if len(leaf.path) > 1 else "") == part]
            keys = [leaf for leaf in keys if not only_changed or leaf.of(section) != leaf.of(usual[name])]
            if not keys:
                continue
            lines.append(f"[{name}.{part}]" if part else f"[{name}]")
            for leaf in keys:
                choices = f" ({' | '.join(leaf.field.metadata['choices'])})" if leaf.field.metadata["choices"] else ""
                lines += [f"# {leaf.field.metadata['doc']}{choices}"]
                lines += [f"{leaf.field.name} = {toml_text(leaf.of(section))}"]
            lines.append("")
    return "\n".join(lines)
