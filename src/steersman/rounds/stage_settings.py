"""A stage's settings: what each means, and changing them in steersman.toml with all else left as it is written."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

from steersman import config as configs
from steersman import config_file, config_rewrite, locks
from steersman.artifact.files import rewrite
from steersman.artifact.workspace import CONFIG_NAME, Workspace
from steersman.rounds import registry

PLAIN = ("bool", "int", "float")
"""Types that the page can change; of texts only those with a choice: others name files and functions."""


def sections() -> list[str]:
    """Sections that belong to a stage or to the whole round."""
    return list(dict.fromkeys([*(stage.section for stage in registry.stages() if stage.section), "round"]))


def described(space: Workspace, section: str) -> list[dict[str, Any]]:
    """{name, value, default, type, choices, low, high, about, plain} of each setting, in the order of the declaration.

    `plain`: it may be changed from elsewhere than the file. ValueError where no stage has that section.
    """
    _check(section)
    own, usual = getattr(space.config, section), getattr(configs.Config(), section)
    now, default = configs.to_dict(own), configs.to_dict(usual)
    return [
        {
            "name": ".".join(leaf.path),
            "value": now.get(leaf.name, leaf.default),
            "default": default.get(leaf.name, leaf.default),
            "type": str(leaf.field.type),
            "choices": list(leaf.field.metadata["choices"]),
            "low": leaf.field.metadata.get("low"),
            "high": leaf.field.metadata.get("high"),
            "about": leaf.field.metadata["doc"],
            "plain": _plain(leaf),
        }
        for leaf in configs.leaves(own)
    ]


def _plain(leaf: configs.Leaf) -> bool:
    chosen = bool(leaf.field.metadata["choices"]) and not leaf.field.metadata.get("several")
    return str(leaf.field.type) in PLAIN or (str(leaf.field.type) == "str" and chosen)


def _check(section: str) -> None:
    if section not in sections():
        raise ValueError(f"section: no settings of {section!r}; expected one of {', '.join(sections())}")


def change(space: Workspace, section: str, values: Mapping[str, Any]) -> None:
    """Set plain settings by their names below the section ("kl.coef").

    Raises ValueError, with nothing written, where one is unknown, not plain, or not of its type and bounds.
    """
    _check(section)
    leaves = {".".join(leaf.path): leaf for leaf in configs.leaves(getattr(space.config, section))}
    for name, value in values.items():
        if name not in leaves:
            raise ValueError(f"{section}.{name}: no such setting; expected one of {', '.join(leaves)}")
        if not _plain(leaves[name]):
            raise ValueError(f"{section}.{name}: can be changed in {CONFIG_NAME} alone: it is no number and no choice")
        *above, last = leaves[name].path
        config_file.from_dict({section: {above[0]: {last: value}} if above else {last: value}}, CONFIG_NAME)
    write(space, section, {leaves[name].name: value for name, value in values.items()})


def write(space: Workspace, section: str, values: Mapping[str, Any]) -> None:
    """Put values (by flat names) into steersman.toml; all other lines, comments included, stay as they are.

    Raises ValueError where a value is not what its setting expects, or the file is written in a way that cannot be
    edited.
    """
    path = space.root / CONFIG_NAME
    with locks.brief(path):
        expected = config_file.from_dict({section: dict(values)}, CONFIG_NAME, config_file.load(path))
        text = config_rewrite.edited(path.read_text(encoding="utf-8-sig"), section, values)
        if text is None or config_file.from_dict(tomllib.loads(text), str(path)) != expected:
            raise ValueError(
                f"{path}: cannot be edited as it is written; put these into [{section}] yourself: {dict(values)}"
            )
        rewrite(path, text)
