"""A file of a trainer's arguments -> its entries in order, each with its line: YAML, JSON, a shell script, a file of
options.

Why so: decision 65 in docs/LOG.md.
"""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

LARGEST = 1 << 20
"""Bytes of a file of settings; a longer one is something else."""
TRAINERS = re.compile(
    r"llamafactory-cli|train_bash\.py|\btrl\b|(?:^|/)train\w*\.py|(?:sft|dpo|kto|ppo|reward|rm)\w*\.py"
)
"""What the command that trains has among its words."""
VARIABLE = re.compile(r"\$(?:\{(\w+)(?::?[-=]([^}]*))?\}|(\w+))")
"""$NAME, ${NAME} and ${NAME:-what it is otherwise}."""
ASSIGNED = re.compile(r"(?:export\s+)?(\w+)=(.*)", re.S)
ONCE = "twice; expected it once: which of the values is meant is not guessed"
LAUNCHER = ("--num_processes", "--nproc_per_node", "--nproc-per-node", "--num_gpus")
WHOLE = ("deepspeed", "fsdp_config", "accelerator_config", "rope_scaling", "model_init_kwargs", "vllm_config")
"""Keys whose value is a table of its own, which is not taken apart."""


OTHERS = {
    "OpenRLHF": re.compile(r"(?m)^[^#\n]*(?:\bopenrlhf\.cli\b|--micro_(?:train|rollout)_batch_size\b)"),
    "DeepSpeed-Chat": re.compile(r"(?m)^[^#\n]*--(?:actor|critic)_(?:model_name_or_path|zero_stage)\b"),
    "verl": re.compile(r"(?m)^[^#\n]*(?:\bverl\.trainer\b|\bactor_rollout_ref\b)"),
    "ms-swift": re.compile(r"(?m)^[^#\n]*\bswift (?:sft|rlhf|pt)\b"),
    "Axolotl": re.compile(r"(?ms)\A(?=.*^base_model:)(?=.*^(?:sequence_len|micro_batch_size|sample_packing):)"),
    "torchtune": re.compile(r"(?m)^[ \t]+_component_: torchtune\."),
}
"""Trainers whose words mean other things than those of the two that are read: nothing of theirs is guessed."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One setting as it is written: its line (0: on the command line of another file), its name and its value."""

    line: int
    key: str
    value: Any


@dataclass(frozen=True)
class Given:
    """The entries of a file, and what its command line says besides: the words before the options, the devices."""

    path: Path
    entries: list[Entry]
    words: list[str] = field(default_factory=list)
    devices: int = 0
    """Devices that the command line names; 0: none."""
    again: list[Entry] = field(default_factory=list)
    """Options of a command line that it gives once more later, where both programs take the last."""


def read(path: Path) -> Given:
    """The file's entries. Raises ValueError 'file:line: what was expected'."""
    if path.is_dir():
        raise ValueError(f"{path}: expected a file of settings (YAML, JSON or a script), found a folder")
    if path.stat().st_size > LARGEST:
        raise ValueError(f"{path}: expected a file of settings, this is larger than {LARGEST >> 20} MiB")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path}: expected a file of settings in UTF-8") from None
    if other := next((name for name, words in OTHERS.items() if words.search(text)), None):
        raise ValueError(f"{path}: expected a file of TRL or LLaMA-Factory, this is one of {other}, which is not read")
    if text.lstrip().startswith("{"):
        return Given(path, list(_json(path, text)))
    if path.suffix.lower() in (".py", ".ipynb"):
        raise ValueError(
            f"{path}: a program is not read; expected the settings that it makes, as YAML or JSON "
            "(training_args.to_json_string()), or the command that starts it"
        )
    if path.suffix.lower() in (".yaml", ".yml") or not re.search(r"(?m)(?:^|\s)--[A-Za-z]", text):
        return Given(path, list(_yaml(path, text)))
    return _script(path, text)


def _json(path: Path, text: str) -> Iterator[Entry]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if twice := [key for key, n in Counter(key for key, _ in pairs).items() if n > 1]:
            raise ValueError(f"'{twice[0]}' is there {ONCE}")
        return dict(pairs)

    try:
        tree = json.loads(text, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: expected a JSON object: {error}") from None
    lines = text.split("\n")
    for key, value in _flat("", tree):
        last = key.rpartition(".")[2]
        line = next((i for i, at in enumerate(lines, 1) if re.search(rf'"{re.escape(last)}"\s*:', at)), 1)
        yield Entry(line, key, value)


def _yaml(path: Path, text: str) -> Iterator[Entry]:
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        tree = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        where = getattr(getattr(error, "problem_mark", None), "line", None)
        raise ValueError(
            f"{path}{f':{where + 1}' if where is not None else ''}: expected YAML: "
            f"{getattr(error, 'problem', None) or error}"
        ) from None
    if not isinstance(root, yaml.MappingNode) or not isinstance(tree, Mapping):
        raise ValueError(f"{path}: expected settings as 'name: value' (YAML, JSON) or '--name value', found none")
    marks: dict[str, int] = {}
    _mark(path, root, "", marks)
    for key, value in _flat("", tree):
        yield Entry(marks.get(key, 1), key, value)


def _mark(path: Path, node: yaml.MappingNode, above: str, marks: dict[str, int]) -> None:
    """The line of every key, by its dotted name."""
    own: set[str] = set()
    for key, value in node.value:
        name = f"{above}{key.value}"
        if name in own and key.value != "<<":
            raise ValueError(f"{path}:{key.start_mark.line + 1}: '{name}' is there {ONCE} (before: {marks[name]})")
        own.add(name)
        marks[name] = key.start_mark.line + 1
        if isinstance(value, yaml.MappingNode):
            _mark(path, value, f"{name}.", marks)


def _flat(above: str, tree: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of all that is no table, and of the tables that stay whole."""
    for key, value in tree.items():
        name = f"{above}{key}"
        if isinstance(value, Mapping) and value and str(key) not in WHOLE and not str(key).endswith("_kwargs"):
            yield from _flat(f"{name}.", value)
        else:
            yield name, value


def _script(path: Path, text: str) -> Given:
    variables: dict[str, str] = {}
    commands: list[list[tuple[int, str]]] = []
    for words in _commands(path, text):
        assigned = [m for _, w in words if (m := ASSIGNED.fullmatch(w)) and not w.startswith("-")]
        if len(assigned) == len(words) or words[0][1] == "export":
            given = {m[1]: _filled(m[2], variables) for m in assigned}
            variables |= {name: v for name, v in given.items() if "$" not in v}  # $1 is known to who calls it
        elif any(w.startswith("--") for _, w in words):
            commands.append([(line, _filled(w, variables)) for line, w in words])
    found = [c for c in commands if any(TRAINERS.search(w) for _, w in c)] or commands
    if len(found) > 1:
        at = ", ".join(str(c[0][0]) for c in found)
        raise ValueError(f"{path}: expected one command that trains, found {len(found)} (lines {at}); keep one of them")
    if not found:
        raise ValueError(f"{path}: expected settings as '--name value', 'name: value' or JSON, found none")
    return _of_command(path, found[0], variables)


def _filled(word: str, variables: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        name = match[1] or match[3]
        return variables.get(name, match[0] if match[2] is None else match[2])

    return VARIABLE.sub(value, word)


def _commands(path: Path, text: str) -> Iterator[list[tuple[int, str]]]:
    """The words of each command with their lines; a command goes on where a line ends in a backslash, and a file that
    begins with options is one command."""
    lines = text.split("\n")
    alone = next((x for x in lines if x.strip() and not x.lstrip().startswith("#")), "").lstrip().startswith("-")
    words: list[tuple[int, str]] = []
    held, begun = "", 0
    for number, line in enumerate(lines, 1):
        held, begun = (f"{held}\n{line}", begun) if held else (line, number)
        goes_on = held.rstrip().endswith("\\")
        try:
            found = shlex.split(held.rstrip().removesuffix("\\"), comments=True)
        except ValueError:  # a quote that a later line closes
            if number == len(lines):
                raise ValueError(f"{path}:{begun}: expected a command, found a quote that nothing closes") from None
            continue
        words += [(begun, word) for word in found]
        held = ""
        if not (goes_on or alone) and words:
            yield words
            words = []
    if words:
        yield words


def _of_command(path: Path, command: list[tuple[int, str]], variables: Mapping[str, str]) -> Given:
    entries: list[Entry] = []
    words: list[str] = []
    values: dict[int, list[str]] = {}
    devices = 0
    visible = next((m[2] for _, w in command if (m := re.fullmatch(r"(CUDA_VISIBLE_DEVICES)=(.*)", w))), "")
    visible = visible or variables.get("CUDA_VISIBLE_DEVICES", "")
    for line, word in command:
        if word in (";", "&&", "|", ">", "2>&1"):
            break
        option = re.fullmatch(r"--?([A-Za-z][\w.-]*)(?:=(.*))?", word, re.S)
        if option:
            values[len(entries)] = [option[2]] if option[2] is not None else []
            entries.append(Entry(line, option[1].replace("-", "_"), None))
        elif entries and not re.search(r"\.py$", word):
            values[len(entries) - 1].append(word)
        else:
            words.append(word)
    every = [Entry(e.line, e.key, _value(values[i])) for i, e in enumerate(entries)]
    last = {entry.key: i for i, entry in enumerate(every)}
    out = [entry for i, entry in enumerate(every) if last[entry.key] == i]
    again = [entry for i, entry in enumerate(every) if last[entry.key] != i]
    for entry in out:
        if f"--{entry.key}" in LAUNCHER and str(entry.value).isdigit():
            devices = int(entry.value)
    if not devices and re.fullmatch(r"\d+(,\d+)*", visible):
        devices = visible.count(",") + 1
    out, more = _with_named_files(path, out, words)
    return Given(path, out, words + more, devices, again)


def _value(words: list[str]) -> Any:
    """An option's value as YAML reads it; true for none, a list for several."""
    read = [yaml.safe_load(word) if re.fullmatch(r"[\w.+-]+", word) else word for word in words]
    return True if not read else read[0] if len(read) == 1 else read


def _with_named_files(path: Path, entries: list[Entry], words: list[str]) -> tuple[list[Entry], list[str]]:
    """Entries of a file that the command line names (--config FILE, llamafactory-cli train FILE) before its own."""
    named = [str(e.value) for e in entries if e.key == "config"] + words
    for name in (n for n in named if n.endswith((".yaml", ".yml", ".json"))):
        for place in (Path(name), path.parent / name):
            if place.is_file():
                given = {e.key for e in entries}
                return [Entry(0, e.key, e.value) for e in read(place).entries if e.key not in given] + entries, [name]
    return entries, []
