"""Encoders: numbers of every kind of learning against transformers' own heads and losses; the stage from end to end."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tokenizers.processors import TemplateProcessing
from transformers import AutoModel, AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoTokenizer
from typer.testing import CliRunner

from encoder_folders import encoder_folder, tokenizer
from seq2seq import random_model
from steersman.cli.framework import build
from steersman.config import EncoderConfig, ModelConfig, replaced
from steersman.data.examples import Example, Examples
from steersman.engine.backends.labelling import LabelEngine, headed_engine
from steersman.families import encoded
from steersman.families import encoder as family
from steersman.families.known import family_of
from steersman.text.marked import Marks
from steersman.train import encoding, head_start
from steersman.train.label_task import PROBLEMS, LabelTask, labels_of
from steersman.train.span_task import SpanTask
from steersman.train.vector_task import VectorTask
from steersman.weights.folders import load_causal, read_tokenizer
from steersman.weights.headed import load_headed, task_of
from steersman.weights.sentence_files import pooling_of, save_pooling

CONFIG = EncoderConfig()
TEXTS = ["where is my order", "我要退款", "how much is the card", "我的订单在哪里", "cancel it please", "发票"]
LABELS = ["order", "refund", "card", "order", "refund", "invoice"]
PAIRS = [("我要退款", "退款"), ("where is my order", "when will it arrive"), ("天气", "发票")]


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return encoder_folder(tmp_path_factory.mktemp("bert"))


def gradients(model: Any) -> dict[str, torch.Tensor]:
    found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad(set_to_none=True)
    return found


def same(model: Any, ours: float, theirs: torch.Tensor, taken: dict[str, torch.Tensor]) -> None:
    theirs.backward()
    assert ours == pytest.approx(float(theirs.detach()), rel=1e-5)
    wanted = gradients(model)
    assert taken.keys() >= {n for n, g in wanted.items() if g.abs().max() > 0}
    for name, gradient in wanted.items():
        if gradient.abs().max() > 0:
            torch.testing.assert_close(taken[name], gradient, rtol=2e-4, atol=2e-6, msg=lambda m, n=name: f"{n}: {m}")


def nothing(*_: Any) -> None:
    return None


@pytest.mark.parametrize("kind", sorted(family.TESTED))
def test_a_step_of_a_classifier_is_transformers_step(kind: str, tmp_path: Path) -> None:
    folder = encoder_folder(tmp_path, kind)
    model = load_headed(folder, "single_label", "float32", sorted(set(LABELS)), seed=1)
    assert family_of(model) is family
    assert len(family.layers(model)) == 2
    words = read_tokenizer(folder)
    task = LabelTask("single_label", sorted(set(LABELS)), Marks(words, 64), replaced(CONFIG, row_tokens=30))
    examples = [Example(str(i), t, labels=(l,)) for i, (t, l) in enumerate(zip(TEXTS, LABELS, strict=True))]
    loss = task.learn(model, task.items(examples, False), nothing)
    taken = gradients(model)
    given = words(TEXTS, padding=True, return_tensors="pt")
    given = {name: given[name] for name in ("input_ids", "attention_mask")}
    same(model, loss, model(**given, labels=torch.tensor([sorted(set(LABELS)).index(l) for l in LABELS])).loss, taken)


@pytest.mark.parametrize("kind", ["multi_label", "regression"])
def test_a_step_of_other_labels_is_transformers_step(kind: str, bert: Path) -> None:
    names = ["a", "b", "c"] if kind == "multi_label" else []
    model = load_headed(bert, kind, "float32", names or ["score"], seed=1)
    model.config.problem_type = PROBLEMS[kind]
    words = read_tokenizer(bert)
    task = LabelTask(kind, names, Marks(words, 64), CONFIG)
    examples = [
        Example("1", *PAIRS[0], labels=("a", "c"), score=4.5),
        Example("2", *PAIRS[1], labels=(), score=1.0),
        Example("3", *PAIRS[2], labels=("b",), score=0.0),
    ]
    loss = task.learn(model, task.items(examples, True), nothing)
    taken = gradients(model)
    given = words(*map(list, zip(*PAIRS, strict=True)), padding=True, return_tensors="pt")
    target = torch.tensor([[1.0, 0, 1], [0, 0, 0], [0, 1, 0]]) if names else torch.tensor([[4.5], [1.0], [0.0]])
    same(model, loss, model(**given, labels=target).loss, taken)


@pytest.mark.parametrize("kind", ["bert", "roberta", "modernbert"])
def test_a_step_of_spans_is_transformers_step(kind: str, tmp_path: Path) -> None:
    folder = encoder_folder(tmp_path, kind)
    model = load_headed(folder, "span", "float32", seed=1)
    task = SpanTask(Marks(read_tokenizer(folder), 64), CONFIG)
    passages = ["北京是中国的首都,有2000万人口", "the order will arrive when it is lost"]
    examples = [
        Example("1", "中国的首都是哪里?", passages[0], answers=((0, "北京"),)),
        Example("2", "what is it", passages[1]),
    ]
    items = task.items(examples, True)
    assert items[1].targets == ((0, 0),)
    loss = task.learn(model, items, nothing)
    taken, losses = gradients(model), []
    for item in items:  # one by one: transformers' loss also gives padding a share
        marked = item.windows[0].marked
        given: dict[str, Any] = {"input_ids": torch.tensor([marked.ids])}
        if marked.types is not None and getattr(model.config, "type_vocab_size", 0) > 1:
            given["token_type_ids"] = torch.tensor([marked.types])
        ends = [torch.tensor([x]) for x in item.targets[0]]
        losses.append(model(**given, start_positions=ends[0], end_positions=ends[1]).loss)
    same(model, loss, torch.stack(losses).mean(), taken)


def test_longformers_question_meets_the_whole_passage(tmp_path: Path) -> None:
    """As transformers does by itself behind three marks; with two, as Chinese ones have, it ended in an error."""
    model = load_headed(encoder_folder(tmp_path, "longformer"), "span", "float32", seed=1)
    words = read_tokenizer(tmp_path)
    three = TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] [SEP] $B [SEP]", [("[CLS]", 2), ("[SEP]", 3)])
    words.backend_tokenizer.post_processor, model.config.sep_token_id = three, 3
    windows = Marks(words, 64).windows("where is it", "the order will arrive when it is lost " * 12, 16)
    found = encoded.ends(model, [w.marked for w in windows])
    for number, window in enumerate(windows):
        theirs = model(torch.tensor([window.marked.ids]))
        size = len(window.marked.ids)
        torch.testing.assert_close(found[0][number, :size], theirs.start_logits[0], atol=1e-6, rtol=1e-5)
    words.backend_tokenizer.post_processor = tokenizer().backend_tokenizer.post_processor
    encoded.ends(model, [w.marked for w in Marks(words, 64).windows("where is it", "the order", 16)])


def test_big_birds_numbers_do_not_hang_on_what_was_read_before(tmp_path: Path) -> None:
    """transformers gives up sparse blocks for good at the first short text, and a text's blocks by its padding."""
    rows = Marks(read_tokenizer(encoder_folder(tmp_path, "big_bird")), 100).texts(["the order is lost " * 12, "it"])
    model = load_headed(tmp_path, "embedding", "float32", seed=1)
    alone = [encoded.vectors(model, [row], "mean") for row in rows]
    for part in (encoded.vectors(model, rows[:1], "mean"), encoded.vectors(model, rows, "mean")[:1]):
        torch.testing.assert_close(part, alone[0])


def test_a_step_of_vectors_is_infonce_over_the_batch(bert: Path) -> None:
    model = load_headed(bert, "embedding", "float32", seed=1)
    words = read_tokenizer(bert)
    task = VectorTask(Marks(words, 64), replaced(CONFIG, row_tokens=40), "mean")
    examples = [
        Example("1", "我要退款", "退款", negatives=("发票",)),
        Example("2", "where is my order", "when will it arrive"),
        Example("3", "refund please", "退款"),
    ]
    loss = task.learn(model, task.items(examples, True), nothing)
    taken = gradients(model)

    def vectors(texts: list[str]) -> torch.Tensor:
        given = words(texts, padding=True, return_tensors="pt")
        states, mask = model(**given).last_hidden_state, given["attention_mask"][..., None]
        return F.normalize((states * mask).sum(1) / mask.sum(1), dim=-1)

    scores = vectors([e.text for e in examples]) @ vectors([*(e.second for e in examples), "发票"]).T / 0.05
    scores[0, 2] = scores[2, 0] = -torch.inf  # the same second text is no negative
    same(model, loss, F.cross_entropy(scores, torch.arange(3)), taken)


def test_what_transformers_does_not_compute_right_is_refused_by_name(tmp_path: Path) -> None:
    for kind, wanted in {
        "funnel": "changes with the length",
        "xmod": "default_language: expected one of en_XX",
    }.items():
        config = {"model_type": kind, "vocab_size": 9, "hidden_size": 16, "num_attention_heads": 4}
        (tmp_path / "config.json").write_text(json.dumps(config))
        save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors")
        with pytest.raises(ValueError, match=wanted):
            load_headed(tmp_path, "single_label", "float32", ["a", "b"], seed=1)


def test_weights_that_nothing_computes_are_refused(tmp_path: Path) -> None:
    """Relative positions of BERTs of before transformers 5, which has no code for them."""
    folder = encoder_folder(tmp_path / "bert")
    weights = load_file(folder / "model.safetensors")
    extra = "bert.encoder.layer.0.attention.self.distance_embedding.weight"
    save_file({**weights, extra: torch.zeros(3, 8)}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"would be computed without: bert\.encoder\.layer\.0.* \(1 in all\)"):
        load_headed(folder, "embedding")


def test_a_t5_whose_tokenizer_writes_no_end_token_is_refused_before_it_learns(tmp_path: Path) -> None:
    """Its first batch ended in transformers' 'All examples must have the same number of <eos> tokens'."""
    model = random_model("T5", len(tokenizer()))
    model.config.eos_token_id = 3
    model.save_pretrained(tmp_path)
    words = tokenizer()
    words.save_pretrained(tmp_path)
    assert load_headed(tmp_path, "single_label", labels=("a", "b"), seed=1).config.num_labels == 2  # [SEP] ends a text
    words.backend_tokenizer.post_processor = TemplateProcessing("$A", "$A $B", [])
    words.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="reads the end token, which this tokenizer does not write"):
        load_headed(tmp_path, "single_label", labels=("a", "b"), seed=1)


def test_a_head_of_another_form_is_left_out(tmp_path: Path) -> None:
    """RoBERTa calls its heads for words and for texts alike; the one is a layer, the other two."""
    folder = encoder_folder(tmp_path / "roberta", "roberta")
    AutoModelForTokenClassification.from_pretrained(folder).save_pretrained(folder)
    assert load_headed(folder, "single_label", labels=["a", "b"], seed=0).classifier.out_proj.out_features == 2


@pytest.mark.parametrize("how", ["balanced", "sqrt"])
def test_rare_classes_weigh_more(how: str, bert: Path) -> None:
    config = replaced(CONFIG, class_weights=how)
    model = load_headed(bert, "single_label", "float32", ["a", "b"], seed=1)
    task = LabelTask("single_label", ["a", "b"], Marks(read_tokenizer(bert), 64), config)
    examples = [Example(str(i), t, labels=("b" if i == 0 else "a",)) for i, t in enumerate(TEXTS[:5])]
    items = task.items(examples, False)
    task.weigh(items)
    assert task.weights is not None
    assert task.weights.tolist() == pytest.approx([1.0, 4.0 if how == "balanced" else 2.0])
    loss = task.learn(model, items, nothing)
    given = read_tokenizer(bert)(TEXTS[:5], padding=True, return_tensors="pt")
    logits = model(**given).logits
    assert loss == pytest.approx(
        float(F.cross_entropy(logits.detach(), torch.tensor([1, 0, 0, 0, 0]), task.weights)), rel=1e-5
    )


def test_long_passages_are_read_in_windows(bert: Path) -> None:
    marks = Marks(read_tokenizer(bert), 40)
    passage = "the order " * 30 + "北京" + " is lost" * 20
    task = SpanTask(marks, replaced(CONFIG, text_tokens=40, stride=8))
    (item,) = task.items([Example("1", "where", passage, answers=((passage.index("北京"), "北京"),))], True)
    assert len(item.windows) > 2
    assert task.cut == 1
    found = [(w, t) for w, t in zip(item.windows, item.targets, strict=True) if t != (0, 0)]
    assert found
    for window, (first, last) in found:
        start, end = window.places[first], window.places[last]
        assert start is not None
        assert end is not None
        assert passage[start[0] : end[1]] == "北京"
    long = Example("2", "where", passage, answers=((0, passage[:300]),))
    items = [item, *task.items([long], True)]
    assert not item.parted
    assert items[1].parted
    task.weigh(items)
    assert not task.unanswered, "a question with an answer, whole in no window, is none without an answer"
    kept, said = task.learnable(items)
    assert kept == [item]
    assert said[0].startswith("1 of 2 answers stand whole in no window and are not learned")


def intents(count: int = 60) -> Examples:
    told = {"order": "where is my order", "refund": "我要退款", "invoice": "发票 please"}
    names = list(told)
    records = [
        Example(str(i), f"{told[names[i % 3]]} {i}", labels=(names[i % 3],), split="test" if i % 5 == 4 else "")
        for i in range(count)
    ]
    return Examples("single_label", records)


def learn(base: Path, output: Path, examples: Examples, dtype: str = "float32", **settings: Any) -> dict[str, Any]:
    settings = {"epochs": 4, "batch_examples": 8, "lr": 3e-3, "lr_factor": 1.0, "evals": 3, **settings}
    return encoding.run(
        base=base,
        examples=examples,
        output=output,
        config=replaced(CONFIG, **settings),
        model_config=ModelConfig(dtype=dtype, device="cpu"),
        seed=3,
        inputs={},
    )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_intents_are_learned_and_the_folder_is_transformers(dtype: str, bert: Path, tmp_path: Path) -> None:
    report = learn(bert, tmp_path / "out", intents(), dtype)
    assert report["test"]["accuracy"]["value"] > 0.9
    assert report["baselines"]["commonest"]["accuracy"]["value"] < 0.6
    assert report["lead"]["commonest"]["low"] > 0
    assert report["test"]["accuracy"]["low"] <= report["test"]["accuracy"]["value"]
    assert task_of(tmp_path / "out") == "single_label"
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out", dtype=torch.float32)
    words = AutoTokenizer.from_pretrained(tmp_path / "out")
    given = words(["我要退款 9", "where is my order 8"], padding=True, return_tensors="pt")
    said = [model.config.id2label[i] for i in model(**given).logits.argmax(-1).tolist()]
    assert said == ["refund", "order"]


def test_a_run_that_is_stopped_goes_on_to_the_same_bytes(bert: Path, tmp_path: Path, monkeypatch: Any) -> None:
    learn(bert, tmp_path / "whole", intents())
    real, seen = LabelTask.learn, []

    def failing(self: Any, *given: Any) -> float:
        seen.append(1)
        if len(seen) == 11:
            raise KeyboardInterrupt
        return real(self, *given)

    monkeypatch.setattr(LabelTask, "learn", failing)
    with pytest.raises(KeyboardInterrupt):
        learn(bert, tmp_path / "again", intents(), save_seconds=0.0)
    learn(bert, tmp_path / "again", intents(), save_seconds=0.0)
    for name in ("model.safetensors", "config.json"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_learning_stops_when_the_held_out_measure_no_longer_rises(bert: Path, tmp_path: Path) -> None:
    report = learn(bert, tmp_path / "out", intents(), lr=0.0, evals=8, patience=2, baseline=False)
    assert report["best_step"] < report["steps"] < 4 * 6
    lines = (tmp_path / "out" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert sum("eval_accuracy" in json.loads(line) for line in lines) == 3


def test_the_test_is_not_learned_and_strange_labels_are_said(bert: Path, tmp_path: Path) -> None:
    examples = intents()
    examples.records.append(dataclasses.replace(examples.records[4], id="again", split="train"))
    examples.records.append(Example("odd", "天气", labels=("weather",), split="test"))
    report = learn(bert, tmp_path / "out", examples, epochs=1)
    assert any("1 examples stand in the held-out ones or the test too" in text for text in report["cautions"])
    assert any("1 of 13 test examples have labels that no learned one has" in text for text in report["cautions"])


def test_labels_are_in_the_order_of_numbers_where_all_are(bert: Path) -> None:
    def order(*labels: str) -> list[str]:
        return labels_of([Example(str(i), "a", labels=(label,)) for i, label in enumerate(labels)])

    assert order("10", "9", "-1") == ["-1", "9", "10"]
    assert order("②", "①") == ["①", "②"]
    assert order("10", "9", "x") == ["10", "9", "x"]
    parts = encoding.Parts([], [], [Example("1", "a", labels=("x", "y")), Example("2", "b", labels=("x",))])
    told = encoding.learnable(parts, LabelTask("multi_label", ["x"], Marks(read_tokenizer(bert), 40), CONFIG)).said
    assert told == ["1 of 2 test examples have a label that no learned one has; it counts as missed in `exact` alone"]


def test_vectors_are_saved_as_sentence_transformers_reads_them(bert: Path, tmp_path: Path) -> None:
    pairs = Examples("embedding", [Example(str(i), f"where {i}", f"order {i}") for i in range(24)])
    base = shutil.copytree(bert, tmp_path / "base")
    prompts = {"prompts": {"query": "query: ", "passage": "passage: "}}
    (base / "config_sentence_transformers.json").write_text(json.dumps(prompts), encoding="utf-8")
    report = learn(base, tmp_path / "out", pairs, epochs=2, pooling="cls")
    assert report["held_out"] == 2
    assert any("'query: ' before questions and 'passage: ' before" in told for told in report["cautions"])
    out = tmp_path / "out"
    assert pooling_of(out) == "cls"
    most = json.loads((out / "sentence_bert_config.json").read_text())["max_seq_length"]
    assert most == 130  # the model's positions, not encoder.rows.text_tokens = 256: longer texts ended in an IndexError
    assert [m["type"].rpartition(".")[2] for m in json.loads((out / "modules.json").read_text())] == [
        "Transformer",
        "Pooling",
        "Normalize",
    ]
    AutoModel.from_pretrained(out)
    assert task_of(out) == "embedding"


def test_a_pooling_that_is_not_known_is_refused(tmp_path: Path) -> None:
    save_pooling(tmp_path, 32, "last", 64)
    assert pooling_of(tmp_path) == "last"
    (tmp_path / "1_Pooling" / "config.json").write_text('{"pooling_mode_max_tokens": true}')
    with pytest.raises(ValueError, match="expected one of pooling_mode_mean_tokens"):
        pooling_of(tmp_path)


def test_an_encoder_writes_no_answers(bert: Path) -> None:
    with pytest.raises(ValueError, match="'bert' is an encoder, which writes no answers"):
        load_causal(bert)
    with pytest.raises(ValueError, match=r"no trained head \(.*\); train it: steersman encoder"):
        load_headed(bert, "single_label")


def test_files_of_one_run_hold_one_kind(bert: Path, tmp_path: Path) -> None:
    """Known before anything is trained."""
    learned, tested = tmp_path / "scores.jsonl", tmp_path / "labels.jsonl"
    learned.write_text(
        "".join(f'{{"sentence1": "lamp {i}", "sentence2": "light", "score": {i}.5}}\n' for i in range(8)),
        encoding="utf-8",
    )
    tested.write_text('{"text": "a", "label": "x"}\n{"text": "b", "label": "y"}\n', encoding="utf-8")
    command = ["encoder", "--model", str(bert), "--data", str(learned), "--test", str(tested)]
    ran = CliRunner().invoke(build(), [*command, "--output", str(tmp_path / "out")])
    assert ran.exit_code == 2, ran.stderr
    assert "--test: holds single_label examples, --data regression ones" in ran.stderr
    assert not (tmp_path / "out").exists()


def test_a_decoder_learns_labels_and_spans_too(tmp_path: Path) -> None:
    from steersman.train.pace import random_model

    base = random_model(tmp_path / "base", vocab_size=300, hidden_size=36, intermediate_size=48, num_hidden_layers=2)
    ends = [dataclasses.replace(e, text=e.text[::-1]) for e in intents(30).records]  # the last token tells the label
    probe = learn(base, tmp_path / "probe", Examples("single_label", ends), epochs=0, baseline=False)
    assert probe["test"]["accuracy"]["value"] == 1.0
    report = learn(base, tmp_path / "out", intents(30), epochs=2, train_layers=1)
    assert report["test"]["examples"] == 6
    passage = "北京是中国的首都"
    spans = [Example(str(i), f"首都{i}", f"{passage}{i}", answers=((0, "北京"),)) for i in range(8)]
    assert learn(base, tmp_path / "spans", Examples("span", spans), epochs=1)["held_out"] == 1


@pytest.mark.parametrize("kind", sorted(family.TESTED))
def test_a_head_that_reads_means_is_transformers_head_over_the_mean(kind: str, tmp_path: Path) -> None:
    folder = encoder_folder(tmp_path, kind)
    model = load_headed(folder, "single_label", "float32", ["a", "b", "c"], seed=1)
    rows = Marks(read_tokenizer(folder), 64).texts(TEXTS)
    first = encoded.logits(model, rows)
    model.config.classifier_pooling = "mean"
    found = encoded.logits(model, rows)
    assert not torch.allclose(found, first)
    for row, logits in zip(rows, found, strict=True):
        ids = torch.tensor([row.ids])
        states = model.base_model(ids).last_hidden_state.mean(1, keepdim=True)
        if kind == "bert":
            wanted = model.classifier(model.bert.pooler(states))
        elif kind == "distilbert":
            wanted = model.classifier(model.pre_classifier(states[:, 0]).relu())
        elif kind == "deberta-v2":
            wanted = model.classifier(model.pooler(states))
        elif kind == "modernbert":
            wanted = model.classifier(model.head(states[:, 0]))
        else:
            wanted = model.classifier(states)
        torch.testing.assert_close(logits, wanted[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("kind", "dtype"), [("bert", "bfloat16"), ("distilbert", "float32")])
def test_the_fitted_head_is_logistic_regression_on_the_frozen_states(kind: str, dtype: str, tmp_path: Path) -> None:
    folder = encoder_folder(tmp_path, kind)
    names = sorted(set(LABELS))
    model = load_headed(folder, "single_label", dtype, names, seed=1)
    task = LabelTask("single_label", names, Marks(read_tokenizer(folder), 64), replaced(CONFIG, row_tokens=30))
    texts = [f"{text} {i}" for i in range(8) for text in TEXTS]
    items = task.items([Example(str(i), t, labels=(LABELS[i % 6],)) for i, t in enumerate(texts)], False)
    body = {n: p.clone() for n, p in model.named_parameters()}
    head_start.fit_head(model, task, items, 0)
    changed = {n for n, p in model.named_parameters() if not torch.equal(p, body[n])}
    assert changed == {"classifier.weight", "classifier.bias"}
    found = task.outputs(model, items, nothing)
    truth = torch.tensor([int(i.target[0]) for i in items])
    # the same by a plain loop of gradient descent, from the states of a pass without padding
    taken: list[torch.Tensor] = []
    handle = model.classifier.register_forward_pre_hook(lambda _, given: taken.append(given[0].float()))
    with torch.no_grad():
        for item in items:
            model(input_ids=torch.tensor([item.marked.ids]))
    handle.remove()
    x = torch.cat(taken)
    x = ((x - x.mean(0)) / x.std(0, correction=0).clamp_min(1e-6)).double()
    weight = torch.zeros(x.shape[1], 4, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    best = []
    for price in head_start.PRICES:
        optimizer = torch.optim.Adam([weight, bias], lr=0.1)
        for _ in range(120):
            optimizer.zero_grad()
            (F.cross_entropy(x @ weight + bias, truth) + price * weight.square().sum() / len(x)).backward()
            optimizer.step()
        best.append((x @ weight + bias).softmax(-1).float().detach())
    tolerance = 0.01 if dtype == "float32" else 0.06
    assert min((found.softmax(-1) - p).abs().max() for p in best) < tolerance


def test_a_probe_alone_is_saved_with_a_head_that_only_its_own_reader_takes(bert: Path, tmp_path: Path) -> None:
    save_pooling(bert, 32, "mean", 64)
    try:
        report = learn(bert, tmp_path / "out", intents(), epochs=0)
    finally:
        shutil.rmtree(bert / "1_Pooling")
    assert report["steps"] == 0
    assert report["test"]["accuracy"]["value"] > 0.9
    with safe_open(tmp_path / "out" / "model.safetensors", "pt") as file:
        assert {"mean_pooled.classifier.weight", "bert.pooler.dense.weight"} <= set(file.keys())
    engine = headed_engine(tmp_path / "out", "float32", "cpu", False, "m", "1")
    assert isinstance(engine, LabelEngine)
    (said,) = engine.classify(["我要退款 9"])
    assert max(said, key=lambda name: said[name]) == "refund"
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    assert not torch.equal(model.classifier.weight, engine.model.classifier.weight)  # new, and transformers says so


def test_weights_of_the_beginning_stay_where_learning_makes_them_worse(bert: Path, tmp_path: Path) -> None:
    report = learn(bert, tmp_path / "out", intents(), lr=1.0, evals=2, baseline=False)
    assert report["best_step"] == 0
    assert report["eval_accuracy"] > 0.9
