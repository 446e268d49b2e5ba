"""Make what an index of packages takes, from this tree: wheel and sdist of `steersman` and of `steersman-server`.

    python deploy/build.py dist [--only steersman-server] [--wheel] [--repository https://...]

The second is the same package under another name, without what `steersman.installed.LEFT_OUT` names. `--repository`:
where the sources are, for the links of both pages there; the README's lead nowhere outside the tree otherwise.

Why so: decision 82 in docs/LOG.md.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))
from steersman.installed import LEFT_OUT, SERVER, WHOLE  # noqa: E402

PARTS = ("src", "web", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "constraints.txt")
SKIPPED = shutil.ignore_patterns("__pycache__", "*.egg-info", "node_modules", ".*")
OLDEST = 77
"""Of setuptools: what pyproject.toml asks for. No other package is needed, and nothing is downloaded."""
SUMMARY = (
    "Steersman's server for a model behind an endpoint: chat page, labeling desk, accounts and API, without torch."
)


def for_server(text: str) -> str:
    """pyproject.toml of `steersman-server`, from that of `steersman`: a package stands on a line of its own in it."""
    head, rest = text.split("\ndependencies = [\n", 1)
    listed, rest = rest.split("\n]\n", 1)
    lines = listed.split("\n")
    left = [line for line in lines if re.match(rf' *"({"|".join(LEFT_OUT)})\b', line)]
    if len(left) != len(LEFT_OUT):
        raise ValueError(f"pyproject.toml: expected a line for each of {', '.join(LEFT_OUT)} in dependencies")
    head = head.replace(f'name = "{WHOLE}"', f'name = "{SERVER}"')
    head = re.sub(r'^description = ".*"$', f'description = "{SUMMARY}"', head, flags=re.M)
    kept = "\n".join(line for line in lines if line not in left)
    extras = "[project.optional-dependencies]\n"
    rest = rest.replace(extras, extras + "local = [\n" + "\n".join(left) + "\n]\n", 1)
    return f"{head}\ndependencies = [\n{kept}\n]\n{rest}"


def with_links(text: str, repository: str) -> str:
    """pyproject.toml with the project's addresses."""
    shown = {"Source": "", "Documentation": "/tree/main/docs", "Changelog": "/blob/main/CHANGELOG.md"}
    lines = [f'{name} = "{repository}{path}"' for name, path in shown.items()]
    return text + "\n[project.urls]\n" + "\n".join(lines) + "\n"


def absolute(readme: str, repository: str) -> str:
    """The README with addresses in place of paths."""
    readme = re.sub(r"!\[([^\]]*)\]\((?!\w+:)", rf"![\1]({repository}/raw/main/", readme)
    return re.sub(r"(?<!!)(\[[^\]]*\]\()(?!\w+:|#|<)", rf"\1{repository}/blob/main/", readme)


def build(name: str, out: Path, kinds: tuple[str, ...] = ("wheel", "sdist"), repository: str = "") -> list[Path]:
    """Build one distribution; returns the files made."""
    if int(importlib.metadata.version("setuptools").split(".")[0]) < OLDEST:
        raise ValueError(f"expected setuptools >= {OLDEST}: {sys.executable} -m pip install -U setuptools")
    out = out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        tree.mkdir()
        for part in PARTS:
            copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copyfile
            copy(ROOT / part, tree / part, **({"ignore": SKIPPED} if (ROOT / part).is_dir() else {}))
        config, readme = tree / "pyproject.toml", tree / "README.md"
        text = config.read_text(encoding="utf-8")
        text = for_server(text) if name == SERVER else text
        if repository:
            text = with_links(text, repository)
            readme.write_text(absolute(readme.read_text(encoding="utf-8"), repository), encoding="utf-8")
        config.write_text(text, encoding="utf-8")
        code = (
            "import sys; from setuptools import build_meta as b; print(getattr(b, 'build_' + sys.argv[1])(sys.argv[2]))"
        )
        made = []
        for kind in kinds:
            command = [sys.executable, "-c", code, kind, str(out)]
            done = subprocess.run(command, cwd=tree, capture_output=True, text=True, env=_environment(), check=False)
            if done.returncode:
                raise ValueError(f"{name}: the {kind} could not be built:\n{done.stdout}{done.stderr}")
            made.append(out / done.stdout.strip().splitlines()[-1])
        return made


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", choices=(WHOLE, SERVER))
    parser.add_argument("--wheel", action="store_true", help="no sdist")
    parser.add_argument("--repository", default="", help="where the sources are, such as https://git.example.com/x/y")
    given = parser.parse_args()
    for name in (given.only,) if given.only else (WHOLE, SERVER):
        for path in build(name, given.out, ("wheel",) if given.wheel else ("wheel", "sdist"), given.repository):
            print(f"{path}  {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        sys.exit(f"error: {error}")
