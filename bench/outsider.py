"""An outsider's first promotion: a messy English ticket export, through the command line and the API, to the gate.

    python bench/outsider.py DIR --data /path/to/data [--part export|first|people|round|check]

    export   two files of a bank's help desk: tickets with comments as JSON, rows of messages as a table in cp1252, with
             quotes, signatures, automatic replies, notes, personal data, repeats and one-sided tickets
    first    cold legacy, data clean, data split, sft, promote: the first model, from that export alone
    people   `steersman serve`; customers ask, like, dislike and write better answers, three people rank, all over HTTP
    round    regressions, then `steersman round`: data of what people said, training, the gate
    check    hidden utility of the answers before and after, which nothing in the loop has seen

Each part leaves what it did in DIR, so a part can be run again; without --part all of them run. Measured with a judge
that the loop does not have: `outsider_desk.utility`.
"""

from __future__ import annotations

import argparse
import csv
import json
import lzma
import os
import random
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import outsider_desk as desk

ANSWERED, ALONE, PEOPLE, CHATS = 640, 200, 6, 16
SETTINGS = (
    *("project.domain=none", "project.seed=17", "sft.epochs=3", "sft.optimizer.lr=2e-4", "sample.prompts=80"),
    *("sample.max_tokens=64", "eval.max_tokens=64", "eval.bootstrap=2000", "serve.max_tokens=64"),
)
LATER = (
    *("ppo.rollouts.max_tokens=64", "ppo.iterations=5", "ppo.rollouts.prompts_per_iteration=32"),
    *("ppo.selection.eval_prompts=32", "sft.adapters.train_layers=10", "reward.adapters.train_layers=10"),
    *("ppo.adapters.train_layers=10", "sft.epochs=2", 'eval.tasks=["regressions/feedback.jsonl"]'),
)
"""Of the round: small sizes, and the suite of what was disliked."""
LABELERS = ("ann", "ben", "cleo")


def questions(folder: Path) -> dict[str, str]:
    """Question -> matter, from the real data set; none twice."""
    out: dict[str, str] = {}
    for name in ("train", "test"):
        with lzma.open(folder / "customer" / f"en_banking77_{name}.jsonl.xz", "rt", encoding="utf-8") as file:
            for row in map(json.loads, file):
                if row["category"] in desk.MATTERS:
                    out[" ".join(row["text"].split())] = row["category"]
    return out


def export(root: Path, data: Path) -> None:
    """The two files, and which question is of which matter."""
    rng, every = random.Random(7), questions(data)
    by: dict[str, list[str]] = {}
    for text, matter in every.items():
        by.setdefault(matter, []).append(text)
    asked = [text for texts in by.values() for text in rng.sample(texts, (ANSWERED + ALONE) // len(by))]
    rng.shuffle(asked)
    root.mkdir(parents=True, exist_ok=True)
    (root / "matters.json").write_text(json.dumps(every, ensure_ascii=False), encoding="utf-8")
    tickets, rows = [], [["ticket_id", "sender", "created_at", "message"]]
    for number, text in enumerate(asked, 1000):
        alone = number % 100 >= 100 * ANSWERED // (ANSWERED + ALONE)
        said = "" if alone else desk.answer(every[text], rng)
        if number % 3:
            tickets.append(_ticket(number, text, said, rng))
        else:
            rows += _rows(number, text, said, rng)
    tickets += tickets[:25]  # exported twice
    (root / "tickets.json").write_text(json.dumps({"tickets": tickets}, ensure_ascii=False, indent=1), encoding="utf-8")
    with open(root / "chats.csv", "w", encoding="cp1252", newline="") as file:
        csv.writer(file, delimiter=";").writerows(rows)
    print(f"export: {len(tickets)} tickets, {len(rows) - 1} rows; {len(asked)} questions, {len(by)} matters")


def _customer(rng: random.Random) -> tuple[str, str]:
    name = rng.choice(desk.NAMES)
    return name, f"{name.split()[0].lower()}{rng.randrange(100)}@mail.example"


def _ticket(number: int, text: str, said: str, rng: random.Random) -> dict[str, Any]:
    name, mail = _customer(rng)
    agent = rng.choice(desk.AGENTS)
    head = rng.choice(
        ("Hi,\n\n", "Hello there,\n\n", "", f"Dear team,\nmy number is +49 170 {rng.randrange(10**6, 10**7)}.\n")
    )
    sign = rng.choice((f"\n\nBest regards\n{name}\n{mail}", f"\n\n-- \n{name}\nSent from my iPhone", ""))
    when = f"2025-{number % 12 + 1:02}-{number % 27 + 1:02}T09:00:"
    comments = [{"author_id": 7, "public": True, "body": f"{head}{text}{sign}", "created_at": f"{when}00Z"}]
    comments.append({"author_id": 1, "public": True, "body": desk.MACRO, "created_at": f"{when}05Z"})
    if rng.random() < 0.3:
        note = f"Customer {name} called before, IBAN DE89 3704 0044 0532 0130 00, be careful"
        comments.append({"author_id": 2, "public": False, "body": note, "created_at": f"{when}20Z"})
    if said:
        quoted = f"\n\nOn Mon, {name} wrote:\n> {text}" if rng.random() < 0.4 else ""
        body = f"Dear {name.split()[0]},\n\n{said}\n\nKind regards,\n{agent}\nNorthbank Support{quoted}"
        if rng.random() < 0.5:
            body = "<div>" + body.replace("&", "&amp;").replace("> ", "&gt; ").replace("\n", "<br>") + "</div>"
        comments.append({"author_id": 2, "public": True, "body": body, "created_at": f"{when}40Z"})
    if said and rng.random() < 0.2:
        thanks = rng.choice(("Thanks!", "ok thank you", "Great, that worked."))
        comments.append({"author_id": 7, "public": True, "body": thanks, "created_at": f"{when}50Z"})
    return {
        "id": number,
        "requester_id": 7,
        "subject": text[:40],
        "description": comments[0]["body"],
        "comments": comments,
    }


def _rows(number: int, text: str, said: str, rng: random.Random) -> list[list[str]]:
    name, _ = _customer(rng)
    at = f"{number % 27 + 1:02}.{number % 12 + 1:02}.2025 10:"
    rows = [[str(number), "customer", f"{at}00", f"{text} – {name}" if rng.random() < 0.2 else text]]
    rows.append([str(number), "system", f"{at}01", "The chat was assigned to Felix"])
    if said:
        rows.append([str(number), "agent", f"{at}02", f"Hello, {said}"])
    return rows


def run(root: Path, *words: str) -> str:
    """A verb in the workspace; what it says is kept in DIR/log.txt."""
    command = [sys.executable, "-m", "steersman", *words]
    began = time.monotonic()
    done = subprocess.run(command, cwd=root / "bank", capture_output=True, text=True, check=False)
    text = f"$ steersman {' '.join(words)}\n{done.stdout}{done.stderr[-6000:]}[{time.monotonic() - began:.0f} s]\n\n"
    with open(root / "log.txt", "a", encoding="utf-8") as log:
        log.write(text)
    print(text, flush=True)
    if done.returncode:
        raise SystemExit(f"steersman {words[0]}: exit code {done.returncode}")
    return done.stdout


def first(root: Path) -> None:
    command = [sys.executable, "-m", "steersman", "init", "bank", "--name", "bank"]
    subprocess.run([*command, *(w for s in SETTINGS for w in ("--set", s))], cwd=root, check=True)
    run(root, "cold", "legacy", "../tickets.json", "../chats.csv", "--name", "tickets")
    run(root, "data", "clean", "tickets")
    run(root, "data", "split", "tickets-clean", "--shares", "0.8,0.05,0.15")
    run(
        root,
        "data",
        "import",
        "data/tickets-clean-test.jsonl",
        "--kind",
        "prompts",
        "--split",
        "test",
        "--name",
        "exam",
    )
    run(root, "cold", "legacy", "../tickets.json", "../chats.csv", "--kind", "prompts", "--name", "asked")
    run(root, "data", "clean", "asked", "--into", "asked-clean")
    run(root, "data", "list")
    run(root, "sft")
    run(root, "promote", "--stage", "sft", "--force")  # nobody has ranked, so nobody can judge it yet


class Server:
    """`steersman serve`, asked as its pages ask."""

    def __init__(self, root: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/api"
        self._log = open(root / "serve.log", "w", encoding="utf-8")  # noqa: SIM115
        words = [sys.executable, "-m", "steersman", "serve", "--port", str(port)]
        self._process = subprocess.Popen(words, cwd=root / "bank", stdout=self._log, stderr=self._log)
        for _ in range(240):
            time.sleep(0.5)
            try:
                self.ask("/config")
                return
            except OSError:
                if self._process.poll() is not None:
                    break
        raise SystemExit("serve did not start: see serve.log")

    def _open(self, path: str, body: Any = None) -> str:
        given = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, given, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=300) as answer:
            return str(answer.read().decode())

    def ask(self, path: str, body: Any = None) -> Any:
        return json.loads(self._open(path, body))

    def answer(self, question: str) -> dict[str, Any]:
        """A question in a new chat; the answer's last event has the whole message."""
        chat = self.ask("/conversations", {})["id"]
        lines = self._open(f"/conversations/{chat}/messages", {"content": question}).splitlines()
        events = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
        return dict(next(e["message"] for e in reversed(events) if e["type"] == "done"))

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(60)
        self._log.close()


def people(root: Path, begin: int) -> None:
    """Customers chat about questions that no data set has; three people rank every sampled prompt."""
    run(root, "sample")
    matters = json.loads((root / "matters.json").read_text(encoding="utf-8"))
    rng, fresh, told = random.Random(3), _fresh(root, matters), Counter[str]()
    server = Server(root)
    try:
        asked = fresh[begin : begin + PEOPLE * CHATS]
        with ThreadPoolExecutor(PEOPLE) as pool:
            messages = list(pool.map(server.answer, asked))
        for question, message in zip(asked, messages, strict=True):
            matter = matters[question]
            worth = desk.utility(matter, message["content"]) + rng.gauss(0, 0.1)
            kinds: list[dict[str, str]] = [{"kind": "like" if worth > 0.5 else "dislike"}]
            if worth <= 0.5 and rng.random() < 0.4:
                kinds.append({"kind": "edit", "edited": desk.best(matter)})
            for body in kinds:
                server.ask(f"/messages/{message['id']}/feedback", body)
                told[body["kind"]] += 1
        for name in LABELERS:
            while (task := server.ask(f"/rank/next?labeler={name}")["task"]) is not None:
                matter = _matter(task["messages"][-1]["content"], matters)
                values = [desk.utility(matter, a["text"]) if matter else 0.5 for a in task["answers"]]
                given = dict(zip((a["key"] for a in task["answers"]), desk.ranks(values, rng), strict=True))
                server.ask(f"/rank/{task['id']}", {"labeler": name, "ranks": given})
                told["ranking"] += 1
    finally:
        server.close()
    print(f"people: {dict(told)}")


def _matter(text: str, matters: dict[str, str]) -> str:
    """The matter of a question, which cleaning may have shortened or masked."""
    found = matters.get(text)
    return found or next((m for q, m in matters.items() if q in text or (len(text) > 25 and text in q)), "")


def _fresh(root: Path, matters: dict[str, str]) -> list[str]:
    """Questions that are in none of the export's files."""
    told = (root / "tickets.json").read_text(encoding="utf-8") + (root / "chats.csv").read_text(encoding="cp1252")
    whole = json.dumps(told, ensure_ascii=False)
    out = [q for q in matters if json.dumps(q, ensure_ascii=False)[1:-1] not in whole and q not in told]
    random.Random(5).shuffle(out)
    return out


def round_(root: Path, more: tuple[str, ...]) -> None:
    run(root, "regressions")
    run(root, "status")
    run(root, "round", "--preview")
    run(root, "round", *(word for setting in (*LATER, *more) for word in ("--set", setting)))
    run(root, "status")


def check(root: Path) -> None:
    """Mean hidden utility of every promoted or trained model on 150 questions that nothing has seen."""
    from steersman.engine.load import load_engine
    from steersman.stats import paired_bootstrap
    from steersman.types import Conversation, Message, SamplingParams

    matters = json.loads((root / "matters.json").read_text(encoding="utf-8"))
    asked = _fresh(root, matters)[PEOPLE * CHATS :][:150]
    prompts = [Conversation(str(i), (Message("user", q),)) for i, q in enumerate(asked)]
    found: dict[str, list[float]] = {}
    for folder in _models(root):
        engine = load_engine(str(folder), dtype="bfloat16", device="cpu")
        given = engine.generate(prompts, SamplingParams(max_tokens=64, temperature=0.7, seed=1))
        values = [desk.utility(matters[q], a[0].text) for q, a in zip(asked, given, strict=True)]
        name = f"{folder.parent.name}/{folder.name}"
        found[name] = values
        print(f"check: {name}: {sum(values) / len(values):.3f}", flush=True)
    if not found:
        raise SystemExit(f"check: no trained model below {root}: expected the parts before it (--part first, round)")
    names = list(found)
    for before, after in ((names[0], names[-1]),):
        told = paired_bootstrap(found[after], found[before])
        print(f"check: {after} against {before}: {told}")


def _models(root: Path) -> Iterator[Path]:
    for name in ("001/sft", "002/sft", "002/ppo", "003/sft", "003/ppo"):
        if (root / "bank" / "rounds" / name / "manifest.json").is_file():
            yield root / "bank" / "rounds" / name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dir", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="the folder of real data")
    parser.add_argument(
        "--begin", type=int, default=0, help="people: their first question; of a later round 250, past what check asks"
    )
    parser.add_argument("--set", action="append", default=[], help="round: more settings")
    parser.add_argument("--part", choices=("export", "first", "people", "round", "check"))
    args = parser.parse_args()
    root = args.dir.resolve()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    parts = {
        "export": lambda: export(root, args.data),
        "first": lambda: first(root),
        "people": lambda: people(root, args.begin),
    }
    parts |= {"round": lambda: round_(root, tuple(args.set)), "check": lambda: check(root)}
    for name, part in parts.items():
        if args.part in (None, name):
            part()


if __name__ == "__main__":
    main()
