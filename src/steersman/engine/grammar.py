"""Answers constrained to a JSON schema or a regular expression, by llguidance (optional; imported when asked for)."""

from __future__ import annotations

import functools
import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from steersman import installed
from steersman.engine.choices import Choice, choice_of
from steersman.engine.protocol import Refused
from steersman.types import SamplingParams

MOST_SCHEMA, MOST_REGEX = 65_536, 4_096
"""Limit on the bytes of a schema's JSON and on the characters of an expression."""
MOST_MULTIPLES = 10_000
"""Limit on the product of the significant digits of all `multipleOf`: llguidance tracks every combination of remainders
in each step."""
COMPILE_SECONDS, COMPILE_BYTES = 2, 2 << 30
"""Processor time and memory that making a grammar may take. Intersections of a few expressions can take for ever, and
a thread cannot be ended; so each grammar is first made once in a separate process."""
PATIENCE = 60.0
"""Wall-clock seconds, for systems that lack those limits (Windows) or ignore them (macOS)."""
_CHILD = f"""
import sys
try:
    import resource
    resource.setrlimit(resource.RLIMIT_CPU, ({COMPILE_SECONDS}, {COMPILE_SECONDS}))
    resource.setrlimit(resource.RLIMIT_AS, ({COMPILE_BYTES}, {COMPILE_BYTES}))
except (ImportError, ValueError, OSError):
    pass
import llguidance
sys.stdout.write(llguidance.LLMatcher.validate_grammar(sys.stdin.read()))
"""
JSON_OPTIONS = {
    # one line break and some indentation between two tokens of JSON, or a model that goes astray stays there
    "whitespace_pattern": r"\n?[ \t]{0,20}",
    "whitespace_flexible": True,
    "lenient": False,
    "coerce_one_of": False,
}
"""llguidance's options, which override those in the schema."""
NOT_FOLLOWED = {"contentEncoding", "contentMediaType", "contentSchema", "divisibleBy", "disallow", "extends"}
"""Restricting keywords that llguidance silently ignores; all other unsupported keywords it refuses itself."""
_REFERENCE = re.compile(r"[\w!#$%&'()*+,./:;=?@\[\]~-]*", re.ASCII)
_BY_NAME = {"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"}
_DATA = {"enum", "const", "default", "examples", "example"}


class Grammar:
    """Where one answer stands in its grammar."""

    def __init__(self, matcher: Any, name: str) -> None:
        self._matcher, self._name = matcher, name

    def copy(self) -> Grammar:
        return Grammar(self._matcher.deep_copy(), self._name)

    def allowed(self, vocabulary: int, device: torch.device) -> Tensor:
        """bool [vocabulary]: tokens that may come next; the end of turn where the answer may be complete.

        Refused where no token is allowed, or computing this took too long for a step.
        """
        packed = torch.frombuffer(bytearray(self._matcher.compute_bitmask()), dtype=torch.uint8)
        bits = (packed[:, None] >> torch.arange(8, dtype=torch.uint8)) & 1
        mask = torch.zeros(vocabulary, dtype=torch.bool)
        known = min(vocabulary, bits.numel())
        mask[:known] = bits.view(-1)[:known].bool()
        if self._matcher.is_error():
            raise self._refused()
        if not bool(mask.any()):
            raise Refused(f"sampling.{self._name}: no token of this model can follow what the answer has so far")
        return mask.to(device)

    def accept(self, token: int) -> None:
        if not self._matcher.consume_token(token):
            raise self._refused()

    def _refused(self) -> Refused:
        return Refused(f"sampling.{self._name}: it cannot be followed: {_brief(self._matcher.get_error())}")


class Grammars:
    """Makes `Grammar`s for one tokenizer, whose vocabulary is prepared once."""

    def __init__(
        self, tokenizer: Any, ends: Collection[int], vocabulary: int, said: Callable[[str], Sequence[int]]
    ) -> None:
        """`said`: token ids of an answer."""
        self._tokenizer, self._ends, self._vocabulary, self._said = tokenizer, sorted(ends), vocabulary, said
        self._lock = threading.Lock()
        self._prepared: Any = None

    def of(self, params: SamplingParams) -> Grammar | Choice | None:
        """The answer's grammar, None without constraints. Raises Refused for an unsupported schema or expression."""
        if params.choices:
            texts = dict[tuple[int, ...], str]()
            for text in params.choices:
                if (other := texts.setdefault(tuple(self._said(text)), text)) != text:
                    raise Refused(f"choices: {other!r} and {text!r} are the same tokens to this model's tokenizer")
            return choice_of(texts, self._ends)
        if params.json_schema is None and params.regex is None:
            return None
        name = "json_schema" if params.json_schema is not None else "regex"
        try:
            import llguidance
            import llguidance.hf
        except ImportError:
            raise Refused(
                f"json_schema and regex need the package llguidance: {installed.command('grammar')}"
            ) from None
        try:
            with self._lock:
                if self._prepared is None:
                    self._prepared = llguidance.hf.from_tokenizer(
                        self._tokenizer, n_vocab=max(self._vocabulary, len(self._tokenizer)), eos_token=self._ends
                    )
                source = _source(llguidance.LLMatcher, params)
                problem = _problem(source)
            if problem:
                raise ValueError(problem)
            matcher = llguidance.LLMatcher(self._prepared, source, log_level=0)
        except (ValueError, TypeError, RecursionError) as error:
            if "decoder type" in str(error):
                raise Refused(
                    f"sampling.{name}: this model's tokenizer cannot be followed by a grammar (its words are "
                    "SentencePiece's); expected one of bytes, or a list of choices"
                ) from None
            raise Refused(f"sampling.{name}: {_brief(str(error))}") from None
        if matcher.is_error():
            raise Refused(f"sampling.{name}: {_brief(matcher.get_error())}")
        grammar = Grammar(matcher, name)
        grammar.allowed(self._vocabulary, torch.device("cpu"))  # a grammar that allows nothing is refused here
        return grammar


def _source(matcher: Any, params: SamplingParams) -> Any:
    """llguidance's grammar. ValueError where it is too large or contains keywords that would be ignored."""
    if params.regex is not None:
        if len(params.regex) > MOST_REGEX:
            raise ValueError(f"expected at most {MOST_REGEX} characters, got {len(params.regex)}")
        return matcher.grammar_from_regex(params.regex)
    schema = json.dumps(_referable(params.json_schema))
    if len(schema) > MOST_SCHEMA:
        raise ValueError(f"expected at most {MOST_SCHEMA} bytes of JSON, got {len(schema)}")
    multiples = 1
    for keyword, value in _keywords(params.json_schema):
        if keyword in NOT_FOLLOWED:
            raise ValueError(f"'{keyword}' is not supported")
        if keyword == "multipleOf" and isinstance(value, int | float):
            multiples *= int(f"{value:e}".partition("e")[0].replace(".", "").strip("-0") or 1)
    if multiples > MOST_MULTIPLES:
        raise ValueError(f"'multipleOf': expected digits of a product of at most {MOST_MULTIPLES}, got {multiples}")
    return matcher.grammar_from_json_schema(schema, overrides=JSON_OPTIONS)


def _referable(schema: Any) -> Any:
    """The schema without an `$id` that is a title in words, as griptape's is: nothing can refer to what is no URI."""
    id_ = schema.get("$id") if isinstance(schema, Mapping) else None
    if not isinstance(id_, str) or _REFERENCE.fullmatch(id_):
        return schema
    return {key: value for key, value in schema.items() if key != "$id"}


@functools.lru_cache(256)
def _problem(source: str) -> str:
    """Why this grammar cannot be made within the limits; '' where it can."""
    command = [sys.executable, "-I", "-c", _CHILD]
    try:
        child = subprocess.run(command, input=source.encode(), capture_output=True, check=False, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return "it is too complex"
    if child.returncode:
        return "it is too complex"
    return child.stdout.decode("utf-8", "replace")


def _keywords(schema: Any) -> Iterator[tuple[str, Any]]:
    """Every keyword of a schema and those within it with its value, names of properties and data left out."""
    inner = schema if isinstance(schema, list) else ()
    if isinstance(schema, Mapping):
        yield from schema.items()
        inner = [value for key, value in schema.items() if key not in _DATA | _BY_NAME]
        named = [value for key, value in schema.items() if key in _BY_NAME and isinstance(value, Mapping)]
        inner += [value for values in named for value in values.values()]
    for value in inner:
        yield from _keywords(value)


def _brief(error: str) -> str:
    """The error's message, without the answer so far and the parser's state."""
    text = " ".join(error.partition("\n<state>")[0].split())
    return text if len(text) < 300 else text[:140] + " ... " + text[-140:]
