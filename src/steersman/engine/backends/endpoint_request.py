"""A request to an OpenAI-compatible endpoint."""

from __future__ import annotations

from typing import Any

from steersman.artifact.media import to_url
from steersman.engine.choices import regex_of
from steersman.engine.protocol import Prompt, Refused
from steersman.parts import Citation, Image
from steersman.types import Conversation, Message, SamplingParams


def request_of(model: str, prompt: Prompt, params: SamplingParams) -> tuple[str, dict[str, Any]]:
    """(path, body). Parameters at their defaults are omitted, so that strict endpoints accept the request."""
    body: dict[str, Any] = {"model": model, "max_tokens": params.max_tokens, "temperature": params.temperature}
    default = SamplingParams()
    for name in ("n", "top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty", "seed"):
        if getattr(params, name) != getattr(default, name):
            body[name] = getattr(params, name)
    if params.stop:
        body["stop"] = list(params.stop)
    if params.logit_bias:
        body["logit_bias"] = {str(token): bias for token, bias in params.logit_bias.items()}
    if params.stop_token_ids:
        body["stop_token_ids"] = list(params.stop_token_ids)
    if params.ignore_end:
        body["ignore_eos"] = True
    if params.json_schema is not None:
        schema = {"name": "answer", "schema": dict(params.json_schema)}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    if (regex := regex_of(params)) is not None:
        body["regex"] = regex
    if params.adapter is not None:
        body["adapter"] = params.adapter
    if params.top_logprobs:
        raise Refused("sampling.top_logprobs: an endpoint names tokens by their text; expected 0 with this backend")
    if isinstance(prompt, Conversation):
        body |= {"tools": list(prompt.tools)} if prompt.tools else {}
        return "/chat/completions", body | {"messages": [_wire(m) for m in prompt.messages]}
    return "/completions", body | {"prompt": prompt if isinstance(prompt, str) else list(prompt)}


def _wire(message: Message) -> dict[str, Any]:
    """A turn for an endpoint, with images as the `data:` URLs that they came as; citations are not sent on."""
    out = message.to_json()
    out.pop("annotations", None)
    if message.images:
        said = [part for part in message.said if not isinstance(part, Citation)]
        out["content"] = [_image(part) if isinstance(part, Image) else part.to_json() for part in said]
    return out


def _image(image: Image) -> dict[str, Any]:
    if not image.data:
        raise ValueError(f"{image.path}: an endpoint needs the image itself; expected Media(workspace).loaded(image)")
    told = {"url": to_url(image)} | ({"detail": image.detail} if image.detail else {})
    return {"type": "image_url", "image_url": told}
