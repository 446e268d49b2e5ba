"""A stage's settings are nested by component; each also has one flat name, unique in its section.

    sft.optimizer.lr      flat: sft.lr
    ppo.kl.coef           flat: ppo.kl_coef

Manifests, marks of unfinished work and studies record the flat names, which all versions have written, so that moving
a setting from one component to another makes no artifact stale. The command line and steersman.toml read both.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, TypeVar

S = TypeVar("S")


@dataclass(frozen=True)
class Leaf:
    """One setting of a section: its flat name, its path below the section, and its declaration."""

    name: str
    path: tuple[str, ...]
    field: dataclasses.Field[Any]

    @property
    def late(self) -> bool:
        return bool(self.field.metadata["late"])

    @property
    def default(self) -> Any:
        """The declaration's default; a section may override it."""
        made = self.field.default_factory
        return self.field.default if made is dataclasses.MISSING else made()

    def of(self, section: Any) -> Any:
        """The setting's value."""
        for name in self.path:
            section = getattr(section, name)
        return section


def components(section: Any) -> dict[str, Any]:
    """The parts that a section is nested by, by name."""
    values = {f.name: getattr(section, f.name) for f in dataclasses.fields(section)}
    return {name: value for name, value in values.items() if dataclasses.is_dataclass(value)}


def leaves(section: Any) -> tuple[Leaf, ...]:
    """Every setting of a section (an instance), in the order of its declaration."""
    parts, out = components(section), []
    for f in dataclasses.fields(section):
        inner = dataclasses.fields(parts[f.name]) if f.name in parts else ()
        out += [Leaf(g.metadata["was"] or g.name, (f.name, g.name), g) for g in inner]
        if f.name not in parts:
            out.append(Leaf(f.metadata["was"] or f.name, (f.name,), f))
    return tuple(out)


def flat_name(section: Any, path: str) -> str:
    """'lr' for 'optimizer.lr'; a string that is no setting's path is returned unchanged."""
    return next((leaf.name for leaf in leaves(section) if ".".join(leaf.path) == path), path)


def late(section: Any) -> dict[str, Any]:
    """Settings of a section that are recorded only where they are set, and what they are otherwise."""
    return {leaf.name: leaf.default for leaf in leaves(section) if leaf.late}


def before(section: Any) -> dict[str, Any]:
    """Settings of a section that are recorded and came later than others, and what runs did before them."""
    found = {leaf.name: leaf.field.metadata.get("before") for leaf in leaves(section)}
    return {name: value for name, value in found.items() if value is not None}


def replaced(section: S, **values: Any) -> S:
    """The section with other values, given by flat names: `replaced(SftConfig(), lr=1e-4, row_tokens=512)`."""
    known = {leaf.name: leaf.path for leaf in leaves(section)}
    own: dict[str, Any] = {}
    inside: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        if name not in known:
            raise TypeError(f"{type(section).__name__} has no setting '{name}'")
        *part, field = known[name]
        (inside.setdefault(part[0], {}) if part else own)[field] = value
    own |= {part: dataclasses.replace(getattr(section, part), **changed) for part, changed in inside.items()}
    return dataclasses.replace(section, **own)  # type: ignore[type-var]


def to_dict(settings: Any) -> dict[str, Any]:
    """A section as plain JSON by flat names, for manifests; the whole configuration by sections."""
    parts = components(settings)
    if any(components(part) for part in parts.values()):
        return {name: to_dict(part) for name, part in parts.items()}
    every = leaves(settings)
    values = {x.name: x.of(settings) for x in every if not x.late or x.of(settings) != x.default}
    return {
        name: [_plain(entry) for entry in value] if isinstance(value, list) else value for name, value in values.items()
    }


def _plain(entry: Any) -> Any:
    if not dataclasses.is_dataclass(entry) or isinstance(entry, type):
        return entry
    late = {f.name for f in dataclasses.fields(entry) if f.metadata["late"] and getattr(entry, f.name) == f.default}
    return {name: value for name, value in dataclasses.asdict(entry).items() if name not in late}
