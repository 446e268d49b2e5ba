"""Every `steersman` command and every setting that a document shows exists, with the options it shows."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from steersman import config
from steersman.cli import framework

ROOT = Path(__file__).parent.parent
HISTORY = ("LOG.md", "CHANGELOG.md")
PAGES = [
    page
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "recipes" / "README.md"]
    if page.name not in HISTORY
]
ROOT_COMMAND: Any = typer.main.get_command(framework.build())


def commands(text: str) -> Iterator[list[str]]:
    """Words behind `steersman` of each command in blocks, indented lines and code spans."""
    text = text.replace("\\\n", " ")
    blocks = re.findall(r"^ *```[^\n]*\n(.*?)^ *```", text, re.M | re.S)
    shown = [line for block in blocks for line in block.splitlines()]
    rest = re.sub(r"^ *```[^\n]*\n.*?^ *```", "", text, flags=re.M | re.S)
    shown += re.findall(r"^ {4,}(\S.*)$", rest, re.M) + [
        " ".join(span.split()) for span in re.findall(r"`([^`]+)`", rest)
    ]
    for line in shown:
        for part in re.split(r"&&|\|(?= )|;(?= )", line):
            found = re.match(r"\s*(?:\$ )?(?:[A-Z_]+=\S+ )*(?:\.venv/bin/)?steersman (?P<words>.*)", part)
            if found:
                try:
                    yield shlex.split(found["words"], comments=True)
                except ValueError:
                    yield found["words"].split()


def faults(words: list[str]) -> list[str]:
    """What of a command does not exist: its verb, an option, a setting."""
    command, at = ROOT_COMMAND, 0
    while at < len(words) and hasattr(command, "commands"):
        if words[at].startswith("-") or not re.fullmatch(r"[a-z][a-z0-9-]*", words[at]):
            break
        if words[at] not in command.commands:
            return [f"no verb {words[at]}"]
        command, at = command.commands[words[at]], at + 1
    options = {name for p in command.params for name in (*p.opts, *p.secondary_opts)} | {"--help"}
    out = []
    for i, word in enumerate(words[at:], at):
        name = word.split("=")[0].rstrip("],.)").lstrip("[(")
        if re.fullmatch(r"--[a-z][a-z0-9-]*|-[a-zA-Z]", name) and name not in options:
            out.append(f"no option {name}")
        if name in ("-s", "--set") and i + 1 < len(words) and not known(words[i + 1].split("=")[0]):
            out.append(f"no setting {words[i + 1]}")
    return out


def settings() -> set[str]:
    out = set()
    for section in dataclasses.fields(config.Config):
        entries = getattr(config.Config(), section.name)
        for leaf in config.leaves(entries) if dataclasses.is_dataclass(entries) else ():
            paths = (leaf.name, *(".".join(leaf.path[: i + 1]) for i in range(len(leaf.path))))
            out |= {f"{section.name}.{path}" for path in paths}
    return out


KNOWN = settings()
SECTIONS = {name.split(".")[0] for name in KNOWN}


def known(name: str) -> bool:
    return name in KNOWN or any(re.fullmatch(re.escape(name).replace(r"\*", "[a-z_.]+"), k) for k in KNOWN)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_shown_commands_and_settings_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    wrong = [f"steersman {shlex.join(words)}: {fault}" for words in commands(text) for fault in faults(words)]
    for span in re.findall(r"`([^`\n]+)`", re.sub(r"^ *```.*?^ *```", "", text, flags=re.M | re.S)):
        name = re.match(r"([a-z]+(?:\.[a-z_]+)+)(?:\s*=.*)?$", span)
        if name and name[1].split(".")[0] in SECTIONS and not known(name[1]):
            wrong.append(f"no setting {name[1]}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_named_functions_are_in_the_named_files(name: str) -> None:
    named = re.findall(r"\]\((src/[\w/]+\.py)\) `(\w+)`", (ROOT / name).read_text(encoding="utf-8"))
    assert len(named) > 5
    for path, function in named:
        assert re.search(rf"^(def|class) {function}\b", (ROOT / path).read_text(encoding="utf-8"), re.M), (
            path,
            function,
        )


def test_the_checks_can_fail() -> None:
    block = "```sh\nsteersman sft --nosuch \\\n  -s sft.nosuch=1 # steersman\n```\n"
    shown = commands(f"`steersman nosuch x`\n{block}    steersman run\n")
    assert [faults(words) for words in shown] == [
        ["no option --nosuch", "no setting sft.nosuch=1"],
        [],
        ["no verb nosuch"],
    ]
    assert known("sft.optimizer.lr")
    assert known("sft.lr")
    assert not known("ppo.kl.nosuch")
