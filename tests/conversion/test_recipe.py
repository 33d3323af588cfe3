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

DEFAULTS = "e484a5c2d13c290ddb39cd8cab98baf165faacceba1bbdb7f2d3e157ba87e4c4"
OTHERS = "0791558861f94e30c6520542e3c2f7b1bec57b889de4ed34bbe2c287eb0a80a2"
ALIGNED = "4306e15a500b39f16d93f917cdc4c69763b6740dbdb9d4e75eb3290fa10e9ffa"
ALIGNED_WITH_LANDMARKS = "1e61e9a16fb4bff626d86b72d60c57457ee4af83acde47af8bffdcb9d7fbddb7"


def test_drawings_of_earlier_commits_stay_current() -> None:
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
