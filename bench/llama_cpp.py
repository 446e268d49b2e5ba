"""Exports beside the model, read by llama.cpp's own server: tokens of texts, prompts of dialogues, greedy answers.

    python bench/llama_cpp.py smollm2-135m --server LLAMA_SERVER --gguf f16,q8_0,q4_k

Ours is float32. `prompts`: dialogues that llama.cpp's chat template renders to the same token ids. `answers`: tokens
until the first that differs, of 32, from our ids of the prompt.
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness import say, table
from steersman.engine.load import load_engine
from steersman.engine.protocol import Engine
from steersman.text.template import Template
from steersman.types import Conversation, Message, SamplingParams
from steersman.weights.folders import load_tokenizer
from steersman.weights.gguf_words import PROBES
from steersman.weights.gguf_write import write_gguf
from steersman.weights.resolve import resolve

TEXTS = [
    *PROBES,
    "I'd like to return order #12-345; it arrived 3 days late!!",
    "  two  spaces\tand a tab\n\n\nthree newlines ",
    "您好，请问我的订单在哪里？我昨天下午3点付的款。",
    "１２３４５６ 全角 ＡＢＣ，“引号”…… 🙂🙃",
    "def f(x):\n    return x ** 2  # 平方",
    "naïve façade — ½ of Ünïcödé",
]
DIALOGUES = [
    [("user", "Where is my order?")],
    [("user", "我的订单在哪里？"), ("assistant", "请告诉我订单号。"), ("user", "12345")],
    [("system", "Answer briefly. 简短回答。"), ("user", "What is the capital of France? 法国的首都？")],
]
TOKENS = 32


def ask(url: str, **body: Any) -> Any:
    request = urllib.request.Request(
        url, json.dumps(body).encode() if body else None, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=600) as answer:
        return json.load(answer)


@contextmanager
def served(server: Path, file: Path, threads: int) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(server), "-m", str(file), "--port", str(port), "-c", "2048", "-t", str(threads), "-np", "1"]
    running = subprocess.Popen(
        [*command, "--jinja", "--no-warmup"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            if running.poll() is not None:
                raise SystemExit(f"{file}: the server ended with {running.returncode}")
            try:
                ask(f"{url}/health")
                break
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.2)
        yield url
    finally:
        running.terminate()
        running.wait()


def compare(url: str, template: Template, greedy: list[tuple[list[int], list[int]]], show: bool) -> list[str]:
    tokenizer: Any = template.tokenizer
    alike = prompts = 0
    for text in TEXTS:
        theirs = ask(f"{url}/tokenize", content=text, add_special=False)["tokens"]
        ours = tokenizer(text, add_special_tokens=False)["input_ids"]
        alike += theirs == ours
        if show and theirs != ours:
            say(f"tokens of {text!r}: {theirs} there, {ours} here")
    for dialogue, (ids, _) in zip(DIALOGUES, greedy, strict=True):
        messages = [{"role": role, "content": content} for role, content in dialogue]
        prompt = ask(f"{url}/apply-template", messages=messages)["prompt"]
        theirs = ask(f"{url}/tokenize", content=prompt, add_special=True, parse_special=True)["tokens"]
        prompts += theirs == ids
        if show and theirs != ids:
            say(f"prompt there: {prompt!r}\nhere: {tokenizer.decode(ids)!r}")
    equal = []
    for ids, answer in greedy:
        asked = {"prompt": ids, "n_predict": TOKENS, "temperature": 0, "return_tokens": True, "cache_prompt": False}
        theirs = ask(f"{url}/completion", **asked)["tokens"]
        theirs = theirs[: len(answer)]
        same = next((i for i, (a, b) in enumerate(zip(answer, theirs, strict=False)) if a != b), len(theirs))
        equal.append(f"{same} of {len(answer)}")
    return [f"{alike} of {len(TEXTS)}", f"{prompts} of {len(DIALOGUES)}", ", ".join(equal)]


def answers(engine: Engine, template: Template) -> list[tuple[list[int], list[int]]]:
    out = []
    for dialogue in DIALOGUES:
        ids = template.prompt_ids(Conversation("x", tuple(Message(role, said) for role, said in dialogue)))
        ((made,),) = engine.generate([ids], SamplingParams(max_tokens=TOKENS, temperature=0.0))
        said = list(made.token_ids)
        if made.finish_reason == "stop" and said[-1] in template.ends:
            said = said[:-1]
        out.append((list(ids), said))
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--server", type=Path, required=True, help="llama-server")
    parser.add_argument("--gguf", default="f16,q8_0,q4_k")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--show", action="store_true", help="what differs")
    options = parser.parse_args()
    folder = resolve(options.model, say=say)
    template = Template(load_tokenizer(folder), today=False)
    greedy = answers(load_engine(folder, dtype="float32", backend="local"), template)
    rows: list[list[str]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for kind in options.gguf.split(","):
            done = write_gguf(folder, Path(scratch) / f"{kind}.gguf", kind)
            for note in done.notes:
                say(f"{kind}: {note}")
            with served(options.server, done.path, options.threads) as url:
                found = compare(url, template, greedy, options.show)
            rows.append([kind, f"{done.path.stat().st_size / 1e6:.1f}", *found])
            done.path.unlink()
    print(table(["", "MB", "texts tokenised alike", "prompts", f"answers, equal tokens of {TOKENS}"], rows))


if __name__ == "__main__":
    main()
