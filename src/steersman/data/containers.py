"""Bytes from files: a file's kind is told by its first bytes; packed files are unpacked while read, within limits.

A file is one part, or several where it is an archive. Names inside archives are shown and never used as paths.
"""

from __future__ import annotations

import bz2
import contextlib
import copy
import errno
import functools
import gzip
import io
import itertools
import lzma
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import IO, cast

from steersman.data.reading import Reading
from steersman.data.zst import Zst

MAGIC = (
    (b"\x1f\x8b", "gz"),
    (b"\xfd7zXZ\0", "xz"),
    (b"BZh", "bz2"),
    (b"\x28\xb5\x2f\xfd", "zst"),
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"PAR1", "parquet"),
    (b"ARROW1\0\0", "arrow"),
    (b"\xff\xff\xff\xff", "arrow"),
)
FOREIGN = (
    (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        "an old Excel or Word file, one with a password, or a mail of Outlook; save it as .xlsx or CSV, mails as .eml",
    ),
    (b"!BDN", "mails of Outlook (.pst); export them as mbox or .eml"),
    (b"FEA1", "a Feather file of version 1; write it as parquet"),
    (b"%PDF", "a PDF"),
    (b"{\\rtf", "a rich text document; save it as plain text"),
    (b"SQLite format 3\0", "an SQLite database; export its table as CSV or JSON lines"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it, or pack it as zip"),
    (b"Rar!\x1a\x07", "a RAR archive; unpack it, or pack it as zip"),
    (b"\x04\x22\x4d\x18", "an lz4 file; unpack it, or pack it with zstd or gzip"),
    (b"Obj\x01", "an Avro file; write it as parquet or JSON lines"),
    (b"ORC", "an ORC file; write it as parquet or JSON lines"),
    (b"\x89HDF", "an HDF5 file; write it as parquet or JSON lines"),
    (b"GGUF", "a model's weights"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x80\x02", "a Python pickle, which is never read"),
    (b"\x80\x03", "a Python pickle, which is never read"),
    (b"\x80\x04", "a Python pickle, which is never read"),
    (b"\x80\x05", "a Python pickle, which is never read"),
    (b"\x89PNG", "an image"),
    (b"\xff\xd8\xff", "an image"),
    (b"GIF8", "an image"),
)
"""First bytes of unsupported kinds of files, and the kind's name."""
_NO_RECORDS = """
    jpg jpeg png gif webp heic svg bmp tif tiff opus ogg oga mp3 m4a aac amr wav mp4 mov 3gp avi webm mkv vcf pdf doc
    docx ppt pptx css js ttf woff woff2
"""
NO_RECORDS = frozenset(f".{suffix}" for suffix in _NO_RECORDS.split())
"""Suffixes of files beside a chat in its export's archive, which are never read."""
_OF_CHATS = """
    user.json users.json projects.json memories.json message_feedback.json shared_conversations.json user_settings.json
    model_comparisons.json chat.html
"""
_OF_SLACK = """
    users.json channels.json groups.json dms.json mpims.json integration_logs.json canvases.json file_conversations.json
    lists.json org_users.json
"""
BESIDE = (
    (frozenset(("conversations.json",)), frozenset(_OF_CHATS.split())),
    (frozenset(("users.json", "channels.json")), frozenset(_OF_SLACK.split())),
    (frozenset(("dataset_info.json", "state.json")), frozenset(("dataset_info.json", "state.json"))),
    *(
        (frozenset((name,)), frozenset((name,)))
        for name in ("dataset_info.json", "dataset_infos.json", "dataset_dict.json")
    ),
    *((frozenset((name,)), frozenset((name,))) for name in ("group_info.json", "user_info.json")),  # Google Chat
)
"""Files by which an export is known, and the files beside them without dialogues, or with the same once more."""
DATA = (".parquet", ".arrow", ".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".xlsx")
"""Suffixes of files that a README beside them describes."""
PACKED = ("gz", "xz", "bz2", "zst")
SUFFIXES = {"gz": "gz", "xz": "xz", "bz2": "bz2", "zst": "zst", "zstd": "zst", "zip": "zip", "parquet": "parquet"}
SUFFIXES |= {"xlsm": "xlsx", "feather": "arrow", "tgz": "gz"} | {k: k for k in ("docx", "xlsx", "arrow", "tar")}
"""Suffix -> kind that the file's name claims."""
OFFICE = {
    "xl/workbook.xml": "xlsx",
    "word/document.xml": "docx",
    "xl/workbook.bin": "an Excel file in binary form (.xlsb); save it as .xlsx or CSV",
    "ppt/presentation.xml": "a PowerPoint file",
    "content.xml": "an OpenDocument file; save it as .xlsx or CSV",
}
"""File inside a zip -> the kind of document that the zip then is."""
BOMB_MB, BOMB_RATIO = 100, 200
"""Beyond this many MB, content larger than this multiple of its packed size is refused."""
MEMBERS = 10_000
ZSTD = 93
"""A zip's number of the method zstd."""
NOT_READ = "not read, as they hold no dialogues, or the same once more: {}"
DEPTH = 3
"""Levels of wrappers (a .gz in a zip) that are opened."""

Open = Callable[[], IO[bytes]]


class Foreign(ValueError):
    """A file of a kind without records: skipped in an archive that has others."""


@dataclass(frozen=True)
class Part:
    """One stream of content: its name for messages, its kind ('text', 'xlsx', 'docx', 'parquet', 'arrow')."""

    name: str
    kind: str
    head: bytes
    open: Open

    @property
    def suffix(self) -> str:
        """The suffix of what was packed, such as '.csv' of 'a.csv.gz'."""
        name = Path(self.name.rpartition("!")[2])
        while name.suffix.lower() in (".gz", ".xz", ".bz2", ".zst", ".zstd"):
            name = name.with_suffix("")
        return name.suffix.lower()

    @contextlib.contextmanager
    def seekable(self) -> Iterator[IO[bytes]]:
        """The part as a seekable file; a packed part is copied to a temporary file."""
        with self.open() as file:
            if isinstance(file, io.BufferedReader) and isinstance(file.raw, io.FileIO):
                yield file
                return
            with tempfile.TemporaryFile() as held:
                shutil.copyfileobj(file, held, 1 << 20)
                held.seek(0)
                yield held


def parts(path: Path, reading: Reading) -> Iterator[Part]:
    """The parts of the file at `path`. Raises ValueError that names the file's kind where it cannot be read."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file" if not path.exists() else f"{path}: expected a file, found a folder")
    size = path.stat().st_size
    yield from _unwrapped(str(path), lambda: reading.position.open(path), size, reading, 0)


def _unwrapped(
    name: str, opened: Open, size: int, reading: Reading, depth: int, claim: str | None = None
) -> Iterator[Part]:
    """`claim`: the name without the suffixes of wrappers already unpacked."""
    claim = name if claim is None else claim
    with whole(name), opened() as file:
        head = file.read(1 << 16)
    kind = kind_of(head, name)
    _check_claim(name, claim, kind, head)
    if (kind in PACKED or kind in ("zip", "tar")) and depth == DEPTH:
        raise ValueError(f"{name}: expected data, found archives inside archives {DEPTH} deep")
    if kind in PACKED:
        unpacked = _guarded(name, kind, opened, size, reading)
        inside = claim[: -len(Path(claim).suffix)] if SUFFIXES.get(Path(claim).suffix.lower()[1:]) == kind else claim
        yield from _unwrapped(name, unpacked, size, reading, depth + 1, inside)
    elif kind == "zip":
        yield from _zip_parts(name, opened, head, reading, depth)
    elif kind == "tar":
        yield from _tar_parts(name, opened, size, reading, depth)
    else:
        yield Part(name, kind, head, opened)


def kind_of(head: bytes, name: str) -> str:
    """A file's kind by its first bytes; 'text' if unknown. Raises ValueError for kinds that contain no data."""
    for magic, kind in MAGIC:
        if head.startswith(magic):
            return kind
    if head[257:262] == b"ustar":
        return "tar"
    for magic, what in FOREIGN:
        if head.startswith(magic):
            raise Foreign(f"{name}: expected records, found {what}")
    if head and not head.strip(b"\0"):
        raise ValueError(f"{name}: expected text, found {len(head)} zero bytes at its start: an empty or damaged file")
    return "text"


def _check_claim(name: str, claim: str, kind: str, head: bytes) -> None:
    """ValueError where a name claims a binary format that the content does not have."""
    suffix = Path(claim).suffix.lower().lstrip(".")
    claimed = SUFFIXES.get(suffix)
    if head and claimed is not None and kind != ("zip" if claimed in ("xlsx", "docx") else claimed):
        what = "plain text" if kind == "text" else f"a .{kind} file"
        raise ValueError(
            f"{name}: expected a whole .{suffix} file, found {what} that begins with {head[:12]!r}; rename it"
        )


@contextlib.contextmanager
def whole(name: str) -> Iterator[None]:
    """Turns errors of unpackers into a ValueError that names the file."""
    import zstandard

    try:
        yield
    except (
        *(lzma.LZMAError, gzip.BadGzipFile, zlib.error, EOFError, zipfile.BadZipFile, tarfile.TarError),
        *(zstandard.ZstdError, NotImplementedError, RuntimeError),
    ) as error:
        raise ValueError(f"{name}: expected a whole {Path(name).suffix or 'packed'} file, but: {error}") from None
    except OSError as error:
        if error.errno not in (None, errno.EINVAL):
            raise
        raise ValueError(f"{name}: expected a whole {Path(name).suffix} file, but: {error}") from None


class _Bounded(io.RawIOBase):
    """An unpacked stream, limited in total size and in proportion to the packed size."""

    def __init__(self, name: str, inner: IO[bytes], packed: IO[bytes], size: int, max_mb: float) -> None:
        self._name, self._inner, self._packed = name, inner, packed
        self._size, self._max_mb, self._read = size, max_mb, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        with whole(self._name):
            data = self._inner.read(min(len(view), 1 << 20))
        self._read += len(data)
        if self._read > self._max_mb * 1024 * 1024:
            raise ValueError(
                f"{self._name}: expected at most {self._max_mb:g} MB unpacked; raise data.max_unpacked_mb if so"
            )
        if self._read > BOMB_MB * 1024 * 1024 and self._read > BOMB_RATIO * self._size:
            raise ValueError(
                f"{self._name}: expected text, over {BOMB_RATIO} times as much as was packed ({self._size} bytes); "
                "unpack it yourself if it is meant to be"
            )
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._inner.close()
        self._packed.close()
        super().close()


def _guarded(name: str, kind: str, opened: Open, size: int, reading: Reading) -> Open:
    def unpacked() -> IO[bytes]:
        file = opened()
        inner: IO[bytes]
        if kind == "gz":
            inner = cast(IO[bytes], gzip.GzipFile(fileobj=file))
        elif kind == "xz":
            inner = cast(IO[bytes], lzma.LZMAFile(file))  # noqa: SIM115
        elif kind == "bz2":
            inner = cast(IO[bytes], bz2.BZ2File(file))
        else:
            inner = io.BufferedReader(Zst(file), 1 << 17)
        return io.BufferedReader(_Bounded(name, inner, file, size, reading.max_unpacked_mb), 1 << 17)

    return unpacked


def _zip_parts(name: str, opened: Open, head: bytes, reading: Reading, depth: int) -> Iterator[Part]:
    with whole(name), Part(name, "zip", head, opened).seekable() as file, zipfile.ZipFile(file) as archive:
        members = [m for m in archive.infolist() if not m.is_dir()]
        for inside, what in OFFICE.items():
            if any(m.filename == inside for m in members):
                if what not in ("xlsx", "docx"):
                    raise Foreign(f"{name}: expected records, found {what}")
                _check_size(name, sum(m.file_size for m in members), file, reading)
                yield Part(name, what, head, opened)
                return
        members = [m for m in members if not hidden(m.filename)]
        _check_members(name, len(members))
        _check_size(name, sum(m.file_size for m in members), file, reading)
        locked = next((m.filename for m in members if m.flag_bits & 1), None)
        if locked is not None:
            raise ValueError(f"{name}!{locked}: it has a password; unpack the archive first")
        found = [(m.filename, functools.partial(archive.open, _as_packed(m)), m.compress_size) for m in members]
        yield from _members(name, found, reading, depth)


def _as_packed(member: zipfile.ZipInfo) -> zipfile.ZipInfo:
    """The member; of zstd, which zipfile does not know, as bytes that are themselves a packed file."""
    if member.compress_type == ZSTD:
        member = copy.copy(member)
        member.compress_type, member.file_size = zipfile.ZIP_STORED, member.compress_size
        del member.CRC  # of what is packed
    return member


def _tar_parts(name: str, opened: Open, size: int, reading: Reading, depth: int) -> Iterator[Part]:
    with (
        whole(name),
        Part(name, "tar", b"", opened).seekable() as file,
        tarfile.open(fileobj=file, mode="r:") as archive,
    ):
        members = [m for m in archive.getmembers() if m.isfile() and not hidden(m.name)]
        _check_members(name, len(members))
        found = [(m.name, cast(Open, functools.partial(archive.extractfile, m)), m.size) for m in members]
        yield from _members(name, found, reading, depth)


def _members(name: str, members: Sequence[tuple[str, Open, int]], reading: Reading, depth: int) -> Iterator[Part]:
    """Parts of an archive's files (name, how it is opened, packed size); pictures and the like are skipped."""
    passed: list[Foreign] = []
    found, others = False, beside([member for member, _, _ in members])
    if others:
        reading.tell(f"note: {name}: {NOT_READ.format(', '.join(sorted(others)))}")
    for member, opened, size in sorted(members, key=lambda m: m[0]):
        if member in others:
            continue
        try:
            if len(members) > 1 and (suffix := Path(member).suffix.lower()) in NO_RECORDS:
                raise Foreign(f"{name}!{member}: expected records, found a {suffix} file")
            for part in _unwrapped(f"{name}!{member}", opened, size, reading, depth + 1):
                found = True
                yield part
        except Foreign as error:
            passed.append(error)
    if passed and not found:
        raise passed[0]
    if passed:
        first = str(passed[0]).partition(": ")[0].rpartition("!")[2]
        reading.tell(f"note: {name}: {len(passed)} files of other kinds are not read, such as {first}")


def beside(names: Sequence[str]) -> set[str]:
    """Of files in folders, those that tell of people, settings and the data itself: in the exports of ChatGPT, Claude
    and Slack, in data sets of Hugging Face, and a README beside tables or JSON."""
    described = any(suffix.lower() in DATA for name in names for suffix in PurePath(name).suffixes)
    readme = ("readme", "readme.md", "readme.txt", "readme.rst", "readme.html")
    out = {name for name in names if described and PurePath(name).name.casefold() in readme}
    folders = sorted((str(PurePath(name).parent), name) for name in names)
    for _, found in itertools.groupby(folders, key=lambda pair: pair[0]):
        files = {PurePath(name).name: name for _, name in found}
        for marks, others in BESIDE:
            if marks <= files.keys():
                out |= {files[other] for other in others if other in files}
    return out


def hidden(name: str) -> bool:
    """Whether systems or programs put such a file into archives and folders by themselves."""
    parts = [part for part in Path(name).parts if part not in ("..", ".")]
    return any(part.startswith((".", "__MACOSX", "~$")) or part in ("Thumbs.db", "desktop.ini") for part in parts)


def _check_members(name: str, count: int) -> None:
    if not 1 <= count <= MEMBERS:
        raise ValueError(f"{name}: expected 1 to {MEMBERS} files in the archive, found {count}")


def _check_size(name: str, unpacked: int, file: IO[bytes], reading: Reading) -> None:
    """Check the unpacked size in a zip's directory; reading never goes beyond that size."""
    packed = file.seek(0, io.SEEK_END)
    if unpacked > reading.max_unpacked_mb * 1024 * 1024:
        raise ValueError(
            f"{name}: expected at most {reading.max_unpacked_mb:g} MB unpacked, found {unpacked >> 20} MB; raise "
            "data.max_unpacked_mb if it is meant to be"
        )
    if unpacked > BOMB_MB * 1024 * 1024 and unpacked > BOMB_RATIO * packed:
        raise ValueError(
            f"{name}: expected data, found {unpacked >> 20} MB packed into {packed} bytes; unpack it yourself"
        )
