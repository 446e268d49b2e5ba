"""The page's texts: a language is a folder of web/src/lang, and a translator sees at once what is missing."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from steersman.config import Config, RoundConfig, leaves
from steersman.rounds import registry, stage_settings
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


def test_a_number_may_be_one() -> None:
    """'Save 1 changes': a word in the plural behind a number needs `{n|change|changes}`. Tokens are many."""
    texts = {key: text for file in ENGLISH.values() for key, text in file.items()}
    many = re.compile(r"\{(?:n|week|known|pages|all)\} (?:\w+ )?(?!tokens)[a-z]{3,}s\b")
    assert [key for key, text in texts.items() if many.search(text)] == []


def test_no_two_texts_have_one_name() -> None:
    files = [(LANG / "en" / name).read_text(encoding="utf-8") for name in ENGLISH]
    keys = [key for text in files for key, _ in json.loads(text, object_pairs_hook=list)]
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


@pytest.mark.parametrize("language", sorted(file.stem for file in (LANG.parent / "said").glob("*.json")))
def test_the_first_sentence_that_fits_is_the_one_that_was_said(language: str) -> None:
    """The page takes the first: a general one before a special one would leave half of it in English."""
    sentences = json.loads((LANG.parent / f"said/{language}.json").read_text(encoding="utf-8"))
    forms = {one: re.compile(".+?".join(map(re.escape, re.split(r"\{\w+\}", one))), re.DOTALL) for one in sentences}
    for one in sentences:
        text = re.sub(r"\{\w+\}", "7", one)
        assert next(other for other, form in forms.items() if form.fullmatch(text)) == one


PACKAGE = LANG.parents[2] / "src/steersman"


@pytest.mark.parametrize("language", sorted(file.stem for file in (LANG.parent / "said").glob("*.json")))
def test_what_a_job_does_is_said_in_the_language(language: str) -> None:
    """The last line of a job, part by part (`rounds/live.ts`), and why records of a data set were left out."""
    sentences = json.loads((LANG.parent / f"said/{language}.json").read_text(encoding="utf-8"))
    said = []
    for room in ("train", "rounds", "eval", "weights"):
        for file in (PACKAGE / room).rglob("*.py"):
            said += re.findall(r'\bactivity\(f?"([^"]+)"', file.read_text(encoding="utf-8"))
    for name in ("clean", "kinds"):
        source = (PACKAGE / f"data/{name}.py").read_text(encoding="utf-8")
        said += re.findall(r'(?:dropped\[|LeftOut\()"([^"]+)"', source)
    said = [
        re.sub(r"\{[^}]*\}", "7", text)
        for text in said
        if not text.startswith(("learning {", "writing {", "sending {"))
    ]
    assert len(said) > 30
    assert [text for text in said if not _fits(text, sentences)] == []


UNSEEN = (
    *("contamination", "example_fields", "example_files", "examples", "mixing"),
    *("task_building", "task_kinds", "task_records"),
)
"""Modules of `data` whose sentences only the command line shows."""
SHOWN = (
    *(
        f"rounds/{name}.py"
        for name in ("all_rounds", "canary", "consequences", "data_sets", "export", "gate", "inputs")
    ),
    *(f"rounds/{name}.py" for name in ("inputs", "lineage", "loop", "make", "opened", "other_process")),
    *("rounds/provenance.py", "rounds/uploads.py", "artifact/unfinished.py", "data/file_words.py"),
    *("rounds/stage_settings.py", "rounds/stages/sample.py", "rounds/stages/sft.py", "train/cautions.py"),
    *(f"train/{name}.py" for name in ("judgement", "linear_head", "monitors", "per_objective", "ppo", "preference")),
    *(f"train/{name}.py" for name in ("reward", "sample", "scoring", "sft", "trackers", "update")),
    *(f"server/{name}.py" for name in ("canary_api", "data_api", "desk_manage", "rounds_api")),
    *("rounds/desk_import.py", "store/desk_tasks.py", "store/desk_values.py", "config_file.py"),
    *(str(file.relative_to(PACKAGE)) for file in sorted((PACKAGE / "data").glob("*.py")) if file.stem not in UNSEEN),
    *(f"data/formats/{file.name}" for file in sorted((PACKAGE / "data/formats").glob("*.py"))),
)
"""Whose sentences the pages of rounds and of the desk show: refusals, ends of jobs, warnings."""
INNER = (
    "not a job:|--dropped|--set|FILE .or|expected the plain|data export|resume point|policy: expected|sample.model"
    "|optimizer step7|unfinished run7"
)
"""Of damaged files that nobody but this program writes, and of the command line's options."""


def _sentences(source: str) -> Iterator[str]:
    """What the code raises, adds to a list or keeps under a name, as a text with 7 for each value."""
    for node in ast.walk(ast.parse(source)):
        found: list[ast.expr] = []
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            found = node.exc.args
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "append":
            found = node.args
        elif isinstance(node, ast.Return) and isinstance(node.value, ast.Dict):
            found = node.value.values
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript):
            found = [node.value]
        elif isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple | ast.JoinedStr):
            found = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
        elif isinstance(node, ast.AugAssign) and isinstance(node.value, ast.List):
            found = node.value.elts
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "expect":
            found = node.args[1:]
        for each in found:
            parts = each.values if isinstance(each, ast.JoinedStr) else [each]
            said = "".join(str(p.value) if isinstance(p, ast.Constant) else "7" for p in parts)
            if " " in said and said.count("7") < len(said) // 4:
                yield re.sub(r"'?\b7'?", "7", said)


@pytest.mark.parametrize("language", sorted(file.stem for file in (LANG.parent / "said").glob("*.json")))
def test_what_jobs_and_refusals_say_is_said_in_the_language(language: str) -> None:
    sentences = json.loads((LANG.parent / f"said/{language}.json").read_text(encoding="utf-8"))
    pieces = [[*map(re.escape, re.split(r"\{\w+\}", one.replace("'", "")))] for one in sentences]
    forms = [re.compile("(.+?)".join(parts), re.DOTALL) for parts in pieces]
    sure = [max(re.split(r"\{\w+\}", one.replace("'", "")), key=len) for one in sentences]
    said = {(name, text) for name in SHOWN for text in _sentences((PACKAGE / name).read_text(encoding="utf-8"))}
    assert len(said) > 80
    left = []
    for name, text in ((name, text.replace("'", "")) for name, text in said if not re.search(INNER, text)):
        fits = (form.fullmatch(text) for form, words in zip(forms, sure, strict=True) if words in text)
        found = next(filter(None, fits), None)
        # a general sentence that happens to fit leaves what was really said in English
        parts = [re.sub(r"steersman .*", "", part) for part in found.groups()] if found else [text]
        if found is None or any(re.search("[a-z]{2,} [a-z]{2,} [a-z]{2,}", part) for part in parts):
            left.append((name, text))
    assert left == []


FEW = "only 1 optimizer step: expect no visible change from so few"
ACCURACY = {
    **{"accuracy": {"value": 0.7, "low": 0.6, "high": 0.8}, "n_pairs": 90, "n_prompts": 30, "simulated": 3},
    **{"length_baseline": {"value": 0.5, "low": None, "high": None}, "lead_over_length": {"low": None}},
    **{"accuracies": [0.6, 0.7], "ensemble_accuracy": 0.7, "chosen": 0.2, "rejected": -0.1},
}
LOOKED = {key: ACCURACY[key] for key in ("accuracy", "n_pairs", "n_prompts", "length_baseline")}
OUTCOMES = {
    "sft": [
        {"kept": True},
        {"held_out": 0, "planned_steps": 9},
        *({"held_out": n, "eval_loss_before": 2.0, "eval_loss": 1.5} for n in (0, 5)),
    ],
    "samples": [{"answers": 4, "prompts": 9, "cautions": [FEW]}],
    "reward": [
        ACCURACY
        | {"objectives": {"helpful": {"weight": 0.5, "sum": LOOKED["accuracy"], **LOOKED}}, "validator": LOOKED}
    ],
    "dpo": [ACCURACY, {"accuracy": None, "n_train_prompts": 8}],
    "ppo": [
        {
            **{"best": {"iteration": 2, "eval_reward": 1.0, "eval_kl": 3.0}, "iterations": 5, "confidence": 0.95},
            **{"kept": kept, "gain": {"iteration": 2, "low": 0.1, "value": 0.3, "kl": 3.0}, "judge": judge},
            **{"kl": {"target": 6.0, "last": 5.0}, "start": {"ratio_error": 0.0, "kl_error": 0.0, "engine_error": 0.0}},
            **{"warnings": {}, "stopped": "stopped at iteration 3: KL 31.0 nats passed the ceiling of 30"},
        }
        for kept, judge in (("sft", "validator"), ("ppo", "reward"))
    ],
}


@pytest.mark.parametrize("language", sorted(file.stem for file in (LANG.parent / "said").glob("*.json")))
def test_what_a_stage_came_to_is_said_in_the_language(language: str) -> None:
    sentences = json.loads((LANG.parent / f"said/{language}.json").read_text(encoding="utf-8"))
    outcomes = [
        (registry.get(name), {"demonstrations": 9, "steps": 3} | of) for name in OUTCOMES for of in OUTCOMES[name]
    ]
    said = [line for stage, metrics in outcomes for line in stage.tell(metrics).splitlines()]
    assert len(said) > 20
    assert [line for line in said if not _fits(line, sentences)] == []


@pytest.mark.parametrize("language", sorted(file.stem for file in (LANG.parent / "said/settings").glob("*.json")))
def test_what_settings_mean_is_said_in_the_language(language: str) -> None:
    """Each sentence of the page's settings, and none that has no setting any more."""
    meanings = json.loads((LANG.parent / f"said/settings/{language}.json").read_text(encoding="utf-8"))
    sections = [getattr(Config(), section) for section in stage_settings.sections()]
    assert meanings.keys() == {leaf.field.metadata["doc"] for section in sections for leaf in leaves(section)}
    assert all(own.strip() for own in meanings.values())


def test_each_language_has_all_kinds_of_files() -> None:
    kinds = {file.stem for kind in ("said", "said/settings") for file in (LANG.parent / kind).glob("*.json")}
    for kind in ("said", "said/settings"):
        assert {file.stem for file in (LANG.parent / kind).glob("*.json")} == kinds


def test_an_outage_has_words_of_its_own() -> None:
    """While the engine's process was started again the page said that the server is shutting down."""
    source = (PACKAGE / "server/errors.py").read_text(encoding="utf-8")
    codes = re.findall(r'error_body\(50[37], [^\n]*code="(\w+)"', source)
    assert len(codes) == 4
    words = (LANG.parent / "lib/ui.svelte.ts").read_text(encoding="utf-8").partition("OWN_WORDS")[2].partition("}")[0]
    assert [code for code in codes if f"  {code}: '" not in words] == []


def test_every_link_goes_below_the_servers_path() -> None:
    """A proxy may offer the server below a path: web/src/lib/root.ts puts it before each address."""
    direct = re.compile(r"""href="/|href=\{[`']/|location\.(?:assign|href\s*=)\(?\s*[`']/|fetch\(\s*[`']/""")
    files = [file for kind in ("*.svelte", "*.ts") for file in LANG.parent.rglob(kind)]
    assert len(files) > 50
    found = [f"{file.name}: {hit[0]}" for file in files for hit in direct.finditer(file.read_text(encoding="utf-8"))]
    assert found == [], "expected at('/...')"
