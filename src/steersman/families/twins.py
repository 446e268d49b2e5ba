"""Several models over the same weights."""

from __future__ import annotations

import copy
from typing import Any


def twin(model: Any) -> Any:
    """A second model over the same weights: adapters or heads added to one do not appear in the other."""
    leaves = [m for m in model.modules() if next(m.children(), None) is None]
    return copy.deepcopy(model, {id(x): x for x in [*leaves, *model.parameters()]})
