"""Bad input to the stages through the command line: exit code 2, one line that says what, where and what was
expected, and nothing half-written.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tiny as t
from steersman.artifact.stage_folder import partial_of
from steersman.artifact.workspace import Workspace
from steersman.config import Config, components
from steersman.engine.load import load_engine
from steersman.rounds import registry
from verbs import run as invoke

CPU = ["-s", "model.device=cpu", "-s", "model.dtype=float32"]


def record(user: str, answer: str | None = None, id: str = "") -> dict[str, Any]:
    return t.conversation(user, answer, id=id).to_json()


@pytest.fixture
def chats(tmp_path: Path) -> Path:
    return t.write_jsonl(tmp_path / "chats.jsonl", [record(f"Where is order {i}?", "On its way.") for i in range(4)])


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    return t.write_jsonl(tmp_path / "prompts.jsonl", [record(f"Where is parcel {i}?") for i in range(4)])


@pytest.fixture
def rankings(tmp_path: Path) -> Path:
    answers = ["On its way.", "No.", "blue kettle"]
    prompts = [t.conversation(f"Where is it, {i}?").to_json() for i in range(4)]
    lines = [{"id": f"r{i}", "prompt": p, "answers": answers, "ranks": [1, 2, 3]} for i, p in enumerate(prompts)]
    return t.write_jsonl(tmp_path / "rankings.jsonl", lines)


def refused(*args: str) -> str:
    """The one line that says why, after checking that it is one and that stdout stayed empty."""
    result = invoke(*args)
    assert result.exit_code == 2, f"exit code {result.exit_code}\n{result.stdout}\n{result.stderr}"
    lines = result.stderr.splitlines()
    assert "Traceback" not in result.stderr
    assert [line for line in lines if line.startswith(("error: ", "bug: "))] == lines[-1:]
    assert lines[-1].startswith("error: ")
    assert result.stdout == ""
    return str(lines[-1].removeprefix("error: "))


class Alone:
    """A stage without a workspace, on the tiny model unless told otherwise."""

    def __init__(self, model: Path, output: Path) -> None:
        self.model, self.output = model, output

    def args(self, verb: str, data: Path, *more: str, model: Path | str | None = None) -> list[str]:
        start = f"sft={model or self.model}" if verb == "eval" else str(model or self.model)
        return [verb, "--model", start, "--data", str(data), "--output", str(self.output), *CPU, *more]

    def refused(self, verb: str, data: Path, *more: str, model: Path | str | None = None) -> str:
        line = refused(*self.args(verb, data, *more, model=model))
        assert not self.output.exists()
        return line


@pytest.fixture
def alone(tiny: Path, tmp_path: Path) -> Alone:
    return Alone(tiny, tmp_path / "out")


@pytest.fixture
def space(tiny: Path, tmp_path: Path) -> Workspace:
    root = tmp_path / "w"
    assert invoke("init", str(root), "--base", str(tiny), *CPU).exit_code == 0
    return Workspace.open(root)


# data


GOOD = b'{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}\n'
BAD_FILES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "{file}: the file is empty; expected at least one record"),
    "blank": (b"\n \n", "{file}: only blank lines; expected at least one record"),
    "latin-1": (GOOD + GOOD.replace(b"hello", b"tsch\xfcss"), "{file}:2: expected UTF-8 text, but byte "),
    "broken JSON": (GOOD + GOOD[:40] + b"\n", "{file}:2: expected one JSON value; "),
    "10 MB": (GOOD + GOOD.replace(b"hello", b"x" * 10_000_000), "{file}:2: expected a line of at most 8 MB"),
    "unknown": (b'{"foo": 1}\n', "{file}:1: "),
    "no list": (b'{"messages": "hi"}\n', "{file}:1: messages: expected a non-empty list"),
}
"""Name -> (a file's content, how the line about it begins)."""
ENDS_WITH_USER = GOOD + b'{"messages": [{"role": "user", "content": "hi"}]}\n'


@pytest.mark.parametrize("name", BAD_FILES)
@pytest.mark.parametrize("verb", ["sft", "sample", "eval"])
def test_bad_dialogues(verb: str, name: str, alone: Alone, tmp_path: Path) -> None:
    content, expected = BAD_FILES[name]
    file = tmp_path / "bad.jsonl"
    file.write_bytes(content)
    assert alone.refused(verb, file).startswith(expected.format(file=file))
    assert not partial_of(alone.output).exists()


@pytest.mark.parametrize("name", ["empty", "latin-1", "broken JSON", "unknown"])
def test_bad_rankings(name: str, alone: Alone, tmp_path: Path) -> None:
    content, expected = BAD_FILES[name]
    file = tmp_path / "bad.jsonl"
    line = {"prompt": record("Where?"), "answers": ["a", "b"], "ranks": [1, 2]}
    file.write_bytes(content.replace(GOOD, json.dumps(line).encode() + b"\n"))
    assert alone.refused("reward", file).startswith(expected.format(file=file).partition(" byte ")[0])
    t.write_jsonl(file, [line, {**line, "ranks": [1]}])
    assert alone.refused("reward", file).startswith(f"{file}:2: ranking.ranks: expected 2 integers, 1 for the best")
    assert not partial_of(alone.output).exists()


def test_a_dialogue_without_an_answer_is_no_demonstration(alone: Alone, tmp_path: Path) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_bytes(ENDS_WITH_USER)
    line = alone.refused("sft", file)
    assert line.startswith(f"{file}:2: messages[0]: expected a demonstration to end with the assistant")


def test_missing_files(alone: Alone, tmp_path: Path, chats: Path) -> None:
    gone = tmp_path / "gone.jsonl"
    assert alone.refused("sft", gone) == f"{gone}: no such file"
    line = alone.refused("reward", gone, "--demonstrations", str(chats))
    assert line == f"{gone}: no such file"


LONG = "word " * 600


@pytest.mark.parametrize(
    ("verb", "settings", "expected"),
    [
        ("sample", ["-s", "sample.long=error"], "prompt 'long one': "),
        ("eval", ["-s", "eval.long=error"], "prompt 'long one': "),
        ("sft", ["-s", "sft.row_tokens=512"], "demonstration 'long one': "),
    ],
)
def test_longer_than_the_context(verb: str, settings: list[str], expected: str, alone: Alone, tmp_path: Path) -> None:
    answer = "fine" if verb == "sft" else None
    file = t.write_jsonl(tmp_path / "long.jsonl", [record("hi", answer), record(LONG, answer, id="long one")])
    line = alone.refused(verb, file, *settings)
    assert line.startswith(expected)
    assert " tokens; expected " in line


# models


def test_no_such_model(alone: Alone, chats: Path, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    assert f"{gone}: not a folder" in alone.refused("sft", chats, model=gone)
    gone.mkdir()
    assert f"{gone}: a folder without config.json is not a model" in alone.refused("sft", chats, model=gone)


def cut_weights(folder: Path) -> None:
    weights = folder / "model.safetensors"
    os.truncate(weights, weights.stat().st_size - 1000)


def no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def broken_config(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "lla')


def unknown_family(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "nonesuch"}')


def no_tokenizer(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()


def no_template(folder: Path) -> None:
    """And no turn tokens that one could be made of."""
    (folder / "chat_template.jinja").unlink()
    for path in folder.glob("tokenizer*.json"):
        path.write_text(path.read_text().replace("<|im_start|>", "<|start|>").replace("<|im_end|>", "<|stop|>"))


DAMAGE: dict[Callable[[Path], None], str] = {
    cut_weights: "{model}/model.safetensors: damaged or truncated weights: ",
    no_weights: "{model}: no .safetensors weights",
    broken_config: "{model}/config.json",
    unknown_family: "nonesuch",
    no_tokenizer: "{model}: no usable tokenizer",
    no_template: "the tokenizer has no chat template",
}
"""What is done to a model's folder, and what the line about it holds."""


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda d: d.__name__)
@pytest.mark.parametrize("verb", ["sft", "sample"])
def test_a_damaged_model(
    verb: str, damage: Callable[[Path], None], alone: Alone, tiny: Path, chats: Path, tmp_path: Path
) -> None:
    model = shutil.copytree(tiny, tmp_path / "model")
    damage(model)
    assert DAMAGE[damage].format(model=model) in alone.refused(verb, chats, model=model)


def test_policy_and_reward_model_must_share_a_tokenizer(
    alone: Alone, tiny: Path, prompts: Path, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    other = shutil.copytree(tiny, tmp_path / "other")
    tokenizer = AutoTokenizer.from_pretrained(other)
    tokenizer.add_tokens(["<extra>"])
    tokenizer.save_pretrained(other)
    line = alone.refused("ppo", prompts, "--reward", str(other), "--held-out", str(prompts))
    assert line.startswith(f"{other}: its tokenizer differs from that of {tiny}")


def test_an_unreachable_hub(alone: Alone, chats: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants as constants

    tried: list[Any] = []

    def refuse(*to: Any, **_: Any) -> None:
        tried.append(to)
        raise OSError("no route to host")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    line = alone.refused("sft", chats, model="some-org/some-model")
    assert len(tried) == 1, "it is not asked again and again"
    assert line.startswith("model 'some-org/some-model' could not be had. Tried: some-org/some-model: no such folder; ")
    assert "does not answer and the model is not in the local cache" in line


# options


def test_settings_and_options_that_do_not_fit(alone: Alone, chats: Path, tiny: Path) -> None:
    line = alone.refused("sft", chats, "--set", "sft.epoch=2")
    assert line == "--set: unknown key sft.epoch; did you mean 'epochs'?"
    assert alone.refused("sft", chats, "-s", "sft.epochs=two") == "--set: sft.epochs: expected int, got 'two'"
    assert alone.refused("sft", chats, "-s", "sft.train_layers=3").startswith("train_layers: expected 0 to 2")
    assert "expected one of bfloat16, float32" in alone.refused("sft", chats, "-s", "model.dtype=float8")
    assert refused("sft", "--model", str(tiny)).endswith("missing: --data, --output")
    assert refused("sft", "--model", str(tiny), "--data", str(chats)).endswith("missing: --output")
    line = refused("ppo", "--model", str(tiny), "--data", str(chats), "--output", str(alone.output))
    assert line.endswith("missing: --reward, --held-out")
    assert "expected NAME=FOLDER" in refused(
        "eval", "--model", str(tiny), "--data", str(chats), "--output", str(alone.output)
    )
    assert "expected each name once" in alone.refused("eval", chats, "--model", f"sft={tiny}")
    assert not alone.output.exists()


def test_settings_that_a_stage_does_not_read_are_said(alone: Alone, chats: Path) -> None:
    idle = ["-s", "ppo.kl.coef=0.3", "-s", "rank.overlap=2", "-s", "data.max_line_mb=9", "-s", "sft.train_layers=3"]
    said = invoke(*alone.args("sft", chats, *idle)).stderr
    line = (
        "caution: ppo.kl.coef=0.3, rank.overlap=2: changes nothing in sft, which reads sft, project, model, data, store"
    )
    assert [x for x in said.splitlines() if x.startswith("caution")] == [line]
    sections = components(Config())
    for stage in registry.stages():
        assert {stage.section or "sft", *stage.reads} <= sections.keys()
        assert stage.unread([f"{stage.section}.x=1"] if stage.section else ()) == ""
    for verb, read in (
        ("grpo", "ppo.iterations=3"),
        ("reward", "rank.reliability=true"),
        ("report", "ppo.kl.ceiling=9"),
    ):
        assert registry.get(verb).unread([read]) == ""


def test_an_output_that_is_taken_is_left_alone(alone: Alone, chats: Path) -> None:
    alone.output.mkdir()
    mine = alone.output / "thesis.txt"
    mine.write_text("years of work")
    line = refused(*alone.args("sft", chats))
    assert line.startswith(f"{alone.output}: something else is there already")
    assert [p.read_text() for p in alone.output.iterdir()] == ["years of work"]
    mine.unlink()
    assert invoke(*alone.args("sft", chats, "-s", "sft.epochs=1")).exit_code == 0, "an empty folder is fine"
    before = {p: p.stat().st_mtime_ns for p in alone.output.rglob("*")}
    assert refused(*alone.args("sft", chats)).startswith(f"{alone.output}: finished already")
    assert {p: p.stat().st_mtime_ns for p in alone.output.rglob("*")} == before


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the log file is closed by `collect`
def test_training_that_diverges_says_so(alone: Alone, chats: Path) -> None:
    diverging = ["-s", "sft.lr=1e30", "-s", "sft.batch_tokens=64"]
    assert "not finite; lower the learning rate" in alone.refused("sft", chats, *diverging)
    gc.collect()


# inside a workspace


def test_stages_name_what_is_missing(space: Workspace, chats: Path, prompts: Path, tiny: Path) -> None:
    def inside(*args: str) -> str:
        return refused(*args, "-w", str(space.root))

    assert inside("sft").startswith(f"{space.data}: no demonstrations; expected some: steersman data import FILE")
    assert inside("run").startswith(f"{space.data}: no demonstrations")
    assert inside("sample").startswith(f"{space.data}: no prompts to rank answers of")
    for verb in ("reward", "ppo"):
        assert inside(verb) == f"{space.stage_dir('sft')}: not there yet; make it with: steersman sft"
    assert inside("eval").startswith(f"{space.data}: no test prompts (--split test)")
    assert inside("report").endswith("no report of this round yet; make it with: steersman eval")
    assert inside("chat", "-m", "hi", "--model", "ppo").endswith("not there yet; make it with: steersman ppo")
    imported = ["data", "import", str(chats), "-w", str(space.root)]
    assert invoke(*imported).exit_code == 0
    assert invoke("sft", "-w", str(space.root), "-s", "sft.epochs=1").exit_code == 0
    line = inside("reward", "-s", "sft.epochs=1")
    assert line.startswith(f"{space.root}: no rankings; rank in the terminal (steersman rank)")
    assert invoke("data", "import", str(prompts), "--kind", "prompts", "-w", str(space.root)).exit_code == 0
    assert inside("run", "-s", "sft.epochs=1", "-s", "sample.max_tokens=4").startswith(f"{space.root}: no rankings")
    assert space.has("samples"), "what can be done before people rank is done"
    assert not list(space.root.rglob("*.partial"))


def test_chat_takes_a_precision_of_its_own(space: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--dtype` beats `serve.dtype`, which beats `model.dtype`."""
    used: list[str] = []

    def spy(*args: Any, dtype: str, **options: Any) -> Any:
        used.append(dtype)
        return load_engine(*args, dtype=dtype, **options)

    monkeypatch.setattr("steersman.engine.load.load_engine", spy)
    chat = ["chat", "-w", str(space.root), "-m", "hi", "--model", "base", "-s", "serve.max_tokens=2"]
    int8 = ["-s", "serve.dtype=int8"]
    for more in ([], int8, [*int8, "--dtype", "bfloat16"]):
        assert invoke(*chat, *more).exit_code == 0
    assert used == ["float32", "int8", "bfloat16"]
    assert "dtype 'int4': expected int8, or a GGUF file of 4 bits" in refused(*chat, "--dtype", "int4")


def test_no_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for verb in (["sft"], ["run"], ["chat", "-m", "hi"], ["serve"], ["eval"]):
        assert refused(*verb).endswith("make a workspace with: steersman init DIR")
    assert list(tmp_path.iterdir()) == []


def test_serve_takes_answers_from_one_place(space: Workspace) -> None:
    said = refused("serve", "-w", str(space.root), "--endpoint", "http://127.0.0.1:9/v1", "--model", "qwen3")
    assert "--model qwen3: answers come from http://127.0.0.1:9/v1; expected --endpoint-model" in said


# the machine


@pytest.mark.parametrize("how", ["errno", "text"])
def test_a_full_disk(how: str, alone: Alone, chats: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors import SafetensorError

    from steersman.train import session

    def full(_: Any, __: Any, folder: Path, *___: Any) -> None:
        (folder / "config.json").write_text("{}")
        if how == "errno":
            raise OSError(28, "No space left on device", str(folder / "model.safetensors"))
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    args = alone.args("sft", chats, "-s", "sft.epochs=1")
    monkeypatch.setattr(session, "save_model", full)
    assert "no space left" in refused(*args)
    assert not alone.output.exists()
    monkeypatch.undo()
    assert invoke(*args).exit_code == 0
    assert not partial_of(alone.output).exists()


def test_a_disk_that_fills_up_while_a_resume_point_is_written(
    alone: Alone, chats: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors import SafetensorError

    from steersman.artifact import stage_folder

    def full(tensors: Any, path: Path, **_: Any) -> None:
        path.write_bytes(b"half")
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    args = alone.args("sft", chats, "-s", "sft.batch_tokens=64", "-s", "sft.save_seconds=0")
    monkeypatch.setattr(stage_folder, "save_file", full)
    assert "no space left" in refused(*args)
    assert not alone.output.exists()
    assert not list(partial_of(alone.output).glob(".resume*"))
    monkeypatch.undo()
    assert invoke(*args).exit_code == 0


def test_a_disk_that_fills_up_at_the_end_of_ppo(
    alone: Alone, tiny: Path, prompts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The best policy was found early; the run that goes on late must still have it."""
    from steersman.train import session

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device", str(alone.output))

    small = {"iterations": 2, "prompts_per_iteration": 2, "minibatches": 1, "max_tokens": 4, "eval_every": 1}
    still = {"lr": 0.0, "save_seconds": 0, "kl_ceiling": 1e9}
    settings = [part for key, value in (small | still).items() for part in ("-s", f"ppo.{key}={value}")]
    more = ["--reward", str(tiny), "--held-out", str(prompts), *settings]
    monkeypatch.setattr(session, "save_model", full)
    assert "no space left" in alone.refused("ppo", prompts, *more)
    monkeypatch.undo()
    result = invoke(*alone.args("ppo", prompts, *more))
    assert result.exit_code == 0, result.stderr
    assert [p.name for p in alone.output.iterdir() if p.name.startswith(".")] == [".tensorboard"]


@pytest.fixture
def listening(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Ports on which `serve` would have listened; it ends at once instead."""
    from steersman.server.listening import _Server

    ports: list[int] = []

    def run(self: Any, sockets: list[socket.socket]) -> None:
        ports.extend(s.getsockname()[1] for s in sockets)
        self._on_started()

    monkeypatch.setattr(_Server, "run", run)
    return ports


def test_a_port_in_use(space: Workspace, listening: list[int]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = invoke(
            "serve", "-w", str(space.root), "--port", str(port), "--json", "-s", "serve.engine_process=false"
        )
    assert result.exit_code == 0, result.stderr
    assert len(listening) == 1
    assert port < listening[0] <= port + 20
    assert json.loads(result.stdout) == {"url": f"http://127.0.0.1:{listening[0]}"}


def test_a_host_or_port_that_cannot_be_had(space: Workspace, listening: list[int]) -> None:
    serve = ["serve", "-w", str(space.root), "-s", "serve.engine_process=false"]
    assert refused(*serve, "--host", "0.0.0.0").startswith("serve.host: '0.0.0.0' can be reached from other machines")
    assert refused(*serve, "--port", "70000") == "serve.port: expected a number from 0 to 65535, got 70000"
    assert listening == []
