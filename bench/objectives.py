"""One reward model for several objectives: how well each head orders each objective's held-out pairs.

    .venv/bin/python bench/objectives.py helpful=HELPFUL.jsonl harmless=HARMLESS.jsonl --output /tmp/objectives

Files hold preferences in any format that `steersman data import` knows. One pair a prompt is used, so that pairs are
independent; prompts are held out. Beside the two heads and their sum of equal weights stands a reward model with one
head that learned all pairs without their objectives, from the same model with the same settings.
"""

from __future__ import annotations

import argparse
import dataclasses
import random
from pathlib import Path
from typing import Any

from harness import machine, machine_line, say, table, write_json
from steersman.config import ModelConfig, RewardConfig, replaced
from steersman.data.clean import clean
from steersman.data.importing import parse_file
from steersman.text.template import Template
from steersman.train import reward
from steersman.train.rankings import pair_report, split_holdout, to_ranked_trees
from steersman.types import Ranking
from steersman.weights.folders import load_scalar, load_tokenizer, use_packed_rows
from steersman.weights.resolve import resolve

SEED = 17


def read(path: Path, objective: str, records: int, characters: int) -> list[Ranking]:
    """A random one of each prompt's pairs, of at most so many characters together with the prompt."""
    parsed, _ = clean(parse_file(path, "rankings", skip_bad=True).records)
    random.Random(SEED).shuffle(parsed)
    chosen: dict[str, Ranking] = {}
    for ranking in parsed:
        assert isinstance(ranking, Ranking)
        prompt = "\n".join(m.content for m in ranking.prompt.messages)
        if len(prompt) + sum(map(len, ranking.answers)) <= characters:
            chosen.setdefault(prompt, dataclasses.replace(ranking, objective=objective))
    return list(chosen.values())[:records]


def cell(interval: dict[str, Any]) -> str:
    return f"{100 * interval['value']:.1f} [{100 * interval['low']:.1f}, {100 * interval['high']:.1f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", metavar="OBJECTIVE=FILE")
    parser.add_argument("--output", type=Path, required=True, help="folder of the two reward models")
    parser.add_argument("--model", default="smollm2-135m", help="anything that model.base takes")
    parser.add_argument("--records", type=int, default=350, help="pairs of each objective")
    parser.add_argument("--characters", type=int, default=2000, help="longer pairs are left out")
    parser.add_argument("--holdout", type=float, default=0.3, help="share of the prompts that is held out")
    parser.add_argument("--train-layers", type=int, default=10)
    parser.add_argument("--lr", type=float, default=2e-4)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    files = dict(given.split("=", 1) for given in arguments.data)
    data = [read(Path(f), name, arguments.records, arguments.characters) for name, f in files.items()]
    rankings = [ranking for part in data for ranking in part]
    say(", ".join(f"{name}: {len(part)} pairs" for name, part in zip(files, data, strict=True)))
    base = resolve(arguments.model, say=say)
    config = replaced(
        RewardConfig(), lr=arguments.lr, train_layers=arguments.train_layers, holdout_fraction=arguments.holdout
    )

    def train(folder: str, given: list[Ranking], objectives: dict[str, float]) -> dict[str, Any]:
        return reward.run(
            base=base,
            rankings=given,
            demonstrations=[],
            output=arguments.output / folder,
            config=replaced(config, objectives=objectives),
            model_config=ModelConfig(),
            seed=SEED,
            inputs={},
        )

    report = train("heads", rankings, dict.fromkeys(sorted(files), 1.0))["objectives"]
    train("one", [dataclasses.replace(r, objective="") for r in rankings], {})
    template = Template(load_tokenizer(base))
    held, _ = to_ranked_trees(template, split_holdout(rankings, config.holdout_fraction, SEED)[1], 8192)
    one = use_packed_rows(load_scalar(arguments.output / "one"))
    columns: dict[str, dict[str, Any]] = {}
    for name in files:
        mine = [item for item in held if item.objective == name]
        scores = [s[:, 0] for s in reward.score_trees(one, [item.tree for item in mine], config.rows.row_tokens)]
        by_head = {f"head {head}": interval for head, interval in report[name]["by_head"].items()}
        columns[name] = by_head | {
            "sum of the heads": report[name]["sum"],
            "one head for all": pair_report(mine, scores, SEED)["accuracy"],
            "longer answer wins": report[name]["length_baseline"],
        }
    print(machine_line(machine()))
    heads = ["accuracy, %", *(f"{name} ({report[name]['n_pairs']} pairs)" for name in files)]
    rows = [[row, *(cell(columns[name][row]) for name in files)] for row in next(iter(columns.values()))]
    print(table(heads, rows))
    if arguments.json:
        write_json(arguments.json, {"machine": machine(), "columns": columns, "report": report})


if __name__ == "__main__":
    main()
