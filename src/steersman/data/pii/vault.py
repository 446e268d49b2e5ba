"""What masks hide, under a key: a file of encrypted lines beside the data set, one for each record with marks.

The key is a file of the user's, made on first use; whoever has the vault without it has nothing. Encryption is Fernet
(AES-128 in CBC mode with HMAC-SHA256), from the library `cryptography`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from cryptography.fernet import Fernet, InvalidToken


def vault_path(data: Path) -> Path:
    return data.with_name(f"{data.name.removesuffix('.jsonl')}.vault")


def key_of(path: Path, make: bool) -> Fernet:
    """The key in a file; with `make` a new one where there is none. Raises ValueError where it is no key."""
    if make and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        # the owner's alone from its first byte on; O_EXCL: another's key is never written over
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(Fernet.generate_key() + b"\n")
    try:
        return Fernet(path.read_bytes().strip())
    except ValueError:
        raise ValueError(f"{path}: expected a key as `steersman data clean --key` writes it") from None


def lock_line(file: IO[bytes], key: Fernet, number: int, marks: Mapping[str, str]) -> None:
    """Write what the marks of record `number` stand for."""
    file.write(key.encrypt(json.dumps([number, dict(marks)], ensure_ascii=False).encode()) + b"\n")


def opened(path: Path, key: Fernet) -> Iterator[tuple[int, dict[str, str]]]:
    """(record, its marks) in order. Raises ValueError where the key does not fit."""
    with open(path, "rb") as file:
        for line, token in enumerate(file, 1):
            try:
                number, marks = json.loads(key.decrypt(token.strip()))
            except InvalidToken:
                raise ValueError(
                    f"{path}:{line}: expected a line that this key opens; it is another key's, or damaged"
                ) from None
            yield number, marks
