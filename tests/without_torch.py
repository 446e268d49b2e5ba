"""A process in which nothing that `steersman-server` leaves out can be imported: PYTHONPATH of a folder it makes."""

from __future__ import annotations

import os
from pathlib import Path

from steersman.installed import COME_WITH_THEM, LEFT_OUT

CODE = """import importlib.abc, sys
class Without(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name in {names}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Without())
"""


def environment(folder: Path) -> dict[str, str]:
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(CODE.format(names=LEFT_OUT + COME_WITH_THEM))
    there = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(there)}
