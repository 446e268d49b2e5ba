"""The page's texts: a language is a folder of web/src/lang, and a translator sees at once what is missing."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from steersman.config import RoundConfig
from steersman.rounds.decision import conditions

LANG = Path(__file__).parents[1] / "web/src/lang"
ENGLISH = {file.name: json.loads(file.read_text(encoding="utf-8")) for file in sorted(LANG.glob("en/*.json"))}


@pytest.mark.parametrize("language", sorted(folder.name for folder in LANG.iterdir() if folder.name != "en"))
def test_a_language_has_each_text_and_its_values(language: str) -> None:
    for name, texts in ENGLISH.items():
        given = json.loads((LANG / language / name).read_text(encoding="utf-8"))
        assert given.keys() == texts.keys(), name
        for key, text in texts.items():
            assert given[key].strip(), f"{name}: {key} is empty"
            assert set(re.findall(r"\{\w+\}", given[key])) == set(re.findall(r"\{\w+\}", text)), f"{name}: {key}"


def test_no_two_files_have_a_text_of_one_name() -> None:
    keys = [key for texts in ENGLISH.values() for key in texts]
    assert sorted(keys) == sorted(set(keys))


def _fits(text: str, sentences: dict[str, str]) -> bool:
    forms = (re.split(r"\{\w+\}", english) for english in sentences)
    return any(re.fullmatch(".+?".join(map(re.escape, parts)), text, re.DOTALL) for parts in forms)


@pytest.mark.parametrize("language", sorted(file.stem for file in (LANG.parent / "said").glob("*.json")))
def test_what_the_rounds_say_is_said_in_the_language(language: str) -> None:
    sentences = json.loads((LANG.parent / f"said/{language}.json").read_text(encoding="utf-8"))
    for english, own in sentences.items():
        assert set(re.findall(r"\{\w+\}", own)) <= set(re.findall(r"\{\w+\}", english)), english
    said = []
    for name in ("feedback_rules", "gather"):  # why a record is left out
        source = (LANG.parents[2] / f"src/steersman/rounds/{name}.py").read_text(encoding="utf-8")
        said += re.findall(r'dropped\("([^"]+)"\)', source)
        said += [re.sub(r"\{[^}]*\}", "7", text) for text in re.findall(r'return f?"([^"]+)" if', source)]
    assert len(said) > 12
    source = (LANG.parents[2] / "src/steersman/rounds/gate.py").read_text(encoding="utf-8")
    gate = source[source.index("def refusal") : source.index("def check")]
    said += [re.sub(r"\{[^}]*\}", "7", text) for text in re.findall(r'return f"([^"]+)"', gate)]
    interval = {"value": 0.1, "low": -0.2, "high": None}
    for word in ("better", "worse", "no evidence"):
        pair = {
            "a": "ppo",
            "b": "sft",
            "a_label": "PPO",
            "b_label": "SFT",
            "n": 9,
            "word": word,
            "difference": interval,
        }
        pair["axes"] = {"ok": {"value": 0.1, "low": 0.0, "high": 0.2}, "said": interval}
        tasks = [
            {
                "name": f"{kind}-{held}",
                "kind": kind,
                "pairs": [{"a": "PPO", "b": "SFT", "held": held, "difference": interval}],
            }
            for kind in ("task", "regression")
            for held in ("yes", "no")
        ]
        verdict = {"pairs": [pair], "tasks": [*tasks, {"name": "x", "pairs": []}]}
        said += [check.text for check in conditions(verdict, "ppo", "sft", RoundConfig())]
    assert [text for text in said if not _fits(text, sentences)] == []


def test_every_link_goes_below_the_servers_path() -> None:
    """A proxy may offer the server below a path: web/src/lib/root.ts puts it before each address."""
    direct = re.compile(r"""href="/|href=\{[`']/|location\.(?:assign|href\s*=)\(?\s*[`']/|fetch\(\s*[`']/""")
    files = [file for kind in ("*.svelte", "*.ts") for file in LANG.parent.rglob(kind)]
    assert len(files) > 50
    found = [f"{file.name}: {hit[0]}" for file in files for hit in direct.finditer(file.read_text(encoding="utf-8"))]
    assert found == [], "expected at('/...')"
