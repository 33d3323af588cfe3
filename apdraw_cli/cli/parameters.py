"""Makes Typer parameters out of options dataclasses, so that each option is said once, where it is defined."""

import dataclasses
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Final, Literal, get_args, get_origin

import typer

from engines.options import choices_of, described

WIDEST_CHOICE: Final = 12
"""Letters of choices that stand in the place of a value."""


@dataclasses.dataclass(frozen=True)
class Said:
    """Marks a parameter of a command: a dict of those common options of a dataclass that the user gave a value.

    Attributes:
        group: the dataclass.
    """

    group: type


class Parameters:
    """What a command is called with, and what its user types for it.

    A parameter whose type is an options dataclass becomes one option for each of its fields; the command is handed such
    a dataclass. One annotated as `Annotated[dict, Said(Options)]` becomes the common options of `Options`; the command
    is handed what the user said of them. All others are as Typer has them.

    Args:
        function: the command.
        leave_out: parameters of it that nobody types.

    Attributes:
        typed: the parameters to be typed, for Typer; those that must be given first.
    """

    def __init__(self, function: Callable[..., object], *, leave_out: tuple[str, ...] = ()) -> None:
        self._groups: dict[str, type[Any]] = {}
        self._said: dict[str, type[Any]] = {}
        found = []
        for parameter in inspect.signature(function, eval_str=True).parameters.values():
            mark = next((mark for mark in get_args(parameter.annotation) if isinstance(mark, Said)), None)
            if parameter.name in leave_out:
                continue
            if mark is not None:
                self._said[parameter.name] = mark.group
                found += [
                    _parameter(field, kind, unset=True)
                    for field, kind in described(mark.group).values()
                    if field.metadata["common"]
                ]
            elif isinstance(parameter.annotation, type) and dataclasses.is_dataclass(parameter.annotation):
                self._groups[parameter.name] = parameter.annotation
                found += [_parameter(*option) for option in described(parameter.annotation).values()]
            else:
                found.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
        self.typed = sorted(found, key=lambda parameter: parameter.default is not parameter.empty)

    def collect(self, typed: dict[str, Any]) -> dict[str, Any]:
        """The arguments of the command, made of what was typed.

        Raises:
            OptionsError: a dataclass refuses it.
        """
        handed = {name: group(**dict(_taken(group, typed))) for name, group in self._groups.items()}
        handed |= {
            name: {option: value for option, value in _taken(group, typed) if value is not None}
            for name, group in self._said.items()
        }
        return typed | handed


def _taken(group: type[Any], typed: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Takes the options of a dataclass out of what was typed."""
    for name, (field, _) in described(group).items():
        if name in typed:
            value, parse = typed.pop(name), field.metadata["parse"]
            if parse is None:
                yield name, value
            elif value is not None:
                yield name, parse(value)


def _parameter(field: "dataclasses.Field[Any]", kind: Any, *, unset: bool = False) -> inspect.Parameter:
    """A field as an option; `unset` makes its default None, whatever the field's is."""
    about = field.metadata
    help_, metavar = _told(field, kind)
    default = None if unset or about["parse"] else field.default
    shown = about["shown"] or (str(field.default) if unset and field.default not in (None, "") else None)
    if about["choices"]:
        may_be_unset = NoneType in get_args(kind)
        kind = Literal[about["choices"]]
        kind = kind | None if may_be_unset else kind
    takes_path = Path in get_args(kind) and about["parse"] is not None
    if takes_path:  # or a URL: were this a Path, Typer before 0.29 would make one of it, too
        kind = str | None
    elif get_origin(kind) is tuple:
        kind = list[str] | None
    elif about["parse"]:
        kind = str | None
    elif unset:
        kind = kind | None
    names = about["names"]
    if kind is bool and not names:
        names = (f"--{field.name.replace('_', '-')}",)  # and no --no-
    typed = typer.Option(
        *names,
        help=help_,
        show_default=shown if shown else field.default not in (None, "", False),
        rich_help_panel=about["panel"],
        metavar=metavar,
        parser=about["parse"] if takes_path else None,
        min=about["min"],
        max=about["max"],
    )
    return inspect.Parameter(
        field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, typed]
    )


def _told(field: "dataclasses.Field[Any]", kind: Any) -> tuple[str, str | None]:
    """The help of an option, and what it calls the value: long choices would leave no room for the rest of the help."""
    told, metavar = field.metadata["help"], field.metadata["metavar"]
    words = choices_of(field, kind)
    if metavar is None and len("|".join(words)) > WIDEST_CHOICE:
        return f"{told} One of {', '.join(words)}.", field.name.replace("_", "-").upper()
    if metavar is None and not words and int in (kind, *get_args(kind)) and bool not in (kind, *get_args(kind)):
        return told, "N"
    return told, metavar
