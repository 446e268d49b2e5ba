"""Choose records of one public JSON-lines file for a recipe, before `steersman data import` reads them.

    python recipes/prepare.py IN.jsonl.xz OUT.jsonl --source oasst1_zh --most-characters 300 --records 500 --unwrap

Fields stay as they are. What is left out is counted on stderr. The same arguments give the same file.
"""

from __future__ import annotations

import argparse
import json
import lzma
import random
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

WRAPPED = re.compile(r"\ABelow is an instruction.*?### Instruction:\n(.*?)\n*### Response:\s*\Z", re.DOTALL)


def unwrap(prompt: str) -> str:
    """An instruction without the Alpaca text around it: a chat template says who speaks."""
    found = WRAPPED.match(prompt)
    return found.group(1).strip() if found else prompt


def characters(value: Any) -> int:
    """Characters of all strings in a JSON value; `source` and such labels are short enough not to matter."""
    if isinstance(value, str):
        return len(value)
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return sum(map(characters, parts))


def choose(lines: list[str], arguments: argparse.Namespace) -> tuple[list[dict[str, Any]], Counter[str]]:
    """The records wanted, in the file's order, and how many were left out for which reason."""
    left: Counter[str] = Counter()
    kept: list[dict[str, Any]] = []
    for line in lines:
        record = json.loads(line)
        if arguments.source and record.get("source") not in arguments.source:
            left["of another source"] += 1
        elif arguments.most_characters and characters(record) > arguments.most_characters:
            left[f"longer than {arguments.most_characters} characters"] += 1
        else:
            if arguments.unwrap:
                record["prompt"] = unwrap(record["prompt"])
            kept.append(record)
    if arguments.records and len(kept) > arguments.records:
        left["beyond the number asked for"] = len(kept) - arguments.records
        chosen = sorted(random.Random(17).sample(range(len(kept)), arguments.records))
        kept = [kept[i] for i in chosen]
    return kept, left


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input", type=Path, help="a .jsonl or .jsonl.xz file")
    parser.add_argument("output", type=Path, help="the .jsonl file to write")
    parser.add_argument("--source", action="append", help="keep records with this 'source'; may be repeated")
    parser.add_argument("--most-characters", type=int, default=0, help="leave longer records out; 0 keeps all")
    parser.add_argument("--records", type=int, default=0, help="a random sample of this size; 0 keeps all")
    parser.add_argument("--unwrap", action="store_true", help="take the Alpaca wrapper off the field 'prompt'")
    arguments = parser.parse_args()
    if not arguments.input.is_file():
        sys.exit(f"error: {arguments.input}: no such file; set DATA to the folder with the public data")
    opened = lzma.open if arguments.input.suffix == ".xz" else open
    with opened(arguments.input, "rt", encoding="utf-8") as file:
        records, left = choose(file.readlines(), arguments)
    if not records:
        sys.exit(f"error: {arguments.input}: expected at least one record, all were left out: {dict(left)}")
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    arguments.output.write_text(text, encoding="utf-8")
    reasons = "".join(f", {n} left out ({reason})" for reason, n in left.items())
    print(f"{arguments.input.name}: {len(records)} records{reasons}", file=sys.stderr)


if __name__ == "__main__":
    main()
