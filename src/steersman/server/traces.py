"""OpenTelemetry spans of requests and answers (extra `otel`): what took how long, and no words.

    POST /v1/chat/completions   a request, below the caller's span where `traceparent` names one
      answer                    the answers to one prompt
        wait                    to the first text: the engine's queue and the prompt's reading
        write                   from there to the end

They go where OpenTelemetry's own variables say: OTEL_EXPORTER_OTLP_ENDPOINT turns them on. Errors are states, never
texts: an exception's text may quote a question.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from starlette.types import Scope

from steersman import __version__, installed
from steersman.types import Completion

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_tracer: Any = None
"""None: no spans."""


def begin(environment: Mapping[str, str]) -> str:
    """Send spans where the environment says, if it does. Returns why there are none although it does, or ''."""
    endpoint = next((name for name in _ENDPOINTS if environment.get(name)), "")
    off = (
        environment.get("OTEL_SDK_DISABLED", "").lower() == "true" or environment.get("OTEL_TRACES_EXPORTER") == "none"
    )
    if not endpoint or off:
        return ""
    told = next((name for name in _PROTOCOLS if environment.get(name)), "")
    if told and environment[told] != "http/protobuf":
        return f"no traces: {told}: expected http/protobuf, got {environment[told]!r}"
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        return f"no traces: {endpoint} is set; expected the extra: {installed.command('otel')}"
    named = {} if environment.get("OTEL_SERVICE_NAME") else {"service.name": "steersman"}
    provider = TracerProvider(resource=Resource.create(named | {"service.version": __version__}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    use(provider)
    return ""


def use(provider: Any) -> None:
    """Make spans with the provider; None: no more."""
    global _tracer
    _tracer = provider.get_tracer("steersman", __version__) if provider is not None else None


@contextlib.contextmanager
def request(scope: Scope, method: str) -> Iterator[Any]:
    """The span of a request, or None."""
    if _tracer is None:
        yield None
        return
    from opentelemetry import propagate
    from opentelemetry.trace import SpanKind

    sent = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    silent = {"record_exception": False, "set_status_on_exception": False}
    with _tracer.start_as_current_span(method, propagate.extract(sent), SpanKind.SERVER, **silent) as span:
        yield span


def answered(span: Any, *, method: str, route: str, status: int, id_: str) -> None:
    """What a request came to. `status` 0: it was broken off."""
    if span is None:
        return
    from opentelemetry.trace import StatusCode

    span.update_name(f"{method} {route}")
    attributes = {"http.request.method": method, "http.route": route, "http.response.status_code": status}
    span.set_attributes(attributes | {"steersman.request_id": id_})
    if status >= 500 or status == 0:
        span.set_status(StatusCode.ERROR)


class Answer:
    """The spans of the answers to one prompt, from when they are asked for."""

    def __init__(self, model: str, answers: int) -> None:
        self._whole: Any = None
        if _tracer is not None:
            self._whole = _tracer.start_span("answer")
            self._whole.set_attributes({"steersman.model": model, "steersman.answers": answers})
            self._part, self._waits = self._below("wait"), True

    def _below(self, name: str) -> Any:
        from opentelemetry.trace import set_span_in_context

        return _tracer.start_span(name, set_span_in_context(self._whole)) if _tracer is not None else self._whole

    def see(self, item: str | Completion) -> None:
        """The next piece, or an answer's end."""
        if self._whole is None:
            return
        if item and self._waits:
            self._part.end()
            self._part, self._waits = self._below("write"), False
        if isinstance(item, Completion):
            self._whole.set_attribute("steersman.ended", item.finish_reason)

    def end(self, tokens: int) -> None:
        if self._whole is not None:
            self._part.end()
            self._whole.set_attribute("steersman.tokens", tokens)
            self._whole.end()
