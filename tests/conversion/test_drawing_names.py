"""No two drawings of a folder land on one name, and most are called as one expects."""

import itertools
import os
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apdraw_cli.conversion.drawing_names import drawing_names


def named(*photos: str, folders: tuple[str, ...] = (), several: bool = False, suffix: str = ".png") -> list[str]:
    names = drawing_names(photos, folders, suffix, several)
    assert list(names) == sorted(photos)
    return [names[photo] for photo in photos]


def test_a_drawing_is_called_as_its_photo() -> None:
    assert named("a.jpg", "b.JPEG", "c.d.png", "e") == ["a", "b", "c.d", "e"]


def test_photos_that_would_land_on_one_name_keep_their_extension() -> None:
    assert named("p.jpg", "p.png", "q.jpg") == ["p.jpg", "p.png", "q"]


def test_names_that_differ_in_case_only_count_as_one() -> None:
    assert named("P.jpg", "p.png") == ["P.jpg", "p.png"]
    first, second = named("P.jpg", "p.JPG")
    assert first.casefold() != second.casefold()


def test_names_that_differ_in_unicode_composition_only_count_as_one() -> None:
    assert named("é.jpg", "é.png") == ["é.jpg", "é.png"]


def test_a_kept_extension_may_clash_once_more() -> None:
    names = named("p.jpg", "p.png", "p.jpg.webp")
    assert len(set(names)) == 3
    assert names[:2] == ["p.jpg", "p.png"]


def test_no_drawing_takes_the_name_of_a_folder() -> None:
    assert named("x.jpg", folders=("x.png", "y")) == ["x.jpg"]
    assert named("x.jpg", folders=("x.png",), suffix=".webp") == ["x"]


def test_a_second_face_does_not_take_the_name_of_another_photo() -> None:
    assert named("p.jpg", "p.2.jpg", several=True) == ["p", "p.2.jpg"]
    assert named("p.jpg", "p.2.jpg", several=False) == ["p", "p.2"]
    assert named("p.2.jpg", several=True) == ["p.2"]
    assert named("p.jpg", folders=("p.2.png",), several=True) == ["p.jpg"]


def test_nothing_clashes_whatever_the_names_are() -> None:
    stems, extensions = ("p", "P", "p.2", "p.2.2", "p.jpg", "p.jpg~2"), (".jpg", ".JPG", ".png", "")
    photos = ["".join(parts) for parts in itertools.product(stems, extensions)]
    for several in (False, True):
        names = drawing_names(photos, ("p.png", "p.2.png"), ".png", several)
        files = [f"{name}{n}.png".casefold() for name in names.values() for n in ("", *[".2", ".3"] * several)]
        assert len(set(files)) == len(files)
        assert not {"p.png", "p.2.png"} & set(files)


@pytest.mark.parametrize("letter", ["a", "é", "あ", "👩"])
def test_names_fit_the_file_system_however_long_the_photos_are(letter: str) -> None:
    stem = letter * ((255 - len(".jpg")) // len(letter.encode()))
    photos = [f"{stem}.jpg", f"{stem}.png", letter * (255 // len(letter.encode())), "p.jpg"]
    for several in (False, True):
        names = drawing_names(photos, (), ".tiff", several)
        assert len(set(names.values())) == len(photos)
        assert names["p.jpg"] == "p"
        for name in names.values():
            assert len(f"{name}{'.999' * several}.tiff".encode()) <= 255
        assert names == drawing_names(photos[::-1], (), ".tiff", several)


PIECES = (*"aAéßİ. -~👩", "e\u0301", "ss", "\udcff", "あ" * 40, "x" * 120, ".2", ".10", "~2", "")
NAMES = st.builds(
    lambda pieces, ending: "".join(pieces) + ending,
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=4),
    st.sampled_from((".jpg", ".JPG", ".png", ".2.jpg", "")),
).filter(lambda name: name.strip(".") and len(os.fsencode(name)) <= 255)


@given(photos=st.lists(NAMES, max_size=8, unique=True), folders=st.lists(NAMES, max_size=2), several=st.booleans())
def test_whatever_the_names_no_two_drawings_share_one(photos: list[str], folders: list[str], several: bool) -> None:
    names = drawing_names(photos, folders, ".png", several)
    assert names.keys() == set(photos)
    numbers = ["", *[".2", ".3", ".10"] * several]
    files = [f"{name}{number}.png" for name in names.values() for number in numbers]
    as_one = [unicodedata.normalize("NFC", name).casefold() for name in (*files, *set(folders))]
    assert len(set(as_one[: len(files)])) == len(files)
    assert not {*as_one[: len(files)]} & {*as_one[len(files) :]}
    assert all(len(os.fsencode(name)) <= 255 for name in files)
    assert not any("/" in name or name in (".", "..") for name in files)
    assert names == drawing_names(photos[::-1], folders, ".png", several)
