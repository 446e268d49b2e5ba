"""Sends a model folder to a hub: Hugging Face's or ModelScope's."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

from steersman.progress import activity
from steersman.weights.resolve import HUB_ID

SENT = 5e6
"""Bytes per second of a usual connection."""
HUBS = ("hf", "modelscope")


def target_of(text: str) -> tuple[str, str]:
    """(hub, owner/name). ValueError on anything but hf:owner/name and modelscope:owner/name."""
    hub, colon, repo = text.partition(":")
    if hub not in HUBS or not colon or "/" not in repo or not HUB_ID.fullmatch(repo):
        raise ValueError(f"--push {text}: expected hf:owner/name or modelscope:owner/name")
    return hub, repo


def token_for(hub: str) -> str:
    """The user's token. ValueError that says how to give one, before anything is made."""
    if hub == "hf":
        if importlib.util.find_spec("huggingface_hub") is None:
            raise ValueError("--push hf:…: needs the package huggingface-hub: pip install 'steersman[hub]'")
        from huggingface_hub import get_token

        token = get_token()
        if not token:
            raise ValueError("--push hf:…: no token; expected HF_TOKEN in the environment, or: hf auth login")
        return token
    token = os.environ.get("MODELSCOPE_API_TOKEN")
    if not token:
        raise ValueError("--push modelscope:…: no token; expected MODELSCOPE_API_TOKEN in the environment")
    if importlib.util.find_spec("modelscope") is None:
        raise ValueError("--push modelscope:…: needs the package modelscope: pip install 'steersman[hub]'")
    return token


def push(folder: Path, target: str, public: bool = False) -> str:
    """Upload everything in the folder; returns the model's address. Files that are there already are not sent again.

    The model is private unless `public`. Raises ValueError with what the hub said.
    """
    hub, repo = target_of(target)
    token = token_for(hub)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    send = _to_hugging_face if hub == "hf" else _to_modelscope
    with activity(f"sending {folder.name} to {target}", about=size / SENT):
        try:
            return send(folder, repo, token, public)
        except Exception as error:  # the hubs' and the HTTP libraries' errors share no base class
            first = next(iter(str(error).strip().split("\n")), "") or type(error).__name__
            raise ValueError(f"{target}: not sent, and what was made stays in {folder}: {first}") from None


def _to_hugging_face(folder: Path, repo: str, token: str, public: bool) -> str:
    from huggingface_hub import HfApi

    api = HfApi(token=token)
    made: Any = api.create_repo(repo, private=not public, exist_ok=True, repo_type="model")
    if not public and not api.model_info(repo).private:
        raise ValueError("it is there and public; expected --public, or another name")
    api.upload_folder(repo_id=repo, folder_path=folder, repo_type="model", commit_message="Model of steersman export")
    return str(made)


def _to_modelscope(folder: Path, repo: str, token: str, public: bool) -> str:
    from modelscope.hub.api import HubApi

    api: Any = HubApi()
    visibility = "public" if public else "private"
    api.create_repo(repo, token=token, visibility=visibility, repo_type="model", exist_ok=True)
    api.upload_folder(
        repo_id=repo, folder_path=str(folder), token=token, repo_type="model", commit_message="steersman export"
    )
    return f"https://www.modelscope.cn/models/{repo}"
