"""Images of a workspace that come with data sets, and go when nothing names them any more."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from steersman.artifact.media import Media
from steersman.artifact.workspace import Workspace
from steersman.cli.framework import say
from steersman.data.pictures import Pictures
from steersman.parts import Image


@contextlib.contextmanager
def pictures_of(space: Workspace, source: Path) -> Iterator[Pictures]:
    """Keeps images during an import; images that no record names at the end are removed."""
    pictures = Pictures(Media(space.root), source if source.is_dir() else source.parent)
    try:
        yield pictures
        if pictures.kept:
            told = "a stage whose model takes text alone stops at one"
            say(f"caution: {len(pictures.kept)} images are kept in media; {told}")
    finally:
        drop_images(space, pictures.kept.values())


def drop_images(space: Workspace, images: Iterable[Image]) -> int:
    """Remove `images` that neither data nor rounds nor the store name; returns the number removed."""
    media, left = Media(space.root), list(images)
    if not left:
        return 0
    from steersman.store import Store  # SQLAlchemy is heavy, and no help text needs it

    with media.writing():
        if space.has_store:
            with Store.open(space.store) as store:
                left = store.without_named(left)
        return len(media.drop_unused(left))
