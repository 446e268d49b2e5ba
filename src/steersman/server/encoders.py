"""What small models do beside the one that answers: vectors, a look at what is said, and where a question goes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool

from steersman.config import RouteConfig, ServeConfig
from steersman.data.cleaning.unsafe import WORDS, flags
from steersman.engine.protocol import Classifies, Embeds, Engine
from steersman.messages import Message
from steersman.retrieval.index import Index
from steersman.types import Conversation

FINE = ("0", "safe", "none", "normal", "neutral", "ok", "clean", "non-offensive", "non-toxic", "安全", "正常", "无")
"""Labels of a moderation classifier that mean that nothing is wrong; serve.moderation_fine names others."""
WORD_LISTS = "steersman-words"


@dataclass(frozen=True)
class Route:
    """Where a question goes, and why."""

    label: str
    score: float
    to: RouteConfig

    def to_json(self) -> dict[str, Any]:
        return {"label": self.label, "score": round(self.score, 4), "model": self.to.model}


@dataclass(frozen=True)
class Encoders:
    """The models that serve.embeddings, serve.moderation and serve.router name; None where none is named."""

    embeddings: Engine | None = None
    moderation: Classifies | None = None
    moderation_name: str = ""
    fine: frozenset[str] = frozenset(FINE)
    least: float = 0.5
    """Score from which a text is flagged."""
    router: Classifies | None = None
    routes: Mapping[str, RouteConfig] = dataclasses.field(default_factory=dict)
    indexes: Mapping[str, Index] = dataclasses.field(default_factory=dict)
    """Of documents, by their folders' names."""

    async def route(self, dialogue: Conversation) -> Route | None:
        """Of the last question; None where its label has no entry, or is less likely than that wants."""
        if self.router is None or not dialogue.messages or dialogue.messages[-1].role != "user":
            return None
        (found,) = await run_in_threadpool(self.router.classify, [dialogue.last_user])
        label = max(found, key=lambda name: found[name])
        to = self.routes.get(label)
        return Route(label, found[label], to) if to is not None and found[label] >= to.least else None

    @property
    def names(self) -> list[str]:
        """Models that requests may name besides those that answer."""
        return [self.embeddings.model_name] if self.embeddings else []

    @property
    def judge(self) -> str:
        """Who answers /v1/moderations."""
        return f"{self.moderation_name}+{WORD_LISTS}" if self.moderation else WORD_LISTS

    def judged(self, texts: Sequence[str], words_alone: bool = False) -> list[dict[str, Any]]:
        """Each text's result of /v1/moderations: the classifier's categories beside those of the word lists."""
        scores: list[dict[str, float]] = [{} for _ in texts]
        if self.moderation is not None and not words_alone:
            scores = self.moderation.classify(texts)
        return [self._result(text, found) for text, found in zip(texts, scores, strict=True)]

    def _result(self, text: str, found: Mapping[str, float]) -> dict[str, Any]:
        there = {flag.removeprefix("unsafe: ") for flag in flags(text)}
        scores = {name: float(name in there) for name in WORDS}
        by = dict.fromkeys(WORDS, WORD_LISTS)
        for name, score in found.items():
            if name.casefold() not in self.fine:
                scores[name] = max(score, scores.get(name, 0.0))
                by[name] = self.moderation_name if name not in WORDS else self.judge
        categories = {name: score >= (self.least if name in found else 1.0) for name, score in scores.items()}
        for name in there:
            categories[name] = True
        return {
            "flagged": any(categories.values()),
            "categories": categories,
            "category_scores": scores,
            "category_applied_input_types": {name: ["text"] for name in categories},
            "category_judged_by": by,
        }


def with_prompt(dialogue: Conversation, prompt: str, usual: str) -> Conversation:
    """The dialogue with a route's system prompt in place of the server's own, or before one that has none."""
    turns = dialogue.messages
    own = turns[0].role == "system" and turns[0].content != usual if turns else False
    if not prompt or own:
        return dialogue
    rest = turns[1:] if turns and turns[0].role == "system" else turns
    return dataclasses.replace(dialogue, messages=(Message("system", prompt), *rest))


def open_indexes(folders: Sequence[Path], encoders: Encoders, hashed: str) -> Encoders:
    """With the indexes that serve.indexes names; `hashed`: the hash of serve.embeddings, '' without it.

    Raises ValueError for a folder that is none, and for one that another model made.
    """
    out: dict[str, Index] = {}
    engine = encoders.embeddings

    def embed(texts: Sequence[str]) -> list[list[float]]:
        assert isinstance(engine, Embeds)
        return [vector for vector, _ in engine.embed(list(texts))]

    for folder in folders:
        index = Index(folder, embed if hashed else None)
        if index.name in out:
            raise ValueError(f"serve.indexes: two folders are named {index.name}; expected different names")
        if hashed and index.about["dimensions"] and index.about["hash"] != hashed:
            raise ValueError(
                f"serve.indexes: {folder} was made with {index.about['model']}, serve.embeddings is another model; "
                "expected the same"
            )
        out[index.name] = index
    return dataclasses.replace(encoders, indexes=out)


def open_encoders(config: ServeConfig, load: Callable[[str], Engine], known: Callable[[str], bool]) -> Encoders:
    """The models that the settings name. `known`: whether a route's model is served.

    Raises ValueError where a model is not of the kind that its setting needs, or a route leads nowhere.
    """
    embeddings, moderation, router = (
        load(n) if n else None for n in (config.embeddings, config.moderation, config.router)
    )
    if embeddings is not None and not isinstance(embeddings, Embeds):
        raise ValueError(f"serve.embeddings: {config.embeddings} gives no vectors; expected a model of embeddings")
    for setting, engine in (("moderation", moderation), ("router", router)):
        if engine is not None and not isinstance(engine, Classifies):
            raise ValueError(f"serve.{setting}: {getattr(config, setting)} gives vectors; expected a classifier")
    fine = frozenset(name.casefold() for name in (config.moderation_fine or FINE))
    if moderation is not None:
        _check_fine(moderation, config, fine)
    routes = {route.label: route for route in config.routes}
    if len(routes) < len(config.routes):
        raise ValueError("serve.routes: a label stands there twice; expected one entry for each")
    if routes and router is None:
        raise ValueError("serve.routes: there is no serve.router that could give a question its label")
    if router is not None and (strange := sorted(set(routes) - set(getattr(router, "labels", routes)))):
        labels = ", ".join(getattr(router, "labels", ())[:20])
        raise ValueError(f"serve.routes: '{strange[0]}' is no label of {config.router}; expected some of {labels}")
    for route in config.routes:
        if route.model and not known(route.model):
            raise ValueError(f"serve.routes: '{route.label}' leads to '{route.model}', which is not served; see --also")
    return Encoders(
        embeddings,
        moderation if isinstance(moderation, Classifies) else None,
        moderation.model_name if moderation else "",
        fine,
        config.moderation_least,
        router if isinstance(router, Classifies) else None,
        routes,
    )


def _check_fine(moderation: Engine, config: ServeConfig, fine: frozenset[str]) -> None:
    """ValueError where a label that means nothing is wrong is none of the classifier's, or the classifier has no such
    label and must say one of the others of every text."""
    labels = [str(label) for label in getattr(moderation, "labels", ())]
    folded, shown = {label.casefold() for label in labels}, ", ".join(labels[:20])
    if strange := [name for name in config.moderation_fine if name.casefold() not in folded]:
        raise ValueError(
            f"serve.moderation_fine: '{strange[0]}' is no label of {config.moderation}; expected some of {shown}"
        )
    if getattr(moderation, "exclusive", False) and not folded & fine:
        raise ValueError(
            f"serve.moderation: no label of {config.moderation} ({shown}) is known to mean that nothing is wrong, so "
            "every text would be flagged; expected it in serve.moderation_fine"
        )
