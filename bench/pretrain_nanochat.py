"""nanochat's side of the pretraining benchmark, under its own Python and in its own folder:

    python pretrain_nanochat.py SPEC.json

Runs its scripts.base_train as it is, then measures its model on the same held-out texts and in the same way as ours.
Imports nothing of steersman. With "processor" its clock is processor time, so that on a machine with other work both
sides are timed alike (one thread each). Prints one JSON object as its last line.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import re
import runpy
import sys
import time
from pathlib import Path
from typing import Any

from harness import own_peak_mib


def bits_per_byte(model: Any, tokenizer: Any, texts: list[str], context: int) -> float:
    """Each text behind the token that begins one, in pieces of at most a row, as steersman.train.bits reads them."""
    import torch

    nats = 0.0
    with torch.no_grad():
        for text in texts:
            ids = [tokenizer.get_bos_token_id(), *tokenizer.encode(text)]
            for start in range(0, len(ids) - 1, context - 1):
                piece = torch.tensor([ids[start : start + context]])
                if piece.shape[1] > 1:
                    nats += float(model(piece[:, :-1], piece[:, 1:], loss_reduction="sum"))
    return nats / (math.log(2) * sum(len(text.encode()) for text in texts))


def main() -> None:
    spec = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    sys.path.insert(0, str(Path.cwd()))
    import torch

    torch.set_num_threads(spec["threads"])
    if spec["processor"]:
        time.time = time.process_time  # what its steps are timed with
    sys.argv = ["base_train", *spec["arguments"]]
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        left = runpy.run_module("scripts.base_train", run_name="__main__")
    lines = said.getvalue()
    print(lines, file=sys.stderr)
    speeds = [int(x.replace(",", "")) for x in re.findall(r"tok/sec: ([\d,]+)", lines)]
    own = [float(x) for x in re.findall(r"Validation bpb: ([\d.]+)", lines)]
    model = left["orig_model"].eval()
    found = {
        "tokens_per_second": speeds[spec["warmup"] :],
        "own_bpb": own[-1:],
        "bpb": bits_per_byte(model, left["tokenizer"], spec["texts"], spec["context"]),
        "parameters": {name: int(n) for name, n in left["param_counts"].items()},
        "peak_mib": own_peak_mib(),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
