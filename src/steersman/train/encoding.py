"""Fine-tuning for labels, pairs, spans and vectors; held-out examples choose the weights, the test is looked at once.

examples -> split, overlaps left out -> tokens -> a head fitted to the frozen states -> shuffled batches -> padded
passes of similar length -> the head's loss -> AdamW under a cosine schedule; the best weights by the held-out measure,
those of the beginning among them, are kept, and the test is measured with them.

Why so: decision 83 in docs/LOG.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from steersman import stopping
from steersman.artifact.files import read_object
from steersman.config import EncoderConfig, ModelConfig
from steersman.data.examples import Example, Examples
from steersman.families import encoder as family
from steersman.families.known import family_of
from steersman.progress import activity, note
from steersman.text.marked import Marks
from steersman.text.unknown import unknown_said
from steersman.train.cautions import cautions
from steersman.train.head_start import fit_head
from steersman.train.label_measures import Measured, lead
from steersman.train.label_task import PROBLEMS, LabelTask, labels_of
from steersman.train.ngram_baseline import baselines
from steersman.train.order import evenly_spaced, plan_batches, shuffled
from steersman.train.session import Origin, Rules, Session, Steps, working
from steersman.train.span_task import SpanTask
from steersman.train.update import Rule
from steersman.train.vector_task import VectorTask
from steersman.weights.folders import pick_device, read_config, read_tokenizer, set_pad_token, text_config
from steersman.weights.headed import load_headed, saved_names
from steersman.weights.sentence_files import behind, pooling_of, prompts_of, save_pooling

Task = LabelTask | SpanTask | VectorTask
FEW = 20
"""Examples of a label below which a caution is given."""
LOOKED = 1000
"""Examples that are looked at for characters that the tokenizer does not have."""


@dataclass(frozen=True)
class Parts:
    """Examples by what they are for; no text of `held` or `test` is in `train`."""

    train: list[Example]
    held: list[Example]
    test: list[Example]
    said: list[str] = field(default_factory=list)


def divide(found: Examples, config: EncoderConfig, seed: int) -> Parts:
    """Train, held out and test as the records say; else a seeded share is held out, whole groups of equal texts."""
    held, tested = found.of("validation"), found.of("test")
    train, said = found.of("", "train"), []
    if not held:
        names = list(dict.fromkeys(_group(e) for e in train))
        count = max(1, round(len(names) * config.eval_fraction)) if config.eval_fraction and len(names) > 1 else 0
        chosen = {names[i] for i in shuffled(len(names), f"{seed}/encoder/held")[:count]}
        held = [e for e in train if _group(e) in chosen]
        train = [e for e in train if _group(e) not in chosen]
    asked = {(e.text, e.second) for e in (*held, *tested)}
    clean = [e for e in train if (e.text, e.second) not in asked]
    if over := len(train) - len(clean):
        said.append(f"{over} examples stand in the held-out ones or the test too and are not learned")
    if not clean:
        raise ValueError("no examples to learn from are left; expected some of split train, or without a split")
    looked = sorted(shuffled(len(held), f"{seed}/encoder/looked")[: config.eval_examples])
    if len(looked) < len(held):
        said.append(f"held-out measures of {len(looked)} of {len(held)} examples (encoder.eval_examples)")
    return Parts(clean, [held[i] for i in looked], tested, said)


def _group(example: Example) -> str:
    """What must not be parted: questions of one passage, pairs of one text."""
    return example.second if example.answers else example.text


def task_for(kind: str, parts: Parts, base: Path, tokenizer: Any, config: EncoderConfig, trust: bool) -> Task:
    """Raises ValueError where there are too few labels, or none of the test's was learned."""
    settings = text_config(read_config(base, trust))
    most = min(config.rows.text_tokens, family_of(settings).context(settings))
    marks = Marks(tokenizer, most)
    if kind == "span":
        return SpanTask(marks, config)
    if kind == "embedding":
        pooling = config.head.pooling
        files = behind(base)
        if files.dense:
            raise ValueError(
                f"{base}: layers behind the pooling (modules.json) are not trained here; expected a model without them"
            )
        marks = Marks(tokenizer, most, files.lower)
        return VectorTask(marks, config, pooling_of(base) if pooling == "auto" else pooling)
    labels = labels_of(parts.train) if kind != "regression" else []
    if kind == "single_label" and len(labels) < 2:
        raise ValueError(
            f"one label only among the examples that are learned ({', '.join(labels)}); expected two or more"
        )
    if kind == "multi_label" and not labels:
        raise ValueError("no example has a label; expected some that have one")
    return LabelTask(kind, labels, marks, config)


def learnable(parts: Parts, task: Task) -> Parts:
    """Without held-out and test examples of the one label that no learned example has; such labels are counted."""
    if task.kind == "multi_label":
        known, said = set(task.labels), []
        for some, what in ((parts.held, "held-out"), (parts.test, "test")):
            if strange := sum(not known.issuperset(e.labels) for e in some):
                said.append(
                    f"{strange} of {len(some)} {what} examples have a label that no learned one has; it counts as "
                    "missed in `exact` alone"
                )
        return Parts(parts.train, parts.held, parts.test, [*parts.said, *said])
    if task.kind != "single_label":
        return parts
    held, test = ([e for e in some if e.labels[0] in task.labels] for some in (parts.held, parts.test))
    said = [
        f"{len(some) - len(kept)} of {len(some)} {what} examples have labels that no learned one has; left out of it"
        for some, kept, what in ((parts.held, held, "held-out"), (parts.test, test, "test"))
        if len(kept) < len(some)
    ]
    return Parts(parts.train, held, test, [*parts.said, *said])


def _pooling(base: Path) -> str:
    """As the base's classifier reads, if it is one; else as its vectors are made."""
    config = read_object(base / "config.json", "a model's config")
    trained = str((config.get("architectures") or [""])[0]).endswith("ForSequenceClassification")
    return pooling_of(base, str(config.get("classifier_pooling", "cls")) if trained else "cls")


def headed(base: Path, task: Task, origin: Origin[EncoderConfig]) -> Any:
    """The model with the task's head, only the last layers trained where that is set."""
    config, labels = origin.config, task.labels or (("score",) if task.kind == "regression" else ())
    model = load_headed(base, task.kind, origin.model.dtype, labels, origin.model.trust_remote_code, origin.seed)
    if task.kind in PROBLEMS:
        model.config.problem_type = PROBLEMS[task.kind]
        if family.serves(model.config):
            pooling = config.head.pooling
            family.set_pooling(model, _pooling(base) if pooling == "auto" else pooling)
    model.to(pick_device(origin.model.device))
    if config.train_layers:
        of = family_of(model)
        layers = of.layers(model)
        if config.train_layers > len(layers):
            raise ValueError(f"encoder.train_layers: expected 0 to {len(layers)} (this model's layers)")
        model.requires_grad_(False)
        for part in (*layers[-config.train_layers :], *of.last_norms(model), *family.heads(model)):
            part.requires_grad_(True)
    if config.rows.checkpointing:
        family_of(model).use_checkpointing(model)
    return model


@dataclass
class Choice:
    """The held-out measures so far; the best weights lie in the stage's folder."""

    seen: list[tuple[int, float]]
    """(steps done, measure)"""

    def best(self) -> tuple[int, float] | None:
        return max(self.seen, key=lambda entry: (entry[1], -entry[0]), default=None)

    def add(self, step: int, score: float) -> bool:
        """Whether it is better than every one before."""
        before = self.best()
        self.seen.append((step, score))
        return before is None or score > before[1]

    def stale(self) -> int:
        """Evaluations since the best."""
        best = self.best()
        return sum(step > best[0] for step, _ in self.seen) if best else 0


def measured(model: Any, task: Task, examples: Sequence[Example], items: Sequence[Any], what: str) -> Measured:
    model.eval()
    with activity(what, len(items), task.unit) as shown:
        return task.measure(model, examples, items, shown.update)


def run(
    *,
    base: Path,
    examples: Examples,
    output: Path,
    config: EncoderConfig,
    model_config: ModelConfig,
    seed: int,
    inputs: Mapping[str, str],
) -> dict[str, Any]:
    """Fine-tune `base` into the folder `output`; returns the metrics of its manifest. Resumes by itself."""
    origin = Origin("encoder", output, config, model_config, seed, inputs)
    parts = divide(examples, config, seed)
    tokenizer = read_tokenizer(base)
    set_pad_token(tokenizer)
    task = task_for(examples.kind, parts, base, tokenizer, config, model_config.trust_remote_code)
    parts = learnable(parts, task)
    paired = any(e.second for e in (*parts.train, *parts.test))
    with activity("reading the examples as tokens"):
        items, held = task.items(parts.train, paired), task.items(parts.held, paired)
    if isinstance(task, SpanTask):
        items, lost = task.learnable(items)
        parts.said.extend(lost)
    task.weigh(items)
    texts = [text for e in parts.train[:LOOKED] for text in (e.text, e.second) if text]
    if task.kind == "embedding" and any(prompts := prompts_of(base)):
        parts.said.append(
            f"the base was made with {prompts[0]!r} before questions and {prompts[1]!r} before passages; the examples "
            "are learned as they are, and what is made of them wants none"
        )
    if lacking := unknown_said(tokenizer, tokenizer(texts, add_special_tokens=False, verbose=False).input_ids):
        parts.said.append(f"of the first {min(LOOKED, len(parts.train))} examples {lacking}")
    tell(examples, parts, task)
    batches = plan_batches([1] * len(items), config.rows.batch_examples, config.epochs, f"{seed}/encoder")
    batches = [b for b in batches if len(b) > 1 or task.kind != "embedding"]
    with working(origin, lambda: headed(base, task, origin)) as session:
        session.model.config.pad_token_id = tokenizer.pad_token_id
        if (both := paired and bool(task.labels)) or hasattr(session.model.config, "paired"):  # a base's may differ
            session.model.config.paired = both
        if _fitted(task, config) and session.folder.load() is None:
            fit_head(session.model, task, items, seed)
        steps = Steps(session, len(batches), rules_of(session.model, config))
        choice = Choice([(int(a), float(b)) for a, b in steps.kept.get("seen", ())])
        _learn(session, steps, task, batches, (items, parts.held, held), choice)
        report = _report(session, steps.done, task, parts, held, paired, choice)
        session.save(session.model, tokenizer, saved_names(session.model))
        _write_head(session, task)
        report["cautions"] += cautions(len(batches), session.path) if batches else []
        return session.finish(report, tuple(examples.notes))


def rules_of(model: Any, config: EncoderConfig) -> Rules:
    """The head learns faster: it begins as noise, and what lies below it does not."""
    of_heads = {id(p) for part in family.heads(model) for p in part.parameters()}
    fast = {name for name, p in model.named_parameters() if id(p) in of_heads}
    decay = config.optimizer.weight_decay

    def rule(name: str, weight: Tensor) -> Rule:
        return Rule(config.head.lr_factor if name in fast else 1.0, decay if weight.dim() >= 2 else 0.0)

    return rule


def tell(examples: Examples, parts: Parts, task: Task) -> None:
    for text in (*examples.notes, *parts.said):
        note(f"encoder: {text}")
    for why, n in examples.left_out.items():
        note(f"encoder: left out {n} {why}")
    told = f", {len(task.labels)} labels" if task.labels else ""
    note(
        f"encoder: {task.kind}{told}: {len(parts.train)} learned, {len(parts.held)} held out, {len(parts.test)} tested"
    )


def _fitted(task: Task, config: EncoderConfig) -> bool:
    return config.head.fit and isinstance(task, LabelTask)


def _learn(
    session: Session[Any, Any],
    steps: Steps,
    task: Task,
    batches: Sequence[Sequence[int]],
    data: tuple[Sequence[Any], Sequence[Example], Sequence[Any]],
    choice: Choice,
) -> None:
    """The optimizer steps, until the last or until the held-out measure no longer rises."""
    items, examples, held = data
    config: EncoderConfig = session.origin.config
    evaluated = evenly_spaced(steps.total, config.evals) | {steps.total} if held else set()

    def look() -> dict[str, float]:
        found = measured(session.model, task, examples, held, "held-out examples")
        if choice.add(steps.done, found.score):
            named = dict(session.model.named_parameters())
            session.folder.save_best({n: p for n, p in named.items() if p.requires_grad}, {"step": steps.done})
        steps.kept["seen"] = choice.seen
        return {f"eval_{name}": value.value for name, value in found.values.items()}

    for step in steps:
        if evaluated and step == 0 and not choice.seen and (task.kind == "embedding" or _fitted(task, config)):
            with stopping.held():
                session.write(0, look())
        if config.patience and choice.stale() >= config.patience:
            break
        session.model.train(config.dropout)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int.from_bytes(f"{session.origin.seed}/{step}".encode()[-8:], "big"))
            loss = task.learn(session.model, [items[i] for i in batches[step]], steps.updater.gather)
        norm, rate = steps.update()
        metrics = {"loss": loss, "lr": rate, "grad_norm": norm}
        if steps.done in evaluated:
            with stopping.held():  # a point of this step must have its line
                metrics |= look()
        speed = session.speed(len(batches[step]))
        session.write(steps.done, metrics, {"examples_per_second": speed}, loss=loss, ex_s=round(speed))


def _report(
    session: Session[Any, Any],
    done: int,
    task: Task,
    parts: Parts,
    held: Sequence[Any],
    paired: bool,
    choice: Choice,
) -> dict[str, Any]:
    """The manifest's metrics: of the best weights the held-out measures, and of the test beside the baselines."""
    model, config = session.model, session.origin.config
    best = choice.best()
    if best is not None and best[0] != choice.seen[-1][0]:
        model.load_state_dict(session.folder.load_best()[0], strict=False)
    report: dict[str, Any] = {"task": task.kind, "examples": len(parts.train), "held_out": len(held)}
    report |= {"labels": len(task.labels)} if task.labels else {}
    report |= {"steps": done, "best_step": best[0] if best else done}
    report |= {"cut": task.cut, "cautions": [*parts.said, *_few(task, parts)]}
    if held:
        found = measured(model, task, parts.held, held, "held-out examples")
        report |= {f"eval_{name}": round(value.value, 4) for name, value in found.values.items()}
        report["held_out_measures"] = found.to_json()
    if parts.test:
        found = measured(model, task, parts.test, task.items(parts.test, paired), "test")
        report["test"] = {"examples": len(parts.test), **found.to_json()}
        if config.baseline:
            with activity("baselines"):
                others = baselines(task.kind, parts.train, parts.test, task.labels)
            report["baselines"] = {name: other.to_json() for name, other in others.items()}
            leads = {name: lead(found, other).to_json() for name, other in others.items()}
            report["lead"] = {"of": found.paired_as, **leads}
    return report


def _few(task: Task, parts: Parts) -> list[str]:
    counts = dict.fromkeys(task.labels, 0)
    for example in parts.train:
        for label in example.labels:
            counts[label] += 1
    rare = [label for label, n in counts.items() if n < FEW]
    return [f"{len(rare)} of {len(counts)} labels have fewer than {FEW} examples"] if rare else []


def _write_head(session: Session[Any, Any], task: Task) -> None:
    """What the folder needs beside weights: how vectors are pooled."""
    if isinstance(task, VectorTask):
        width = session.model.config.hidden_size
        save_pooling(session.path, width, task.pooling, task.marks.most, task.marks.lower)
