"""The checksum tells drawings made otherwise from current ones, and goes on to know those made before."""

import dataclasses
import pickle
from dataclasses import dataclass, field
from typing import Any

import pytest

from apdraw_cli.conversion.options import ConvertOptions, FaceOptions, FileOptions
from apdraw_cli.conversion.recipe import Recipe
from apdraw_cli.conversion.storage import Version
from engines.options import choices_of, described

DEFAULTS = "85d3e285ee5c4cf58bd106890d23fd21fb80a21a6f007d56097dbeeef88b79a2"
OTHERS = "2686f9170f8cae3837b5334475534509f584c03aca38a80be7ad54808506e776"
ALIGNED = "1ffcfc13555b88252f046ec96fa7c93bf6fe9e9bb3d43326c20cd6f527454ee0"
ALIGNED_WITH_LANDMARKS = "daabf396cb2446baddb6aa850a67b76371040f016508cd9b8a69277a2d592e96"


def test_drawings_of_earlier_versions_stay_current() -> None:
    assert Recipe().checksum() == DEFAULTS
    others = Recipe(FaceOptions("all", 20.0, False, "retinaface-resnet50"), FileOptions("webp"))
    assert others.checksum() == OTHERS


ONLY_WITH: dict[str, dict[str, Any]] = {"quality": {"format": "jpg"}, "over": {"place": "photo"}}
OTHERS_OF = {"faces": "all"}


def changed(field: Any, kind: Any, value: Any) -> Any:
    """Another value that the option allows."""
    choices = choices_of(field, kind)
    if value is None:
        return 90
    if field.name in OTHERS_OF:
        return OTHERS_OF[field.name]
    if choices:
        return next(choice for choice in choices if choice != value)
    return not value if isinstance(value, bool) else value + 1


def variants(recipe: Any) -> list[tuple[str, Any]]:
    """The recipe with one option changed, for each option in it and in the dataclasses in it."""
    found = []
    for option in dataclasses.fields(recipe):
        value = getattr(recipe, option.name)
        if dataclasses.is_dataclass(value):
            found += [(name, dataclasses.replace(recipe, **{option.name: inner})) for name, inner in variants(value)]
        else:
            other = changed(*described(type(recipe))[option.name], value)
            needed = ONLY_WITH.get(option.name, {})
            found.append((option.name, dataclasses.replace(recipe, **{option.name: other}, **needed)))
    return found


@pytest.mark.parametrize(("option", "recipe"), variants(Recipe()), ids=[name for name, _ in variants(Recipe())])
def test_every_option_counts(option: str, recipe: Recipe) -> None:
    needed: dict[str, Any] = ONLY_WITH.get(option, {})
    without = Recipe.of(ConvertOptions.of(**needed))
    assert recipe.checksum() != without.checksum(), option


def test_a_new_option_counts_where_it_is_not_at_its_default() -> None:
    @dataclass(frozen=True)
    class StrokeOptions:
        strength: int = 512

    @dataclass(frozen=True)
    class Longer(Recipe):
        stroke: StrokeOptions = field(default_factory=StrokeOptions)

    assert Longer().checksum() == DEFAULTS
    assert Longer(stroke=StrokeOptions(1024)).checksum() != DEFAULTS


def test_option_names_are_unique_over_all_groups() -> None:
    names = [name for name, _ in variants(Recipe())]
    assert len(set(names)) == len(names)


def test_a_recipe_is_made_of_options_and_goes_between_processes() -> None:
    recipe = Recipe.of(ConvertOptions.of(min_face=3, format="webp"))
    assert recipe == Recipe(FaceOptions(min_face=3), FileOptions("webp"))
    assert pickle.loads(pickle.dumps(recipe)).checksum() == recipe.checksum()


def test_landmarks_beside_an_aligned_portrait_count() -> None:
    aligned = Recipe(FaceOptions(aligned=True))
    assert aligned.checksum() == ALIGNED
    assert aligned.checksum(Version(20, 1)) == ALIGNED_WITH_LANDMARKS
