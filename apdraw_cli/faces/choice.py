"""Chooses the faces of a photo that are drawn: the largest, all, or some by their numbers from left to right."""

import re
from collections.abc import Sequence
from typing import Final, Protocol, TypeVar

FACES: Final = re.compile(r"largest|all|[1-9]\d{0,3}(,[1-9]\d{0,3})*")
"""What `--faces` may be."""


class HasBox(Protocol):
    """Something with a place in a photo."""

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, width and height."""
        ...


T = TypeVar("T", bound=HasBox)


def numbers(faces: str) -> tuple[int, ...]:
    """The numbers that are asked for, in their order; none for `largest` and `all`."""
    return tuple(sorted({int(number) for number in faces.split(",")})) if faces[:1].isdigit() else ()


def from_left(found: Sequence[T]) -> list[T]:
    """Faces from left to right, by their middles: the first has the number 1."""
    return sorted(found, key=lambda face: face.box[0] + face.box[2] / 2)


def chosen(found: Sequence[T], faces: str) -> list[T]:
    """The faces that are drawn; those asked for by number from left to right, as far as there are so many.

    Args:
        found: all of a photo, the largest first.
        faces: `largest`, `all`, or numbers with commas.
    """
    if faces == "all":
        return list(found)
    if faces == "largest":
        return list(found[:1])
    ordered = from_left(found)
    return [ordered[number - 1] for number in numbers(faces) if number <= len(ordered)]
