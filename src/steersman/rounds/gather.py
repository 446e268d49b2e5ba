"""What a round learns from: all that the store and the data sets hold, by the rules of `feedback_rules`, as files.

    store, data sets -> rules -> filters -> new records, and a share of what the model has learned before -> gathered/

New is what the model that training starts from has not learned; so what a round learned whose model the gate stopped
is new again, and `--from base` learns everything. The folder is written once in a round: what is said meanwhile is for
the next one.

    demonstrations.jsonl, rankings.jsonl, labels.jsonl   the training data
    index.jsonl                                          what became of each record, without its words
    counts.json                                          the same, counted

Why so: decision 67 in docs/LOG.md.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from steersman.artifact.files import hash_json, write_json
from steersman.artifact.manifest import finish, write_manifest
from steersman.artifact.workspace import Workspace
from steersman.config import to_dict
from steersman.data import dataset
from steersman.rounds.export import as_ranking, of_edits, reliability_of, write_lines
from steersman.rounds.feedback_rules import RULES, Learned, apply_rules, message_of, of_demonstration, of_unflagged
from steersman.rounds.labelers import Reliability, weigh
from steersman.store import Store
from steersman.store.schema import iso, utc_now
from steersman.types import Conversation, Feedback, Ranking

GATHERED = "gathered"
DEMONSTRATIONS, RANKINGS, LABELS = "demonstrations.jsonl", "rankings.jsonl", "labels.jsonl"
INDEX, COUNTS = "index.jsonl", "counts.json"
DATASETS = "data sets"
"""The rule, in counts, of records of imported data sets."""


@dataclass(frozen=True)
class Material:
    """Everything that a round could learn, record by record, and what became of it."""

    records: tuple[Learned, ...]
    fresh: frozenset[str]
    """Records that the model has not learned."""
    datasets: Mapping[str, str]
    """Data sets that are mixed in: 'data:NAME' -> content hash."""
    replaced: int = 0
    """Entries of the store that were taken back, or gave way to what the same person said later."""

    @property
    def new(self) -> int:
        """How many records are learned that were not learned before."""
        return sum(not one.why and one.id in self.fresh for one in self.records)

    @property
    def disputed(self) -> int:
        """How many answers some people call good and others poor."""
        said: dict[tuple[str, str], set[tuple[Any, ...]]] = {}
        for one in (label for record in self.used if record.rule != DATASETS for label in record.labels):
            said.setdefault((one.prompt.id, one.answers[0]), set()).add(one.grades or ())
        return sum(len(grades) > 1 for grades in said.values())

    @property
    def used(self) -> list[Learned]:
        return [one for one in self.records if not one.why]

    def counts(self) -> dict[str, Any]:
        """Per rule how many records there are, how many are used and why the others are dropped; what was made."""
        rules = {}
        for rule in (*RULES, DATASETS):
            of = [one for one in self.records if one.rule == rule]
            dropped = Counter(one.why for one in of if one.why)
            rules[rule] = {"records": len(of), "used": len(of) - dropped.total(), "dropped": dict(dropped)}
        made = {}
        for what in ("demonstrations", "comparisons", "labels"):
            counted = [(one.id in self.fresh, len(getattr(one, what))) for one in self.used]
            made[what] = {"new": sum(n for new, n in counted if new), "old": sum(n for new, n in counted if not new)}
        reasons, thoughts = sum(one.reason for one in self.records), sum(one.thoughts for one in self.used)
        counts = {"new": self.new, "records": len(self.records), "reasons": reasons, "replaced": self.replaced}
        flagged = sum(one.flagged for one in self.used)
        counts |= {"thoughts": thoughts, "disputed": self.disputed, "flagged": flagged}
        return {"rules": rules, "made": made, **counts}


def collect(
    space: Workspace, round_: int, learned: Set[str], without: Collection[str], versions: Collection[str]
) -> Material:
    """What the round learns. `learned`: ids of records and 'data:NAME's that its starting model has learned already;
    `without`: records, or answers or ranking tasks, to leave out; `versions`: of the last promoted models."""
    records: list[Learned] = []
    entries = 0  # in the store, those included that hold no more
    if space.has_store:
        with Store.open(space.store) as store:
            versions_of = {task.id: task.policy_versions for task in store.tasks()}
            records = [of_demonstration(w.id, w.by, w.created, w.dialogue) for w in store.desk.demonstrations()]
            records += apply_rules(list(store.feedback()), store.rankings(), versions_of)
            records += [of_unflagged(*label) for label in store.desk.unflagged()]
            entries = len(store.records())
            if space.config.rank.reliability:
                found = reliability_of(store)
                records = [_weighed(one, found) for one in records]
    fresh = frozenset(one.id for one in records if one.id not in learned)
    sets = {f"data:{info.name}": info.sha256 for info in _sets(space)}
    imported = list(_of_data_sets(space))
    fresh |= {one.id for one in imported if not learned >= set(one.versions)}
    filters = _filters(space, round_, without, versions)
    every = tuple(_filtered(one, filters, one.id in fresh) for one in [*records, *imported])
    return Material(every, fresh, sets, entries - len(records))


def _weighed(one: Learned, found: Reliability) -> Learned:
    """The record with its labeler's weight."""
    return replace(one, comparisons=tuple(weigh(one.comparisons, found)), labels=tuple(weigh(one.labels, found)))


Filter = Callable[[Learned, bool], str]
"""(record, whether it is new) -> why it is left out; '' where it stays."""


def _filtered(one: Learned, filters: Iterable[Filter], new: bool) -> Learned:
    why = "" if one.why else next((why for of in filters if (why := of(one, new))), "")
    return one.dropped(why) if why else one


def _filters(space: Workspace, round_: int, without: Collection[str], versions: Collection[str]) -> tuple[Filter, ...]:
    settings = space.config.round
    oldest = iso(utc_now() - dt.timedelta(days=settings.max_age_days))

    def unwanted(one: Learned, _new: bool) -> str:
        return "left out by --without" if {one.id, message_of(one.id)} & set(without) else ""

    def age(one: Learned, _new: bool) -> str:
        old = settings.max_age_days and one.rule != DATASETS and one.created < oldest
        return f"older than {settings.max_age_days:g} days" if old else ""

    def version(one: Learned, _new: bool) -> str:
        known = set(one.versions) if one.rule != DATASETS else ()
        other = settings.versions and known and not known & set(versions)
        return f"on an answer of none of the last {settings.versions} promoted models" if other else ""

    def weight(one: Learned, _new: bool) -> str:
        judged = (*one.comparisons, *one.labels)
        return "its labeler's weight is 0" if judged and not any(r.weight for r in judged) else ""

    def share(one: Learned, new: bool) -> str:
        wanted = settings.old_demonstrations if one.demonstrations else settings.old_comparisons
        drawn = hashlib.sha256(f"{space.config.project.seed}/{round_}/{one.id}".encode()).digest()[:8]
        kept = new or int.from_bytes(drawn, "big") < wanted * 2**64
        return "" if kept else "learned before, and not drawn again"

    return unwanted, age, version, weight, share


def _sets(space: Workspace) -> list[dataset.DatasetInfo]:
    """Imported training data. Edited answers are taken from the store alone, where they can be withdrawn."""
    kinds = ("demonstrations", "rankings", "feedback")
    infos = [dataset.read_info(path) for kind in kinds for path in dataset.find(space, kind, "train")]
    return [info for info in infos if not of_edits(info, dataset.datasets(space))]


def _of_data_sets(space: Workspace) -> Iterator[Learned]:
    """The records of imported data sets; `versions` is the set that one is of."""
    limit = space.config.data.max_line_mb
    for info in _sets(space):
        of = f"data:{info.name}"
        if info.kind == "demonstrations":
            found: Iterable[Any] = dataset.load_conversations(info.path, "demonstrations", limit)
        else:
            found = dataset.load_judged(info.path, info.kind, limit)
        for number, record in enumerate(found):
            yield _imported(f"{of}#{number}", of, record)


def _imported(id_: str, of: str, record: Conversation | Ranking | Feedback) -> Learned:
    plain = Learned(id_, "imported", DATASETS, "", "", (of,))
    if isinstance(record, Conversation):
        return (
            plain.dropped("flagged, and never a target")
            if record.meta.get("flags")
            else replace(plain, demonstrations=(record,))
        )
    ranking = as_ranking(record) if isinstance(record, Feedback) else record
    if ranking is None:
        return plain.dropped("it calls no answer good or bad")
    return replace(plain, comparisons=(ranking,)) if ranking.pairs() else replace(plain, labels=(ranking,))


def write_gathered(space: Workspace, material: Material, inputs: Mapping[str, str]) -> Path:
    """rounds/NNN/gathered, whole or not at all."""
    folder = space.stage_dir(GATHERED)
    partial = folder.with_name(f"{GATHERED}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    used = material.used
    _write(partial / DEMONSTRATIONS, (c.to_json() for one in used for c in one.demonstrations))
    _write(partial / RANKINGS, (r.to_json() for one in used for r in one.comparisons))
    _write(partial / LABELS, (r.to_json() for one in used for r in one.labels))
    said = [one for one in material.records if one.rule != DATASETS]
    _write(partial / INDEX, (entry(one, one.id in material.fresh) for one in said))
    counts = material.counts()
    write_json(partial / COUNTS, counts)
    simulated = sum(one.simulated for one in used)
    notes = (f"{simulated} rankings are simulated by a rule judge, not made by people",) if simulated else ()
    config = to_dict(space.config.round) | {"seed": space.config.project.seed}
    made_of = {"said": hash_json([one.id for one in said]), **material.datasets, **inputs}
    write_manifest(partial, GATHERED, config, made_of, counts, notes)
    finish(partial, folder)
    return folder


def entry(one: Learned, new: bool) -> dict[str, Any]:
    """A record's line in the index: no words of anybody."""
    made = {"demonstrations": one.demonstrations, "comparisons": one.comparisons, "labels": one.labels}
    return {
        "id": one.id,
        "kind": one.kind,
        "rule": one.rule,
        "by": one.by,
        "versions": list(one.versions),
        "used": not one.why,
        "why": one.why,
        "new": new,
        "made": [what for what, of in made.items() if of],
    }


def _write(path: Path, values: Iterable[Mapping[str, Any]]) -> None:
    write_lines(path, (json.dumps(value, ensure_ascii=False) for value in values))


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Objects, one a line. ValueError, which names the file, where something else is there."""
    try:
        # split at \n only: a JSON string may contain U+2028
        found = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: expected JSON lines: {error}; restore the file") from None
    if odd := [value for value in found if not isinstance(value, dict) or "id" not in value]:
        raise ValueError(f"{path}: expected objects with an id, found {json.dumps(odd[0])[:80]}; restore the file")
    return found


def demonstrations(folder: Path) -> list[Conversation]:
    return [Conversation.from_json(value) for value in read_lines(folder / DEMONSTRATIONS)]


def comparisons(folder: Path) -> list[Ranking]:
    return [Ranking.from_json(value) for value in read_lines(folder / RANKINGS)]


def labels(folder: Path) -> list[Ranking]:
    """Rankings of one answer each, good or poor."""
    return [Ranking.from_json(value, least=1) for value in read_lines(folder / LABELS)]
