"""Settings nested by component: both forms are read, manifests keep the flat names, old files are rewritten."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from steersman import config as configs
from steersman import config_file, config_rewrite, locks
from steersman.artifact.workspace import CONFIG_NAME, Workspace
from steersman.cli import framework
from steersman.config import Config, components, leaves

OLD = Path(__file__).parent / "data" / "settings_old.toml"
"""What `steersman init` wrote before settings were nested, with some values and comments of people."""


def test_flat_names_are_unique_and_those_of_old_files() -> None:
    """Manifests and unfinished work record flat names: another one would make old artifacts stale."""
    old = tomllib.loads(OLD.read_text(encoding="utf-8"))
    for name, section in components(Config()).items():
        names = [leaf.name for leaf in leaves(section)]
        assert len(set(names)) == len(names), name
        assert set(names) >= set(old.get(name, ())), name
        assert not set(names) & set(components(section)) - {"advantage", "monitors"}, name


@pytest.mark.parametrize(
    ("setting", "flat", "value"),
    [
        ("sft.lr=1e-3", "sft.lr", 1e-3),
        ("sft.optimizer.lr=1e-3", "sft.lr", 1e-3),
        ("ppo.kl_coef=0.3", "ppo.kl_coef", 0.3),
        ("ppo.kl.coef = 0.3", "ppo.kl_coef", 0.3),
        ("ppo.kl={coef = 0.3}", "ppo.kl_coef", 0.3),
        ("ppo.advantage=rloo", "ppo.advantage", "rloo"),  # a component has the setting's old name
        ("ppo.advantage.method=rloo", "ppo.advantage", "rloo"),
        ("ppo.monitors=stop", "ppo.monitors", "stop"),
        ("ppo.monitors.action=stop", "ppo.monitors", "stop"),
        ("grpo.kl_in=reward", "grpo.kl_in", "reward"),
        ("grpo.kl.paid_in=reward", "grpo.kl_in", "reward"),
        ('ppo.score.rules=[{rule = "json"}]', "ppo.rules", [configs.RuleConfig("json")]),
        ("reward.objectives.kind=1", "reward.objectives", {"kind": 1.0}),
    ],
)
def test_both_forms_of_a_setting(setting: str, flat: str, value: Any) -> None:
    config = config_file.with_overrides(Config(), [setting])
    section, name = flat.split(".")
    found = {leaf.name: leaf.of(getattr(config, section)) for leaf in leaves(getattr(config, section))}
    usual = {leaf.name: leaf.of(getattr(Config(), section)) for leaf in leaves(getattr(Config(), section))}
    assert found == usual | {name: value}


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("ppo.kl_cof=1", "unknown key ppo.kl_cof; did you mean 'kl_coef'? (ppo.kl.coef)"),
        ("ppo.kl.cof=1", "unknown key ppo.kl.cof; did you mean 'ppo.kl.coef'?"),
        ("ppo.kl.kl_coef=1", "unknown key ppo.kl.kl_coef; did you mean 'ppo.kl.coef'?"),
        ("sft.rows.lr=1", "unknown key sft.rows.lr; did you mean 'sft.optimizer.lr'?"),
        ("sft.optimizr.lr=1", "unknown key sft.optimizr"),
        ("sft.optimizer=1", "sft.optimizer: expected a table of lr, warmup_fraction,"),
        ("sft.optimizer={lr = 1e-3, grad_clip = -1}", "--set: sft.optimizer.grad_clip: expected at least 0, got -1"),
    ],
)
def test_errors_name_the_setting_meant(setting: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        config_file.with_overrides(Config(), [setting])


def test_one_setting_in_both_forms_is_an_error() -> None:
    tree = {"sft": {"lr": 1e-3, "optimizer": {"lr": 1e-4}}}
    with pytest.raises(ValueError, match=r"a.toml: sft.lr and sft.optimizer.lr are one setting"):
        config_file.from_dict(tree, "a.toml")


def test_a_written_file_is_of_the_new_form_and_reads_back() -> None:
    config = config_file.with_overrides(Config(), ["sft.lr=1e-3", "ppo.kl_coef=0.3", "grpo.kl_in=reward"])
    text = config_file.to_toml(config)
    tree = tomllib.loads(text)
    assert tree["sft"]["optimizer"]["lr"] == 1e-3
    assert config_file.old_names(tree) == []
    assert config_file.from_dict(tree, "x") == config
    changed = tomllib.loads(config_file.to_toml(config, only_changed=True))
    assert changed == {
        "sft": {"optimizer": {"lr": 1e-3}},
        "ppo": {"kl": {"coef": 0.3}},
        "grpo": {"kl": {"paid_in": "reward"}},
    }


def invoke(*args: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(framework.build(), args)
    return result.exit_code, result.stdout, result.stderr


def old_workspace(root: Path) -> Path:
    Workspace.create(root, Config())
    (root / CONFIG_NAME).write_text(OLD.read_text(encoding="utf-8"), encoding="utf-8")
    return root / CONFIG_NAME


def test_an_old_file_is_read_said_and_upgraded(tmp_path: Path) -> None:
    path = old_workspace(tmp_path / "w")
    text, before = path.read_text(encoding="utf-8"), config_file.load(path)
    assert (before.sft.optimizer.lr, before.ppo.monitors.action) == (3e-5, "stop")
    assert before.ppo.score.rules == [configs.RuleConfig("length", at_most=400)]
    code, _, said = invoke("status", "-w", str(path.parent))
    assert (code, said.count("of the old form")) == (0, 1)
    assert f"steersman init --upgrade {path.parent}" in said

    assert invoke("init", "--upgrade", str(path.parent))[0] == 0
    new = path.read_text(encoding="utf-8")
    assert config_file.load(path) == before
    assert path.with_name("steersman.toml.old").read_text(encoding="utf-8") == text
    assert "[sft.optimizer]\n# Peak learning rate of AdamW.\n# we tried 1e-4: 太大\nlr = 3e-05  # mine\n" in new
    assert "  # answers are read on phones\n" in new, "comments inside of a value"
    comments = [line.strip() for line in text.splitlines() if line.strip().startswith("#")]
    assert sorted(comments) == sorted(line.strip() for line in new.splitlines() if line.strip().startswith("#"))
    assert "of the old form" not in invoke("status", "-w", str(path.parent))[2]

    code, said, _ = invoke("init", "--upgrade", str(path.parent))
    assert (code, path.read_text(encoding="utf-8")) == (0, new)
    assert "is of this version's form" in said
    assert not path.with_name("steersman.toml.old-2").exists()


def test_upgrade_of_a_file_that_is_hard_to_follow(tmp_path: Path) -> None:
    """An inline table for a section: the values are kept, the comments are in the copy."""
    path = old_workspace(tmp_path / "w")
    path.write_text("# mine\nsft = {lr = 1e-3, epochs = 3}\nppo.kl_coef = 0.1\n", encoding="utf-8")
    before = config_file.load(path)
    code, said, _ = invoke("init", "--upgrade", str(path.parent))
    assert code == 0
    assert "comments could not be followed" in said
    assert config_file.load(path) == before
    assert before.sft.optimizer.lr == 1e-3
    assert path.with_name("steersman.toml.old").read_text(encoding="utf-8").startswith("# mine")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions, and links need a right")
def test_upgrade_keeps_what_the_file_is(tmp_path: Path) -> None:
    """Of an editor of Windows, with a key in it that others shall not read, kept elsewhere behind a link."""
    path = old_workspace(tmp_path / "舵 w")
    before = config_file.load(path)
    raw = b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n")
    real = tmp_path / "kept.toml"
    real.write_bytes(raw)
    real.chmod(0o600)
    path.unlink()
    path.symlink_to(real)
    assert config_file.load(path) == before
    assert f"steersman init --upgrade '{path.parent}'" in invoke("status", "-w", str(path.parent))[2]
    code, said, _ = invoke("init", "--upgrade", str(path.parent))
    assert code == 0
    assert "could not be followed" not in said
    kept, new = path.with_name("steersman.toml.old"), real.read_bytes()
    assert kept.read_bytes() == raw
    assert path.is_symlink()
    assert [file.stat().st_mode & 0o777 for file in (real, kept)] == [0o600, 0o600]
    assert new.count(b"\r\n") == new.count(b"\n") > 100
    assert config_file.load(path) == before


def test_upgrade_refuses_a_workspace_in_use(tmp_path: Path) -> None:
    path = old_workspace(tmp_path / "w")
    text = path.read_text(encoding="utf-8")
    with locks.making(path.parent / "rounds" / "001" / "sft"):
        code, _, said = invoke("init", "--upgrade", str(path.parent))
    assert (code, path.read_text(encoding="utf-8")) == (2, text)
    assert "in use by" in said


@pytest.mark.parametrize(
    ("text", "section", "values", "expected"),
    [
        ("", "sft", {"lr": 0.1}, "\n[sft.optimizer]\nlr = 0.1\n"),
        ("[sft]\nlr = 1  # 试\n", "sft", {"lr": 0.1}, "[sft]\nlr = 0.1  # 试\n"),
        ("[sft.optimizer]\nlr = 1\n[ppo]\n", "sft", {"lr": 0.1}, "[sft.optimizer]\nlr = 0.1\n[ppo]\n"),
        ("[ppo]\nkl.coef = 1\n", "ppo", {"kl_coef": 0.1}, "[ppo]\nkl.coef = 0.1\n"),
        ("[sft]\nepochs = 1\n[eval]\n", "sft", {"lr": 0.1}, "[sft]\nepochs = 1\n\n[sft.optimizer]\nlr = 0.1\n[eval]\n"),
        ("[ppo]\n[ppo.kl]\nceiling = 1\n", "ppo", {"kl_coef": 0.1}, "[ppo]\n[ppo.kl]\ncoef = 0.1\nceiling = 1\n"),
    ],
)
def test_settings_put_into_a_file(text: str, section: str, values: dict[str, Any], expected: str) -> None:
    assert config_rewrite.edited(text, section, values) == expected


@pytest.mark.parametrize(
    "text",
    [
        "sft.lr = 1e-3\n[ppo]\nkl_coef=1\n",
        "[ppo]\nkl.coef = 0.1\nkl_target = 3\n",
        "[ppo.kl]\ncoef = 0.1\n[ppo]\nlr = 1e-5\n",
        "[ppo]\nrules = [ # a\n {rule = \"must_match\", pattern = '''x\n[x]\n# no = 1'''}, # b\n] # c\nlr = 1e-5 # d\n",
        '[ sft ]\r\nlr = 1e-3\r\n"epochs" = 3\r\n',
        '[serve]\nsystem_prompt = """你好 = \n[sft]\nlr = 3\n"""\n[sft]\nlr = 1e-3',
        "[reward]\nobjectives = {helpful = 1.0}\nlr = 1e-4\n",
        "",
        "[sft]\n# a note\u2028lr = 3\nlr = 1e-3\n",
    ],
)
def test_upgraded_follows_what_people_write(text: str) -> None:
    new = config_rewrite.upgraded(text)
    assert new is not None
    assert config_file.old_names(tomllib.loads(new)) == []
    assert config_file.from_dict(tomllib.loads(new), "new") == config_file.from_dict(tomllib.loads(text), "old")


@pytest.mark.parametrize(
    "text",
    [
        "[ppo]\nkl = {coef = 0.1}\nlr = 1e-5\n",
        "[reward]\nobjectives.helpful = 1.0\nobjectives.harmless = 2.0\nlr = 1e-4\n",
        "[reward.objectives]\nhelpful = 1.0\n[reward]\nlr = 1e-4\n",
        '[[ppo.rules]]\nrule = "json"\n[[ppo.rules]]\nrule = "language"\n[sft]\nlr = 1e-3\n',
    ],
)
def test_what_is_not_followed_is_not_guessed(text: str, tmp_path: Path) -> None:
    assert config_rewrite.upgraded(text) is None
    path = old_workspace(tmp_path / "w")
    path.write_text(text, encoding="utf-8")
    before = config_file.load(path)
    assert invoke("init", "--upgrade", str(path.parent))[0] == 0
    assert config_file.load(path) == before


def test_upgraded_keeps_the_order_of_sections_and_what_stands_between() -> None:
    text = "# top\n\n# about ppo\n[ppo]  # here\nlr = 1e-5\niterations = 3\n# last\n\n# next\n[sft]\nlr=2e-5\n"
    assert config_rewrite.upgraded(text) == (
        "# top\n\n# about ppo\n[ppo]  # here\niterations = 3\n# last\n\n[ppo.optimizer]\nlr = 1e-5\n"
        "\n# next\n[sft]\n\n[sft.optimizer]\nlr =2e-5\n"
    )


@pytest.mark.parametrize(
    ("written", "encoding", "said"),
    [
        ('[project]\nname = "社区医院"\n', "gb18030", "line 2 is not UTF-8; save the file in the encoding UTF-8"),
        ("[project]\n", "utf-16", "line 1 is not UTF-8"),
        ('[model]\nbase = "C:\\Users\\eva"\n', "utf-8", "a path with \\ stands between single quotes"),
        ("[project]\r\nname = “Auskunft”\r\n", "utf-8", 'found “, expected the plain " and ='),
        ('[project]\nname ＝ "挂号"\n', "utf-8", "found ＝, expected the plain"),
        ("[project\n", "utf-8", "not valid TOML"),
    ],
)
def test_a_settings_file_of_another_editor_says_what_to_change(
    tmp_path: Path, written: str, encoding: str, said: str
) -> None:
    (tmp_path / "s.toml").write_bytes(written.encode(encoding))
    with pytest.raises(ValueError, match=re.escape(said)):
        config_file.load(tmp_path / "s.toml")


def test_a_settings_file_with_a_mark_and_ends_of_lines_of_windows_is_read(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_bytes(b"\xef\xbb\xbf" + '[project]\r\nname = "挂号"\r\n'.encode())
    assert config_file.load(tmp_path / "s.toml").project.name == "挂号"
