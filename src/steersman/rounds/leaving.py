"""A person leaves: all that is theirs is deleted, from the store and from files that rounds made of it.

What no round has learned is said before it is lost; of what rounds have learned the ids remain in their indexes, so
that `steersman lineage ID` names rounds and models that know it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from steersman.artifact.media import Media
from steersman.artifact.workspace import CONFIG_NAME, Workspace
from steersman.rounds.forget import erase, unseen
from steersman.rounds.provenance import holders, learned_in, unlearned
from steersman.store import NotLearned, Store


@dataclass(frozen=True)
class Left:
    """What a person has, or had."""

    held: dict[str, int]
    not_learned: int
    """Pieces of feedback that no round has learned."""
    rounds: tuple[int, ...]
    """Rounds that learned some of it."""
    models: tuple[str, ...]
    """Promoted models that have learned some of it."""
    files: tuple[str, ...] = ()
    """Files that are without it now."""
    handed_back: int = 0
    """Tasks of the desk that were for this person alone, and are for all without them."""
    reopened: int = 0
    """Tasks that only this person has decided, and that wait for labels without the decision."""
    unseen: tuple[str, ...] = ()
    """Files that may hold what they said and that nothing is taken out of: backups, exports, what was put aside."""

    def noted(self) -> dict[str, int]:
        """What the audit log keeps of it: numbers alone."""
        held = {"said" if name == "feedback" else name: n for name, n in self.held.items() if name != "audit"}
        back = {"handed_back": self.handed_back, "reopened": self.reopened}
        counts = held | {name: n for name, n in back.items() if n}
        return {"rows": sum(self.held.values()), "feedback": self.not_learned} | counts

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def text(self) -> str:
        lines = [", ".join(f"{n} {name.replace('_', ' ')}" for name, n in self.held.items()) or "nothing"]
        lines.append(f"{self.not_learned} piece{'s' * (self.not_learned != 1)} of feedback that no round has learned")
        lines += (
            [f"{self.handed_back} tasks of the desk that were for them alone are for all"] if self.handed_back else []
        )
        lines += [f"{self.reopened} tasks that they decided wait for labels again"] if self.reopened else []
        lines += [f"learned by rounds {', '.join(map(str, self.rounds))}"] if self.rounds else []
        lines += [f"known to {name}" for name in self.models]
        lines += [f"no longer in {name}" for name in self.files]
        lines += [f"not looked into, may still hold it: {', '.join(self.unseen)}"] if self.unseen else []
        return "\n".join(lines)


def space_at(folder: Path | None) -> Workspace | None:
    """The workspace in the folder, if there is one."""
    return Workspace.open(folder) if folder is not None and (folder / CONFIG_NAME).is_file() else None


def not_learned(space: Workspace | None, store: Store, records: Collection[str]) -> list[str]:
    """Those of the records that count and that no round has learned."""
    found = store.standing(records)
    return found if space is None else unlearned(space, found)


def look(space: Workspace | None, store: Store, user_id: str) -> Left:
    """What a person has, before anything is deleted."""
    records = store.owned.records(user_id)
    rounds: tuple[int, ...] = ()
    models: list[str] = []
    if space is not None:
        rounds = learned_in(space, records)
        models = list(dict.fromkeys(entry["path"] for entry in holders(space, records))) if records else []
    lost = len(not_learned(space, store, records))
    handed_back, reopened = store.owned.handed_back(user_id)
    counts = store.owned.counts(user_id)
    aside = unseen(space) if space is not None else ()
    return Left(counts, lost, rounds, tuple(models), handed_back=handed_back, reopened=reopened, unseen=aside)


def leave(space: Workspace | None, store: Store, user_id: str, *, anyway: bool) -> Left:
    """Delete a person. NotLearned where feedback would be lost and `anyway` does not say that this is meant.

    The store is last, so that after a kill the same call finds everything again. ValueError where a stage reads one of
    the files.
    """
    found = look(space, store, user_id)
    if found.not_learned and not anyway:
        raise NotLearned(found.not_learned)
    store.owned.check_leaving(user_id)
    files: list[str] = []
    if space is not None:
        records = store.owned.records(user_id)
        lost = store.standing(records)
        files = erase(space, records)  # what a round gathered and nothing was made of yet was not learned
        found = dataclasses.replace(found, rounds=learned_in(space, records), not_learned=len(unlearned(space, lost)))
    _, images = store.owned.delete(user_id)
    if images and space is not None:
        media = Media(space.root)
        with media.writing():
            media.drop_unused(store.without_named(images))
    return dataclasses.replace(found, files=tuple(files))
