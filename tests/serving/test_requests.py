"""What a request may ask for."""

import pytest

from apdraw_cli.conversion.formats import FORMATS
from apdraw_cli.conversion.options import FileOptions
from apdraw_cli.serving.requests import media_type, wanted
from engines.errors import OptionsError


def test_what_is_not_said_is_as_the_server_was_started() -> None:
    asked = wanted({}, "*/*", FileOptions(format="webp"))
    assert (asked.file, asked.as_json) == (FileOptions(format="webp"), False)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_can_be_asked_for_by_name_and_by_media_type(name: str) -> None:
    assert wanted({"format": name}, "", FileOptions()).file.format == name
    kind = media_type(name)
    assert kind != "application/octet-stream"
    assert media_type(wanted({}, f"text/html, {kind};q=0.9", FileOptions()).file.format) == kind


def test_what_is_asked_for_by_name_counts_more_than_the_header() -> None:
    assert wanted({"format": "png"}, "image/webp", FileOptions()).file.format == "png"
    assert wanted({"json": "false"}, "application/json", FileOptions()).as_json is False
    assert wanted({}, "application/json", FileOptions()).as_json is True
    assert wanted({"json": ""}, "", FileOptions()).as_json is True


@pytest.mark.parametrize(
    ("query", "told"),
    [({"format": "bmp"}, "format must be one of"), ({"colour": "red"}, "colour"), ({"json": "maybe"}, "true or false")],
)
def test_what_makes_no_sense_is_refused_in_a_line(query: dict[str, str], told: str) -> None:
    with pytest.raises(OptionsError, match=told) as caught:
        wanted(query, "", FileOptions())
    assert "\n" not in str(caught.value)
