"""What rendering dialogues costs, beside transformers' rendering of the same dialogues without a mask.

    .venv/bin/python bench/render.py                    # a minute on one core
    .venv/bin/python bench/render.py --data FILE --model PATH

transformers renders each dialogue once and knows nothing of what is learned; ours also finds the mask, keeps people's
text from being read as control tokens, and renders each answer's own prompt where a template says it otherwise. CPU
seconds of one thread, the best of three; tokenizers encode in that thread too.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["TOKENIZERS_PARALLELISM"] = "false"

from harness import machine, machine_line, table
from steersman.data.dataset import load_conversations
from steersman.text.template import Template
from steersman.types import Conversation, Message
from steersman.weights.folders import load_tokenizer
from steersman.weights.resolve import resolve

DIALOGUES = Path(__file__).parents[2] / "shared/data/sft/en_lima_1k.jsonl.xz"


def seconds(work: Callable[[Callable[[Conversation], object]], None], renderer: Callable[[], Any]) -> float:
    """Best of three, each with a renderer of its own: what an earlier run has kept does not count."""
    best = float("inf")
    for _ in range(3):
        render = renderer()
        start = time.process_time()
        work(render)
        best = min(best, time.process_time() - start)
    return best


def turns(count: int) -> Conversation:
    words = "Where is parcel {0}? 它什么时候到？", "It left on day {0} and arrives soon. 很快就到。"
    roles = ("user", "assistant")
    return Conversation("x", tuple(Message(roles[i % 2], words[i % 2].format(i)) for i in range(count)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--data", type=Path, default=DIALOGUES, help="demonstrations, in any form that import reads")
    arguments = parser.parse_args()
    if not arguments.data.is_file():
        raise SystemExit(f"{arguments.data}: no such file; name dialogues with --data")
    tokenizer = load_tokenizer(resolve(arguments.model, say=print))
    data = list(load_conversations(arguments.data, "demonstrations"))
    sets = {f"{len(data)} dialogues, {sum(len(c.messages) for c in data)} turns": data}
    sets |= {f"one of {n} turns": [turns(n)] for n in (100, 400)}

    def theirs() -> Callable[[Conversation], object]:
        return lambda c: tokenizer.apply_chat_template(
            [{"role": m.role, "content": m.content} for m in c.messages], tokenize=True
        )

    rows = []
    for name, dialogues in sets.items():

        def all_of(render: Callable[[Conversation], object], dialogues: list[Conversation] = dialogues) -> None:
            for dialogue in dialogues:
                render(dialogue)

        plain, ours = seconds(all_of, theirs), seconds(all_of, lambda: Template(tokenizer).examples)
        rows.append([name, f"{plain:.3f}", f"{ours:.3f}", f"{ours / plain:.2f}"])
    print(f"{arguments.model}; {machine_line(machine())}\n")
    print(table(["data", "transformers, s", "ours with mask, s", "times transformers"], rows))


if __name__ == "__main__":
    main()
