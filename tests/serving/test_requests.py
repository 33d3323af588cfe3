"""What a request may ask for."""

import pytest

from apdraw_cli.conversion.formats import FORMATS
from apdraw_cli.conversion.options import FileOptions, PageOptions
from apdraw_cli.conversion.recipe import Recipe
from apdraw_cli.serving.requests import media_type, wanted
from engines.errors import OptionsError

WEBP = Recipe(file=FileOptions(format="webp"))


def test_what_is_not_said_is_as_the_server_was_started() -> None:
    asked = wanted({}, "*/*", WEBP)
    assert (asked.recipe, asked.as_json) == (WEBP, False)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_can_be_asked_for_by_name_and_by_media_type(name: str) -> None:
    assert wanted({"format": name}, "", Recipe()).recipe.format == name
    kind = media_type(name)
    assert kind != "application/octet-stream"
    assert media_type(wanted({}, f"text/html, {kind};q=0.9", Recipe()).recipe.format) == kind


def test_what_is_asked_for_by_name_counts_more_than_the_header() -> None:
    assert wanted({"format": "png"}, "image/webp", Recipe()).recipe.format == "png"
    assert wanted({"json": "false"}, "application/json", Recipe()).as_json is False
    assert wanted({}, "application/json", Recipe()).as_json is True
    assert wanted({"json": ""}, "", Recipe()).as_json is True


def test_pages_and_files_are_as_large_and_as_plain_as_asked_for() -> None:
    asked = wanted({"size": "10cm", "dpi": "600", "two-tone": "true"}, "", Recipe()).recipe
    assert asked.page == PageOptions(size="10cm", dpi=600)
    assert asked.file == FileOptions("png", two_tone=True)
    assert wanted({"size": "700"}, "", Recipe()).recipe.page.side == 700


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ({"size": "huge"}, "size must be"),
        ({"dpi": "many"}, "a number"),
        ({"format": "jpg", "two_tone": "1"}, "two-tone"),
        ({"format": "bmp"}, "format must be one of"),
        ({"colour": "red"}, "colour"),
        ({"json": "maybe"}, "true or false"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_line(query: dict[str, str], told: str) -> None:
    with pytest.raises(OptionsError, match=told) as caught:
        wanted(query, "", Recipe())
    assert "\n" not in str(caught.value)
