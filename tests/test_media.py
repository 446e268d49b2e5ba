"""The folder of images: what is an image, what is refused, what is kept and what goes."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
from pathlib import Path

import pytest

from pictures import KINDS, bomb, data_url, picture
from steersman.artifact import media
from steersman.artifact.media import Media, checked, from_url, to_url


@pytest.mark.parametrize("kind", KINDS)
def test_kept_once_under_its_hash(kind: str, tmp_path: Path) -> None:
    data = picture(kind)
    image = from_url(data_url(kind), "here")
    assert (image.media_type, image.width, image.height, image.data) == (f"image/{kind}", 8, 6, data)
    folder = Media(tmp_path)
    kept = folder.put(image)
    assert kept == folder.put(checked(data, "again"))
    assert kept.data == b""
    assert (tmp_path / kept.path).read_bytes() == data
    assert kept.sha256 == hashlib.sha256(data).hexdigest()
    assert kept.path == f"media/{kept.sha256[:2]}/{kept.sha256}.{'jpg' if kind == 'jpeg' else kind}"
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == [Path(kept.path).name]
    assert to_url(folder.loaded(kept)) == data_url(kind)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "got bytes that are none"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "expected an image (png, jpeg, webp, gif)"),
        (picture("png")[:20], "got bytes that are none"),
        (picture("png")[:-20] + b"\0" * 20, "got bytes that are none"),
        (b"BM" + picture("png"), "got bytes that are none"),
        (bomb(9000, 9000), "at most 67,108,864 pixels, got 9000 x 9000"),
        (bomb(60000, 60000), "at most 67,108,864 pixels, got far more"),
    ],
)
def test_what_is_no_image_or_too_large_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=r"^photo\.png: expected an image") as error:
        checked(data, "photo.png")
    assert said in str(error.value)


def test_large_files_are_refused_by_their_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media, "LARGEST", 10)
    with pytest.raises(ValueError, match="at most 0 MiB"):
        checked(picture(), "x")


@pytest.mark.parametrize("url", ["https://example.com/a.png", "http://127.0.0.1/a", "file:///etc/passwd", "a.png", ""])
def test_nothing_is_fetched(url: str) -> None:
    with pytest.raises(ValueError, match=r"expected the image itself as data:image/png;base64,.*none is fetched"):
        from_url(url, "here")


def test_base64_is_read_with_line_ends_and_refused_when_it_is_none() -> None:
    folded = base64.encodebytes(picture()).decode()
    assert from_url(f"data:image/jpeg;charset=utf-8;base64,{folded}", "x").media_type == "image/png"
    with pytest.raises(ValueError, match="here: expected base64"):
        from_url("data:image/png;base64,@@@", "here")


def test_unused_images_go_and_named_ones_stay(tmp_path: Path) -> None:
    folder = Media(tmp_path)
    used, other, gone = (folder.put(checked(picture(colour=c), c)) for c in ("red", "green", "blue"))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "set.jsonl").write_text(f'{{"url": "{used.path}"}}\n')
    (tmp_path / "rounds" / "001" / "samples").mkdir(parents=True)
    (tmp_path / "rounds" / "001" / "samples" / "samples.jsonl").write_text(f'["{other.path}"]\n')
    assert folder.drop_unused([used, other, gone]) == [gone]
    assert folder.read(used)
    assert folder.read(other)
    with pytest.raises(ValueError, match="no such file; an image of a message is missing"):
        folder.read(gone)
    (tmp_path / used.path).write_bytes(b"else")
    with pytest.raises(ValueError, match="its content differs from its name"):
        folder.loaded(dataclasses.replace(used))
