"""Counts of an imported file's kept and dropped records, as lines and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from steersman.data import importing


@dataclass(frozen=True, slots=True)
class Summary:
    """Counts of a file's records: records read are the kept ones plus those in `left_out`."""

    found: importing.Imported
    left_out: Mapping[str, int]
    """Reason -> number of records left out."""
    changed: Mapping[str, int]
    """Change -> number of times."""

    @property
    def left(self) -> str:
        return "".join(f"; left out {n}: {why}" for why, n in self.left_out.items())

    @property
    def counts(self) -> dict[str, Mapping[str, int]]:
        """What a data set's manifest says of its records' way in."""
        return {"skipped": self.left_out, "changed": self.changed}

    def to_json(self) -> dict[str, Any]:
        rejected = self.found.reasons()
        return {
            "read": self.found.read,
            "kept": self.found.read - sum(self.left_out.values()),
            "formats": dict(self.found.formats),
            "fields": dict(self.found.fields),
            "changed": dict(self.changed),
            "rejected": rejected,
            "dropped": {why: n for why, n in self.left_out.items() if why not in rejected},
            "unused_fields": dict(self.found.unused),
        }

    def lines(self) -> list[str]:
        found = self.found
        kept = found.read - sum(self.left_out.values())
        counts = ", ".join(f"{name} {n}" for name, n in found.formats.items()) or "none"
        out = [f"  read {found.read} records ({counts}), kept {kept}"]
        if found.fields:
            out.append("  taken for: " + ", ".join(f"{role} = {name}" for role, name in found.fields.items()))
        out += [f"  changed, {n} times: {what}" for what, n in self.changed.items()]
        out += [f"  left out {n}: {why}" for why, n in self.left_out.items()]
        if found.unused:
            out.append("  fields not used: " + ", ".join(f"{name} ({n})" for name, n in found.unused.items()))
        return out
