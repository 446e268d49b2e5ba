"""What int8 weights change: perplexity and greedy choices of the local engine, against bfloat16 and float32.

    .venv/bin/python bench/int8.py                        # some minutes on two cores
    .venv/bin/python bench/int8.py --prompts 4 --tokens 8 # a check that it runs

The bundled shop's prompts and answers, in English under SmolLM2-135M-Instruct and in Chinese under Gemma 3 270M. `same
choice`: the share of an answer's tokens after which a model finds the same next token likeliest as the float32 model
does, given the same words before. `same answer`: the share of prompts whose greedy answers are the same to the last
token.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from harness import machine, machine_line, say, shown, table, write_json
from steersman.data.shop import generate
from steersman.engine.load import load_engine
from steersman.types import Conversation, SamplingParams
from steersman.weights.resolve import resolve

MODELS: dict[Literal["en", "zh"], str] = {"en": "smollm2-135m", "zh": "gemma3-270m"}
DTYPES = ("float32", "bfloat16", "int8")


@dataclass
class Seen:
    """`nll`: nats of each answer's tokens; `choices`: the likeliest token before each of them; greedy answers."""

    nll: Tensor
    choices: Tensor
    greedy: list[tuple[int, ...]]


def forced(decoder: Any, prompts: list[tuple[int, ...]], answers: list[tuple[int, ...]]) -> tuple[Tensor, Tensor]:
    """(nats, likeliest tokens) [answer tokens of all prompts], by prefill and decode steps over given answers."""
    lengths = torch.tensor([len(p) for p in prompts])
    longest = max(map(len, answers))
    decoder.reserve(len(prompts), int(lengths.max()) + longest)
    ids = torch.zeros(len(prompts), int(lengths.max()), dtype=torch.long)
    told = torch.zeros(len(prompts), longest, dtype=torch.long)
    for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        ids[row, : len(prompt)] = torch.tensor(prompt)
        told[row, : len(answer)] = torch.tensor(answer)
    logits = decoder.prefill(ids, lengths, 0)
    nats, choices = [], []
    for step in range(longest):
        logprobs = logits.float().log_softmax(-1)
        nats.append(-logprobs.gather(1, told[:, step : step + 1])[:, 0])
        choices.append(logprobs.argmax(-1))
        if step + 1 < longest:
            logits = decoder.decode(told[:, step].contiguous(), lengths + step)
    real = torch.tensor([[step < len(a) for step in range(longest)] for a in answers])
    return torch.stack(nats, 1)[real], torch.stack(choices, 1)[real]


def see(folder: Path, dtype: str, examples: list[Conversation], tokens: int) -> Seen:
    engine: Any = load_engine(folder, dtype=dtype)
    prompts = [e.without_answer() for e in examples]
    ids = [engine.template.prompt_ids(p) for p in prompts]
    answers = [engine.template.answer_ids(e.messages[-1].content)[:tokens] for e in examples]
    nll, choices = forced(engine.decoder, ids, answers)
    greedy = engine.generate(prompts, SamplingParams(max_tokens=tokens, temperature=0))
    return Seen(nll, choices, [completions[0].token_ids for completions in greedy])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=50)
    parser.add_argument("--tokens", type=int, default=32, help="most tokens of an answer")
    parser.add_argument("--json", type=Path, help="write everything measured here")
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for language, name in MODELS.items():
        examples = list(generate("demonstrations", "validation", arguments.prompts, language, 1))
        folder = resolve(name, say=say)
        seen = {dtype: see(folder, dtype, examples, arguments.tokens) for dtype in DTYPES}
        exact = seen["float32"]
        for dtype, mine in seen.items():
            same = [a == b for a, b in zip(mine.greedy, exact.greedy, strict=True)]
            rows.append(
                {
                    "model": name,
                    "language": language,
                    "dtype": dtype,
                    "tokens": len(mine.nll),
                    "perplexity": math.exp(mine.nll.mean()),
                    "nats_more": float((mine.nll - exact.nll).mean()),
                    "same_choice": float((mine.choices == exact.choices).float().mean()),
                    "same_answer": sum(same) / len(same),
                }
            )
    facts = machine()
    print(f"{machine_line(facts)}; {arguments.prompts} prompts a language\n")
    head = ["model", "language", "weights", "answer tokens", "perplexity", "nats more", "same choice", "same answer"]
    body = [
        [
            row["model"],
            row["language"],
            row["dtype"],
            str(row["tokens"]),
            shown(row["perplexity"], 2),
            f"{row['nats_more']:+.4f}",
            f"{100 * row['same_choice']:.1f} %",
            f"{100 * row['same_answer']:.0f} %",
        ]
        for row in rows
    ]
    print(table(head, body))
    write_json(
        arguments.json, {"machine": facts, "settings": {k: str(v) for k, v in vars(arguments).items()}, "rows": rows}
    )


if __name__ == "__main__":
    main()
