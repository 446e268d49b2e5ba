"""The framework: exit codes, one JSON object, errors in one line, start-up time, progress."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from steersman import progress as progress_module
from steersman.cli import framework
from steersman.cli.framework import JsonOption, add, emit
from steersman.progress import duration, metric_text, note, plain, progress
from verbs import run

runner = CliRunner()


def steersman(*args: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from steersman.cli import main; main()", *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **options)


def test_help_names_every_verb_and_loads_nothing_heavy() -> None:
    code = (
        "import sys, contextlib, io\n"
        "from steersman.cli.framework import build\n"
        "sys.argv = ['steersman', '--help']\n"
        "try:\n    build()()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'transformers', 'numpy', 'sqlalchemy', 'fastapi', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    for verb in ("init", "data", "rank", "promote", "rollback", "status", "doctor"):
        assert f" {verb} " in done.stdout


VERBS = [("init",), ("data", "import"), ("data", "list"), ("data", "export"), ("rank",), ("promote",), ("rollback",)]


@pytest.mark.parametrize("verb", [*VERBS, ("status",), ("doctor",)])
def test_every_verb_has_help_with_an_example(verb: tuple[str, ...]) -> None:
    result = run(*verb, "--help", env={"COLUMNS": "200"})
    assert result.exit_code == 0
    assert f"steersman {' '.join(verb)}" in result.stdout.partition("Examples")[2]


def test_a_mistyped_verb_gets_the_nearest() -> None:
    done = steersman("statsu")
    assert done.returncode == 2
    assert "'status'" in done.stderr
    assert steersman("--version").stdout.startswith("steersman ")


def verb_raising(error: BaseException) -> typer.Typer:
    app = typer.Typer()

    def verb(n: Annotated[int, typer.Option("--n")] = 0, as_json: JsonOption = False) -> None:
        if n:
            raise error
        emit(as_json, {"n": n, "path": Path("x")}, "fine [not markup]")

    add(app, verb, panel="x", examples=["steersman verb [x]"])
    return app


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ValueError("a.jsonl:3: expected\nthis"), 2, "error: a.jsonl:3: expected this"),
        (FileNotFoundError(errno.ENOENT, "No such file", "gone.txt"), 2, "error: gone.txt: no such file or folder"),
        (PermissionError(errno.EACCES, "Denied", "locked"), 2, "error: locked: permission denied; expected a place"),
        (OSError(errno.ENOSPC, "No space left on device"), 2, "error: the disk: no space left; nothing half-written"),
        (
            RuntimeError("Error while serializing: No space left on device (os error 28)"),
            2,
            "error: the disk: no space",
        ),
        (OSError(errno.EADDRINUSE, "Address already in use"), 2, "error: the system: Address already in use"),
        (KeyboardInterrupt(), 130, "interrupted; run the same command again to continue"),
        (TypeError("oops"), 1, "bug: TypeError: oops; this is a fault of steersman"),
    ],
)
def test_errors_are_one_line_and_a_code(error: BaseException, code: int, line: str) -> None:
    result = runner.invoke(verb_raising(error), ["--n", "1"])
    assert result.exit_code == code
    assert result.stdout == ""
    assert line in result.stderr
    assert ("Traceback" in result.stderr) == (code == 1)
    as_json = runner.invoke(verb_raising(error), ["--n", "1", "--json"])
    assert as_json.exit_code == code
    said = json.loads(as_json.stdout)
    assert said["exit_code"] == code
    assert line in said["error"]


def test_debug_shows_the_traceback() -> None:
    result = runner.invoke(verb_raising(ValueError("x")), ["--n", "1"], env={"STEERSMAN_DEBUG": "1"})
    assert result.exit_code == 2
    assert "Traceback" in result.stderr


def test_emit_prints_text_or_one_object() -> None:
    app = verb_raising(ValueError("x"))
    assert runner.invoke(app, []).stdout == "fine [not markup]\n"
    assert json.loads(runner.invoke(app, ["--json"]).stdout) == {"n": 0, "path": "x"}


def test_usage_errors_exit_2() -> None:
    assert runner.invoke(verb_raising(ValueError("x")), ["--n", "seven"]).exit_code == 2


def test_store_errors_are_told() -> None:
    import sqlite3

    class Wrapped(Exception):
        orig = sqlite3.OperationalError("database is locked")

    assert framework.explain(Wrapped()) is not None
    assert framework.explain(Exception("x")) is None


# init and the configuration


def test_init_makes_a_workspace_once(tmp_path: Path) -> None:
    folder = tmp_path / "w"
    result = run("init", str(folder), "--language", "zh", "--name", "小舵", "--base", "gemma3-270m", "--json")
    assert result.exit_code == 0
    config = json.loads(result.stdout)["config"]
    assert (config["project"]["name"], config["project"]["language"], config["model"]["base"]) == (
        "小舵",
        "zh",
        "gemma3-270m",
    )
    again = run("init", str(folder))
    assert again.exit_code == 2
    assert "exists already" in again.stderr
    assert run("init", str(tmp_path / "x"), "--language", "fr").exit_code == 2
    assert not (tmp_path / "x").exists()
    (tmp_path / "file").write_text("")
    assert "found a file" in run("init", str(tmp_path / "file")).stderr


def test_unknown_configuration_key_names_the_nearest(tmp_path: Path) -> None:
    run("init", str(tmp_path))
    bad = run("status", "-w", str(tmp_path), "--set", "ppo.kl_cof=0.1")
    assert bad.exit_code == 2
    assert "unknown key ppo.kl_cof; did you mean 'kl_coef'?" in bad.stderr
    file = tmp_path / "steersman.toml"
    file.write_text(file.read_text().replace("[ppo]", "[pppo]"))
    assert "steersman.toml: unknown section [pppo]; did you mean 'ppo'?" in run("status", "-w", str(tmp_path)).stderr


def test_nearest_workspace_above_and_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("init", str(tmp_path / "w"))
    inner = tmp_path / "w" / "data"
    monkeypatch.chdir(inner)
    assert run("status").exit_code == 0
    monkeypatch.chdir(tmp_path)
    result = run("status")
    assert result.exit_code == 2
    assert "make a workspace with: steersman init DIR" in result.stderr


# progress


def test_plain_progress_prints_lines_on_stderr(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [0.0]
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(progress_module, "_said_at", 0.0)
    with progress("sft", 120, start=20) as shown:
        for done in range(21, 61, 10):
            shown.update(done, loss=3.0)
            clock[0] += 2
            shown.update(done, loss=3.0)  # the line before is not long enough ago
            clock[0] += 8
            done += 9
            shown.update(done, loss=2.3149)
        shown.note("saved")
        note("by name")
    note("alone")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "sft: going on at step 20 of 120",
        "sft  step 30/120  loss 2.315  ETA 1m30s",
        "sft  step 40/120  loss 2.315  ETA 1m20s",
        "sft  step 50/120  loss 2.315  ETA 1m10s",
        "sft  step 60/120  loss 2.315  ETA 1m00s",
        "saved",
        "by name",
        "sft  done 60/120  loss 2.315  in 40s",
        "alone",
    ]


def test_progress_says_where_it_stopped(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> None:
        with progress("ppo", None, unit="round") as shown:
            shown.update(3, kl=1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert capsys.readouterr().err == "ppo  stopped at 3  kl 1  in 0s\n"


def test_terminal_gets_a_bar_unless_plain(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress("sft", 2) as shown:
        shown.update(2, loss=1.0)
    assert "2/2" in capsys.readouterr().err
    token = plain.set(True)
    with progress("sft", 2) as shown:
        shown.update(2)
    with progress("reward", 0):
        pass
    plain.reset(token)
    assert capsys.readouterr().err == "sft  done 2/2  in 0s\nreward  done  in 0s\n", "of no steps none are counted"


def test_words_for_numbers() -> None:
    assert [duration(s) for s in (0.4, 12, 80, 3900)] == ["0s", "12s", "1m20s", "1h05m"]
    assert metric_text({"loss": 2.30001, "lr": 5e-05, "best": 3, "note": "x"}) == "loss 2.3  lr 5e-05  best 3  note x"


def test_ctrl_c_before_the_framework_is_there_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from steersman import cli

    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("steersman.cli.framework.run", interrupted)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert (ended.value.code, capsys.readouterr().err) == (130, "interrupted; nothing was begun\n")


def test_a_name_in_another_encoding_says_so() -> None:
    """LC_ALL=zh_CN.GBK with files whose names are UTF-8, or the other way round."""
    with pytest.raises(UnicodeEncodeError) as raised:
        "../in/\udce6\udc8c.csv".encode()
    told = str(framework.explain(raised.value))
    assert "'../in/\\udce6\\udc8c.csv': a name in another encoding" in told
    assert "LC_ALL=C.UTF-8" in told


def test_options_of_a_file_or_model_that_is_not_named_are_refused(tmp_path: Path) -> None:
    for option in (["--stage", "sft"], ["--devices", "3"], ["--tokens-per-dialogue", "7"]):
        result = CliRunner().invoke(framework.build(), ["init", str(tmp_path / "w"), *option])
        assert (result.exit_code, (tmp_path / "w").exists()) == (2, False)
        assert "expected --from FILE" in result.stderr
    assert CliRunner().invoke(framework.build(), ["init", str(tmp_path / "w")]).exit_code == 0
    result = CliRunner().invoke(framework.build(), ["serve", "-w", str(tmp_path / "w"), "--share", "0.5"])
    assert (result.exit_code, "--share 0.5: expected --canary" in result.stderr) == (2, True)
    result = CliRunner().invoke(
        framework.build(), ["rank", "-w", str(tmp_path / "w"), "--round", "9", "--labeler", "a"]
    )
    assert (result.exit_code, "no round 9" in result.stderr) == (2, True)
    result = CliRunner().invoke(framework.build(), ["serve", "-w", str(tmp_path / "w"), "--port", "99999"])
    assert (result.exit_code, "serve.port: expected a number" in result.stderr) == (2, True), (
        "before a model is looked for"
    )
    result = CliRunner().invoke(framework.build(), ["init", str(tmp_path / "v"), "--base", "../no/such"])
    assert "caution: --base ../no/such: there is no such folder or file now" in result.stdout


def test_a_narrow_terminal_cuts_no_name(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console, Group
    from rich.table import Table

    table = Table("name", "made from", box=None)
    table.add_row("chats-validation-of-2026", "挂号-train")
    for shown in (table, Group(table)):
        framework.show(Console(width=20), shown)
        out = capsys.readouterr().out
        assert "…" not in out
        assert "chats-validation-of-2026" in "".join(line[:10].strip() for line in out.splitlines()) or "2026" in out
