"""Users' own functions: a judge, a reward, an importer or a task, named in the settings or on the command line.

A name is `module:function`, or that of an entry point (groups `steersman.judges`, `.rewards`, `.importers`, `.tasks`)
of an installed package. A module is looked for where Python does, then in the workspace's folder.

A function named on the command line runs, since its user typed it, and so does an entry point, since its package was
installed. A settings file may come from somebody else, so `module:function` in one runs only if `steersman trust` has
recorded its present code (outside of the workspace), or with STEERSMAN_PLUGINS=1. Code in a workspace is
hashed and imported from its .py files alone: no bytecode, shared object or link in it is loaded.

Why so: decision 54 in docs/LOG.md.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import os
import shlex
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from importlib.machinery import FileFinder, SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any

from steersman.config import Config

ALLOW = "STEERSMAN_PLUGINS"
"""Environment variable; with 1 steersman.toml may name functions of any module."""
GROUPS = ("judges", "rewards", "importers", "tasks")
NO_CODE = ("rounds", "promoted", "data", "search", "exports")
"""Folders of a workspace from which nothing is imported."""
_admitted: list[Path] = []
"""Workspace folders that modules may be imported from, under both names where a link leads there."""
_admitting = threading.Lock()


@dataclass(frozen=True)
class Plugin:
    """A function that was found; `digest` is the sha256 of the code that it was imported from."""

    name: str
    call: Callable[..., Any]
    digest: str


def named(config: Config) -> dict[str, str]:
    """Setting that names a function -> the function's name."""
    rules, tasks = config.ppo.score.rules, config.eval.tasks
    found = {"project.judge": config.project.judge}
    found |= {f"ppo.score.rules[{i}].function": rule.function for i, rule in enumerate(rules)}
    found |= {f"eval.tasks[{i}]": name for i, name in enumerate(tasks) if not is_file(name)}
    return {where: name for where, name in found.items() if name}


def is_file(name: str) -> bool:
    """Whether the name of a task is that of a file of questions, with or without options after a comma: it has a
    folder, or the suffix of a file of records. No function's name does."""
    path = name.partition(",")[0]
    ends = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".xz", ".gz", ".zst", ".bz2")
    return "/" in path or "\\" in path or path.lower().endswith(ends)


def check_name(name: str, where: str) -> None:
    """Raises ValueError unless it reads module:function or is the name of an entry point."""
    module, colon, function = name.partition(":")
    parts = [*module.split("."), *(function.split(".") if colon else [])]
    good = all(part.isidentifier() or (not colon and part.replace("-", "_").isidentifier()) for part in parts)
    if not good or module.endswith(".py"):
        raise ValueError(f"{where} = '{name}': expected module:function, such as mycompany.judging:judge")


def source_of(name: str, folder: Path | None = None) -> Path | None:
    """The file of the module of 'module:function', without importing anything; None where there is none.

    `folder` is looked through last.
    """
    module = Path(*name.partition(":")[0].split("."))
    for place in [*sys.path, *([str(folder)] if folder else [])]:
        for file in (Path(place or ".") / module / "__init__.py", (Path(place or ".") / module).with_suffix(".py")):
            if file.is_file():
                return file.absolute()
    return None


def digest(name: str, group: str, folder: Path | None = None) -> str:
    """sha256 of a function's code: of a module in a workspace all code there, else the module's file.

    Raises ValueError where there is no such module or entry point.
    """
    check_name(name, group)
    if ":" not in name:
        name = _entry_point(name, group).value
    file = source_of(name, folder)
    if file is None:
        raise ValueError(f"{name}: no module {name.partition(':')[0]} found; expected {_places(name, folder)}")
    root = next((place for place in [*([folder] if folder else []), *_admitted] if _is_below(file, place)), None)
    return _folder_digest(root) if root else hashlib.sha256(file.read_bytes()).hexdigest()


def _places(name: str, folder: Path | None) -> str:
    file = f"{name.partition(':')[0].replace('.', '/')}.py"
    return f"{(folder or Path.cwd()) / file}, or an installed package"


def _is_below(file: Path, folder: Path) -> bool:
    return file.resolve().is_relative_to(folder.resolve())


def _folder_digest(folder: Path) -> str:
    total = hashlib.sha256()
    for file in code_in(folder):
        total.update(
            f"{file.relative_to(folder).as_posix()}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode()
        )
    return total.hexdigest()


def code_in(folder: Path) -> list[Path]:
    """The .py files of a workspace that can be imported."""
    out: list[Path] = []
    for place, folders, files in os.walk(folder):
        here = Path(place)
        folders[:] = [name for name in folders if _importable(here / name, folder)]
        out += [here / name for name in files if name.endswith(".py")]
    return sorted(out)


def _importable(place: Path, folder: Path) -> bool:
    parts = place.relative_to(folder).parts
    hidden = any(part.startswith(".") or part == "__pycache__" for part in parts)
    return not hidden and not place.is_symlink() and not (parts and parts[0] in NO_CODE)


class _SourceOnly(SourceFileLoader):
    """Imports from the .py file, never from bytecode that lies beside it."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


def _finder(path: str) -> FileFinder:
    """The import system's finder for folders of admitted workspaces. ImportError for all others, as it expects."""
    place = Path(path).absolute()
    for folder in _admitted:
        if place == folder or folder in place.parents:
            loaders = [(_SourceOnly, [".py"])] if _importable(place, folder) else []
            return FileFinder(path, *loaders)
    raise ImportError(path)


def admit(folder: Path) -> None:
    """Let modules be imported from a folder, after all others."""
    with _admitting:  # requests open a workspace at the same time, and Python's own cache cannot be emptied by two
        _admit(folder.absolute())


def _admit(folder: Path) -> None:
    if folder in _admitted:
        return
    _admitted.extend(dict.fromkeys((folder, folder.resolve())))  # it may stand in sys.path under its other name
    if _finder not in sys.path_hooks:
        sys.path_hooks.insert(0, _finder)
    for known in list(sys.path_importer_cache):  # a copy: other threads import meanwhile
        if any(Path(known).is_relative_to(of) for of in _admitted):
            sys.path_importer_cache.pop(known, None)
    sys.path.append(str(folder))
    importlib.invalidate_caches()


def _trusted_file() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME") or os.environ.get("APPDATA") or str(Path.home() / ".config")
    return Path(base) / "steersman" / "trusted.json"


def trusted() -> dict[str, dict[str, str]]:
    """Workspace -> function's name -> digest of the trusted code."""
    path = _trusted_file()
    try:
        known: Any = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        return {str(root): {str(k): str(v) for k, v in names.items()} for root, names in known.items()}
    except (ValueError, AttributeError):
        raise ValueError(f"{path}: expected an object of workspaces and trusted functions; remove the file") from None


def trust(root: Path, config: Config) -> dict[str, str]:
    """Record the functions that a workspace's settings name, as their code is now. Returns name -> file."""
    files: dict[str, str] = {}
    known = trusted()
    mine: dict[str, str] = {}
    for where, name in named(config).items():
        check_name(name, where)
        if ":" in name:
            mine[name] = digest(name, _group(where), root)
            files[name] = str(source_of(name, root))
    known[str(root.resolve())] = mine
    path = _trusted_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(json.dumps({k: v for k, v in known.items() if v}, indent=1, sort_keys=True), encoding="utf-8")
    temporary.replace(path)
    return files


def _group(where: str) -> str:
    return "judges" if where.startswith("project") else "tasks" if where.startswith("eval") else "rewards"


def check_trust(config: Config, root: Path, source: str) -> None:
    """Raises ValueError where a settings file names code that its reader has not allowed to run."""
    allowed = os.environ.get(ALLOW) == "1"
    known: Mapping[str, str] | None = None
    for where, name in named(config).items():
        check_name(name, f"{source}: {where}")
        if ":" not in name or allowed:
            continue
        if known is None:
            known = trusted().get(str(root.resolve()), {})
        try:
            code = digest(name, _group(where), root)
        except ValueError as error:
            raise ValueError(f"{source}: {where} = {error}") from None
        if known.get(name) == code:
            continue
        changed = "its code has changed since it was trusted" if name in known else "a file does not decide what runs"
        raise ValueError(
            f"{source}: {where} = '{name}': {changed}: it may be somebody else's. Read {source_of(name, root)} and "
            f"allow it: steersman trust -w {shlex.quote(str(root))} (or give the name with --set, or set {ALLOW}=1 in "
            "your environment)"
        )


def admit_named(names: Iterable[str], folder: Path) -> None:
    """Let modules of these functions be imported from `folder`, if they are there and nowhere else."""
    for name in names:
        if ":" in name and (file := source_of(name, folder)) is not None and _is_below(file, folder):
            admit(folder)


def prints_aside() -> contextlib.AbstractContextManager[Any]:
    """What users' code prints meanwhile goes to stderr, since stdout holds the verb's result alone. In other threads
    than the first nothing is changed: stdout is the whole process's."""
    first = threading.current_thread() is threading.main_thread()
    return contextlib.redirect_stdout(sys.stderr) if first else contextlib.nullcontext()


def load(name: str, group: str, where: str, known: Mapping[str, Callable[..., Any]] | None = None) -> Plugin:
    """The function of that name; `known` are those of Steersman's own. Raises ValueError that says what is missing."""
    check_name(name, where)
    if known and name in known:
        call = known[name]
        return Plugin(name, call, hashlib.sha256(Path(call.__code__.co_filename).read_bytes()).hexdigest())
    target = name if ":" in name else _entry_point(name, group, known or ()).value
    module, _, attribute = target.partition(":")
    try:
        with prints_aside():
            found: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not (module == error.name or module.startswith(f"{error.name}.")):
            raise ValueError(f"{where} = '{name}': its module imports {error.name}, which is not installed") from None
        raise ValueError(
            f"{where} = '{name}': no module {module}; expected {_places(target, _admitted[-1] if _admitted else None)}"
        ) from None
    except (Exception, SystemExit) as error:
        raise ValueError(f"{where} = '{name}': importing {module} ends in {type(error).__name__}: {error}") from error
    for part in attribute.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        raise ValueError(f"{where} = '{name}': {module} has no function {attribute}")
    return Plugin(name, found, digest(target, group))


def _entry_point(name: str, group: str, known: Iterable[str] = ()) -> metadata.EntryPoint:
    every = list(_entry_points(group))
    found = [e for e in every if e.name == name]
    if not found:
        names = ", ".join(sorted({*known, *(e.name for e in every)})) or "none are installed"
        raise ValueError(
            f"'{name}': no entry point of that name in steersman.{group} ({names}); expected one of them, or "
            "module:function"
        )
    if len({e.value for e in found}) > 1:
        raise ValueError(f"'{name}': several entry points of steersman.{group}: {', '.join(e.value for e in found)}")
    return found[0]


def _entry_points(group: str) -> Iterator[metadata.EntryPoint]:
    yield from metadata.entry_points(group=f"steersman.{group}")
