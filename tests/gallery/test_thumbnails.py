"""The small pictures of a gallery: what they show, when they are made, and which photos are read for them."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from conversion_fakes import manifest_lines, save_photo
from gallery_folder import draw, drawn_folder
from PIL import Image as Pillow

from apdraw_cli.commands.gallery import gallery
from apdraw_cli.conversion.storage import open_storage
from apdraw_cli.gallery.entries import read_entries
from apdraw_cli.gallery.thumbnails import FOLDER, Pictures, Thumbnails


def pictures(folder: Path, photos: Path | None = None) -> dict[str, Pictures]:
    entries = read_entries(open_storage(str(folder)))
    made = Thumbnails(open_storage(str(folder)), photos).make(entries, lambda done, total: None)
    return {entry.drawing or entry.record.source: each for entry, each in zip(entries, made, strict=True)}


def rewrite(folder: Path, **changes: object) -> None:
    (line,) = manifest_lines(folder)
    (folder / "apdraw-manifest.jsonl").write_text(json.dumps(line | changes) + "\n")


@pytest.fixture
def one(tmp_path: Path) -> Path:
    """A folder with one photo, 640 x 480, its left half black, its right half white, drawn from x = 320 on."""
    pixels = np.zeros((480, 640, 3), np.uint8)
    pixels[:, 320:] = 255
    (tmp_path / "photos").mkdir()
    Pillow.fromarray(pixels).save(tmp_path / "photos" / "p.png")
    draw(tmp_path)
    rewrite(tmp_path / "drawings", transform=[[[2.0, 0, -640.0], [0, 2.0, 0]]])
    return tmp_path


def shown(folder: Path, name: str | None) -> np.ndarray:
    assert name is not None
    return np.array(Pillow.open(folder / name).convert("L")).astype(int)


def test_the_photo_is_shown_as_it_was_drawn(one: Path) -> None:
    picture = shown(one / "drawings", pictures(one / "drawings")["p.png"].photo)
    assert picture.shape == (512, 512)
    assert picture[:, 4:].min() > 245


def test_a_page_of_the_whole_photo_is_shown_beside_the_whole_photo(one: Path) -> None:
    Pillow.new("L", (640, 480), 255).save(one / "drawings" / "p.png")
    picture = shown(one / "drawings", pictures(one / "drawings")["p.png"].photo)
    assert picture.shape == (480, 640)
    assert picture[:, :310].max() < 10
    assert picture[:, 330:].min() > 245


def test_what_is_up_to_date_is_kept_and_what_nothing_needs_is_removed(one: Path) -> None:
    folder = one / "drawings"
    foreign = folder / FOLDER / "holiday.jpg"
    foreign.parent.mkdir()
    foreign.write_bytes(b"somebody's")
    first, again = gallery(folder), gallery(folder)
    assert (first.pictures, again.pictures) == (1, 0)
    (before,) = {*(folder / FOLDER).iterdir()} - {foreign}
    rewrite(folder, transform=[[[1.0, 0, 0], [0, 1.0, 0]]])
    assert gallery(folder).pictures == 1
    assert not before.exists()
    assert foreign.read_bytes() == b"somebody's"


def test_a_manifest_cannot_make_it_show_just_any_photo(one: Path, tmp_path: Path) -> None:
    secret = save_photo(tmp_path / "secret" / "s.png", 77)
    found = secret.stat()
    folder = one / "drawings"
    rewrite(folder, root=str(secret.parent), source="s.png")
    assert pictures(folder)["p.png"].photo is None
    rewrite(folder, root=str(secret.parent), source="s.png", source_size=found.st_size)
    assert pictures(folder)["p.png"].photo is None
    for source in ("../secret/s.png", str(secret), "/etc/passwd"):
        rewrite(
            folder,
            root=str(one / "photos"),
            source=source,
            source_size=found.st_size,
            source_mtime_ns=found.st_mtime_ns,
        )
        assert pictures(folder)["p.png"].photo is None


@pytest.mark.skipif(os.name == "nt", reason="makes links")
def test_photos_that_were_moved_are_found_where_the_user_says_and_nowhere_else(one: Path) -> None:
    folder, moved = one / "drawings", one / "elsewhere"
    (one / "photos").rename(moved)
    os.utime(moved / "p.png", (1, 1))
    assert pictures(folder)["p.png"].photo is None
    assert pictures(folder, moved)["p.png"].photo is not None
    size = (moved / "p.png").stat().st_size
    for told in (-1, 0, size - 1, 10**15, 10**30):
        rewrite(folder, source_size=told)
        assert pictures(folder, moved)["p.png"].photo is None
    rewrite(folder, source_size=size)
    other = moved / "p.png"
    other = other.rename(one / "p.png")
    (moved / "p.png").symlink_to(other)
    (folder / FOLDER).rename(one / "old pictures")
    assert pictures(folder, moved)["p.png"].photo is None


def test_a_photo_that_was_changed_is_not_shown(one: Path) -> None:
    save_photo(one / "photos" / "p.png", 10)
    assert pictures(one / "drawings")["p.png"] == Pictures(None, "p.png")


def test_a_photo_that_was_too_much_once_is_not_read_again(one: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rewrite(one / "drawings", status="failed", outputs=[], error={"code": "worker_died", "message": "it died"})
    monkeypatch.setattr("apdraw_cli.gallery.thumbnails.decode_reduced", None)
    assert pictures(one / "drawings")["p.png"] == Pictures(None, None)


def test_large_drawings_and_those_that_browsers_do_not_show_have_a_small_picture(one: Path) -> None:
    folder = one / "drawings"
    Pillow.new("L", (3000, 3000), 200).save(folder / "p.png")
    picture = pictures(folder)["p.png"].drawing
    assert shown(folder, picture).shape == (1024, 1024)
    Pillow.new("L", (600, 600), 40).save(folder / "p.tiff")
    rewrite(folder, outputs=["p.tiff"])
    picture = pictures(folder)["p.tiff"].drawing
    assert abs(shown(folder, picture).mean() - 40) < 2
    (folder / "p.pdf").write_bytes(b"%PDF-1.7")
    rewrite(folder, outputs=["p.pdf"])
    assert pictures(folder)["p.pdf"].drawing is None


def test_failures_show_the_photo_too(tmp_path: Path) -> None:
    made = pictures(drawn_folder(tmp_path))
    assert made["landscape.png"].photo is not None
    assert made["text.jpg"] == Pictures(None, None)
