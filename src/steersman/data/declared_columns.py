"""What LLaMA-Factory's dataset_info.json says of the files beside it: their columns, and what speakers are called."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from steersman.data.readers import Record
from steersman.data.reading import Reading

INFO = "dataset_info.json"
NAMED = 8
"""So many fields that are left out are named; others are counted together."""
COLUMNS = {"prompt": "instruction", "query": "input", "response": "output", "messages": "conversations"}
"""The columns that have other names where nothing is declared."""
OTHERS = ("system", "tools", "history", "chosen", "rejected", "kto_tag", "images", "videos", "audios")
ROLES = {
    **{"user_tag": "human", "assistant_tag": "gpt", "observation_tag": "observation"},
    **{"function_tag": "function_call", "system_tag": "system"},
}
"""Tag of a speaker -> what it is called where nothing is declared."""


@dataclass(frozen=True)
class Declared:
    """`columns`: the usual name -> the file's. `tags`: as the file says them."""

    columns: Mapping[str, str]
    tags: Mapping[str, str]

    def records(self, records: Iterator[Record], reading: Reading) -> Iterator[Record]:
        named: set[str] = set()
        for record in records:
            value = record.value
            if record.error or not isinstance(value, Mapping):
                yield record
                continue
            found = {name: value[column] for name, column in self.columns.items() if column in value}
            for column in value.keys() - {*self.columns.values()}:
                named |= {column} if len(named) < NAMED else set()
                which = f"'{column}'" if column in named else "of further names"
                reading.changed[f"fields {which}, which {INFO} does not name, left out"] += 1
            for name in {"conversations", "chosen", "rejected"} & found.keys():
                found[name] = self._turns(found[name])
            yield replace(record, value=found)

    def _turns(self, said: Any) -> Any:
        if isinstance(said, list):
            return [self._turns(turn) for turn in said]
        if not isinstance(said, Mapping):
            return said
        who, what = (self.tags.get(tag, usual) for tag, usual in (("role_tag", "from"), ("content_tag", "value")))
        roles = {self.tags.get(tag, usual): usual for tag, usual in ROLES.items()}
        rest = {key: value for key, value in said.items() if key not in (who, what)}
        return {**rest, "from": roles.get(str(said.get(who)), said.get(who)), "value": said.get(what)}


def declared(path: Path, reading: Reading) -> Declared | None:
    """What is said of a file; None where nothing is, or the usual names are."""
    info = next((at for at in (path.parent / INFO, path.parent.parent / INFO) if at.is_file()), path)
    try:
        sets = json.loads(info.read_text(encoding="utf-8-sig")) if info != path else {}
    except (ValueError, OSError, RecursionError):
        reading.tell(f"note: {info} cannot be read as JSON, so that {path.name} is read without it")
        return None
    for name, one in sets.items() if isinstance(sets, Mapping) else ():
        of = (one.get("columns") or {}, one.get("tags") or {}) if isinstance(one, Mapping) else ({}, {})
        if any(of) and info.parent / str(one.get("file_name")) == path:
            for given in of:
                if not isinstance(given, Mapping) or not all(isinstance(value, str) for value in given.values()):
                    raise ValueError(
                        f"{info}: '{name}': expected columns and tags as an object of texts, got {str(given)[:80]}"
                    )
            columns = {new: new for new in (*OTHERS, *COLUMNS.values())}
            columns |= {COLUMNS.get(key, key): column for key, column in of[0].items()}
            reading.tell(f"note: {path}: its columns and speakers are those of '{name}' in {info.name} beside it")
            return Declared(columns, of[1])
    return None
