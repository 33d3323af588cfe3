"""What a request may ask for: the options of pages and files, each a parameter of the query, and JSON."""

import dataclasses
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from types import NoneType
from typing import Any, Final, get_args

from apdraw_cli.conversion.formats import FORMATS
from apdraw_cli.conversion.options import FileOptions, PageOptions, check_together
from apdraw_cli.conversion.recipe import Recipe
from engines.errors import OptionsError
from engines.options import choices_of, described, spelled

PARAMETERS: Final = {
    name: option
    for name, option in (described(PageOptions) | described(FileOptions)).items()
    if name != "overview"  # a file beside the drawings
}
"""Field and type of each option that is a parameter, by name."""

JSON: Final = "application/json"

TRUE: Final = ("true", "1", "yes", "on", "")
FALSE: Final = ("false", "0", "no", "off")


@dataclass(frozen=True)
class Wanted:
    """What a request asks for.

    Attributes:
        recipe: what its drawings look like.
        as_json: a JSON object with all drawings and what is known of the faces, in place of the first drawing's file.
    """

    recipe: Recipe
    as_json: bool


def wanted(query: Mapping[str, str], accept: str, default: Recipe) -> Wanted:
    """What a request asks for.

    Args:
        query: its parameters, named like options, with underscores or hyphens.
        accept: its header `Accept`; counts where the parameters do not say.
        default: what drawings look like where it asks for nothing else.

    Raises:
        OptionsError: there is no such parameter, or it has a value that is not allowed.
    """
    given: dict[str, Any] = {}
    as_json = None
    for name, text in query.items():
        option = name.replace("-", "_")
        if option == "json":
            as_json = _truth(option, text)
        elif option in PARAMETERS:
            field, kind = PARAMETERS[option]
            parse = field.metadata["parse"]
            given[option] = parse(text) if parse else text if choices_of(field, kind) else _value(option, text, kind)
        else:
            raise OptionsError(f"there is no parameter {name!r}: see /docs")
    accepted = [part.partition(";")[0].strip().lower() for part in accept.split(",")]
    if as_json is None:
        as_json = JSON in accepted
    if "format" not in given:
        fitting = (name for kind in accepted for name in FORMATS if media_type(name) == kind)
        given["format"] = next(fitting, default.format)
    of_page = described(PageOptions)
    page = dataclasses.replace(default.page, **{name: value for name, value in given.items() if name in of_page})
    file = dataclasses.replace(default.file, **{name: value for name, value in given.items() if name not in of_page})
    check_together(default.faces, file, page)
    return Wanted(dataclasses.replace(default, page=page, file=file), as_json)


def media_type(format_name: str) -> str:
    """The media type of a file format."""
    return mimetypes.guess_type(f"drawing{FORMATS[format_name].suffix}")[0] or "application/octet-stream"


def _value(name: str, text: str, kind: Any) -> Any:
    kinds = [part for part in get_args(kind) or (kind,) if part is not NoneType]
    if bool in kinds:
        return _truth(name, text)
    for number in (int, float):
        if number in kinds:
            try:
                return number(text)
            except ValueError:
                continue
    if str in kinds:
        return text
    raise OptionsError(f"{spelled(name)} must be a number, not {text!r}")


def _truth(name: str, text: str) -> bool:
    if text.lower() in TRUE:
        return True
    if text.lower() in FALSE:
        return False
    raise OptionsError(f"{spelled(name)} must be true or false, not {text!r}")
