"""Models that give vectors or labels of texts, behind the engine's door: they generate nothing."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch

from steersman.compute.padding import passes
from steersman.engine.protocol import Prompt, PromptTooLong, Refused
from steersman.families.encoded import logits, vectors
from steersman.families.known import family_of
from steersman.text.marked import Marked, Marks
from steersman.types import Completion, SamplingParams
from steersman.weights.folders import pick_device, read_tokenizer, set_pad_token
from steersman.weights.headed import load_headed, task_of
from steersman.weights.sentence_files import Behind, behind

PASS_TOKENS = 8192


class HeadedEngine:
    """What engines of vectors and of labels have in common."""

    def __init__(self, model: Any, tokenizer: Any, name: str, version: str, most: int = 0, lower: bool = False) -> None:
        self.model, self._tokenizer = model, tokenizer
        self.model_name, self.policy_version = name, version
        context = family_of(model.config).context(model.config)
        self.max_context = min(context, most or context)
        self._marks = Marks(tokenizer, self.max_context, lower)
        self._lock = threading.Lock()

    def _rows(self, texts: Sequence[str | Sequence[int]]) -> list[Marked]:
        """Token ids are taken as they are. Raises PromptTooLong."""
        rows = []
        for text in texts:
            long = f"expected 1 to {self.max_context}"
            if isinstance(text, str):
                (row,) = self._marks.texts([text])
                if row.cut:
                    raise PromptTooLong(f"input: {self.count_tokens(text)} tokens; {long}")
            else:
                row = Marked(tuple(text), None, False)
                if len(text) > self.max_context:
                    raise PromptTooLong(f"input: {len(text)} tokens; {long}")
                if text and not 0 <= min(text) <= max(text) < self.model.config.vocab_size:
                    raise Refused(f"input: expected tokens from 0 to {self.model.config.vocab_size - 1}")
            rows.append(row)
        return rows

    def count_tokens(self, prompt: Prompt) -> int:
        return len(self._tokenizer(prompt, verbose=False).input_ids) if isinstance(prompt, str) else self._refuse()

    def token_text(self, token: int) -> str:
        return str(self._tokenizer.convert_ids_to_tokens(token))

    def token_bytes(self, token: int, first: bool = False) -> bytes:
        return str(self._tokenizer.decode([token])).encode()

    def _refuse(self) -> NoReturn:
        raise Refused(f"{self.model_name} writes no answers; expected a model that does")

    def generate(self, prompts: Sequence[Prompt], params: SamplingParams) -> list[list[Completion]]:
        self._refuse()

    def stream(self, prompt: Prompt, params: SamplingParams) -> Iterator[str | Completion]:
        self._refuse()

    def answers(
        self, prompt: Prompt, params: SamplingParams, cancelled: threading.Event | None = None
    ) -> Generator[tuple[int, str | Completion]]:
        self._refuse()

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]], version: str) -> None:
        self._refuse()


class VectorEngine(HeadedEngine):
    """See `protocol.Embeds`."""

    def __init__(self, model: Any, tokenizer: Any, name: str, version: str, behind: Behind) -> None:
        super().__init__(model, tokenizer, name, version, behind.most, behind.lower)
        self._behind = behind

    def embed(self, prompts: Sequence[str | Sequence[int]]) -> list[tuple[list[float], int]]:
        rows = self._rows(prompts)
        return [(vector, len(row.ids)) for vector, row in zip(self._vectors(rows), rows, strict=True)]

    def vectors(self, texts: Sequence[str]) -> list[list[float]]:
        """Of each text, cut where it is too long."""
        return self._vectors(self._marks.texts([text or " " for text in texts]) if texts else [])

    def _vectors(self, rows: Sequence[Marked]) -> list[list[float]]:
        out: list[list[float]] = [[]] * len(rows)
        for group in passes([len(row.ids) for row in rows], PASS_TOKENS):
            with self._lock, torch.inference_mode():
                made = vectors(self.model, [rows[i] for i in group], self._behind.pooling, self._behind.dense)
                found = made.tolist()
            for i, vector in zip(group, found, strict=True):
                out[i] = vector
        return out


class LabelEngine(HeadedEngine):
    """See `protocol.Classifies`."""

    def __init__(self, model: Any, tokenizer: Any, name: str, version: str, several: bool) -> None:
        super().__init__(model, tokenizer, name, version)
        self._several = several
        self.exclusive = not several
        """Whether a text has one label alone."""
        self.labels = [str(model.config.id2label[i]) for i in range(model.config.num_labels)]

    def classify(self, texts: Sequence[str]) -> list[dict[str, float]]:
        rows = self._marks.texts([text or " " for text in texts])
        out: list[dict[str, float]] = [{}] * len(rows)
        for group in passes([len(row.ids) for row in rows], PASS_TOKENS):
            with self._lock, torch.inference_mode():
                found = logits(self.model, [rows[i] for i in group])
                found = found.sigmoid() if self._several else found.softmax(dim=-1)
            for i, row in zip(group, found.tolist(), strict=True):
                out[i] = dict(zip(self.labels, row, strict=True))
        return out


def headed_engine(
    folder: Path, dtype: str, device: str, trust: bool, name: str, version: str
) -> VectorEngine | LabelEngine:
    """The engine of a folder that `steersman encoder` or sentence-transformers made. Raises ValueError for a model of
    spans, of scores, or of labels of pairs."""
    task = task_of(folder)
    if task in ("span", "regression"):
        raise ValueError(f"{folder}: a model of {task}s; the server uses models of labels and of embeddings")
    model = load_headed(folder, task, dtype, trust_remote_code=trust).to(pick_device(device))
    tokenizer = read_tokenizer(folder)
    set_pad_token(tokenizer)
    if task == "embedding":
        return VectorEngine(model, tokenizer, name, version, behind(folder))
    if getattr(model.config, "paired", False):
        raise ValueError(f"{folder}: it learned labels of two texts together; the server asks for those of one")
    return LabelEngine(model, tokenizer, name, version, task == "multi_label")
