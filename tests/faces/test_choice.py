"""Faces are chosen by size or by number from left to right."""

from dataclasses import dataclass

import pytest

from apdraw_cli.faces.choice import FACES, chosen, from_left, numbers


@dataclass(frozen=True)
class Found:
    name: str
    box: tuple[float, float, float, float]


LARGE, MIDDLE, SMALL = (
    Found("large", (300.0, 0.0, 90.0, 90.0)),
    Found("middle", (500.0, 50.0, 60.0, 60.0)),
    Found("small", (20.0, 9.0, 30.0, 30.0)),
)
FOUND = [LARGE, MIDDLE, SMALL]


@pytest.mark.parametrize(
    ("faces", "expected"),
    [
        ("largest", [LARGE]),
        ("all", FOUND),
        ("1", [SMALL]),
        ("1,3", [SMALL, MIDDLE]),
        ("3,1,3", [SMALL, MIDDLE]),
        ("2,9", [LARGE]),
        ("4", []),
    ],
)
def test_faces_are_chosen(faces: str, expected: list[Found]) -> None:
    assert FACES.fullmatch(faces)
    assert chosen(FOUND, faces) == expected


def test_of_no_faces_none_is_chosen() -> None:
    for faces in ("largest", "all", "1,2"):
        assert chosen([], faces) == []


def test_numbers_count_by_the_middle() -> None:
    wide = Found("wide", (0.0, 0.0, 1000.0, 10.0))
    assert from_left([wide, *FOUND]) == [SMALL, LARGE, wide, MIDDLE]


def test_words_hold_no_numbers() -> None:
    assert numbers("all") == numbers("largest") == ()


@pytest.mark.parametrize("faces", ["", "0", "1,", ",1", "1, 3", "-1", "1.5", "every", "99999", "01"])
def test_what_is_no_choice(faces: str) -> None:
    assert not FACES.fullmatch(faces)
