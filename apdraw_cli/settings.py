"""The settings file `apdraw.toml`: options of commands, which the command line takes for its defaults.

    device = "cuda"          # of every command that has such an option

    [convert]                # of one command
    faces = "all"
    exclude = ["*.gif", "raw"]

Options are named as on the command line, without the dashes in front. What is typed counts more, and so does the
environment. A path is relative to the folder of the file.
"""

import difflib
import inspect
import os
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, get_args, get_origin

from typer.models import OptionInfo

from engines.errors import UsageError
from engines.regular_files import open_regular

NAME: Final = "apdraw.toml"

VARIABLE: Final = "APDRAW_CONFIG"
"""Names a settings file for all commands."""

NOT_FOUND_BY_CHANCE: Final = ("config", "log_file")
"""Options that a file in the current folder, which may have come with photos, cannot set; nor can it name a .engine
file, which is code."""

Defaults = dict[str, dict[str, Any]]
"""Values of parameters by command and by their names in the program."""


@dataclass(frozen=True)
class Option:
    """An option of a command, as far as it can be set elsewhere than on the command line.

    Attributes:
        name: its spelling, without the dashes in front.
        parameter: its name in the program.
        variable: name of its environment variable.
        kind: type of its value.
        default: its value where nothing is said, or what that means.
    """

    name: str
    parameter: str
    variable: str
    kind: Any
    default: Any

    @property
    def is_path(self) -> bool:
        """Whether its value is a path."""
        return Path in (self.kind, *get_args(self.kind))

    @property
    def wants(self) -> str:
        """What its value must be, in a settings file."""
        if self.kind is bool or bool in get_args(self.kind):
            return "true or false"
        return "a list of texts" if self._is_list else "a text or a number"

    @property
    def _is_list(self) -> bool:
        return any(get_origin(kind) is list for kind in (self.kind, *get_args(self.kind)))

    def takes(self, value: Any) -> bool:
        """Whether a settings file may have this value for it; what it means is checked later."""
        if self._is_list:
            return isinstance(value, list) and all(isinstance(each, str) for each in value)
        if self.wants == "true or false":
            return isinstance(value, bool)
        return isinstance(value, str | int | float) and not isinstance(value, bool)


@dataclass(frozen=True)
class Settings:
    """The settings file that counts, and what it says.

    Attributes:
        options: options of each command, by name.
        file: None if there is none.
        defaults: values by command and by name of the parameter.
    """

    options: Mapping[str, Mapping[str, Option]]
    file: Path | None = None
    defaults: Defaults = field(default_factory=dict)

    def found(self) -> "Settings":
        """Those of the file that `APDRAW_CONFIG` names, else of that in the current folder.

        Raises:
            UsageError: the file cannot be read, or names what there is not.
        """
        named = os.environ.get(VARIABLE)
        if not named and not os.path.lexists(NAME):
            return self
        path = Path(named or NAME).absolute()
        return Settings(self.options, path, read_settings(path, self.options, by_chance=not named))

    def of(self, file: Path) -> "Settings":
        """Those of a file instead.

        Raises:
            UsageError: it cannot be read, or names what there is not.
        """
        return Settings(self.options, file.absolute(), read_settings(file.absolute(), self.options))


def options_of(run: Callable[..., None]) -> dict[str, Option]:
    """The options of a command that can be set elsewhere, by their names.

    Args:
        run: the function that Typer calls, with the signature that Typer sees.
    """
    found = {}
    for parameter in inspect.signature(run).parameters.values():
        kind, about = get_args(parameter.annotation)[:2] if get_args(parameter.annotation) else (None, None)
        if isinstance(about, OptionInfo) and not about.is_eager and isinstance(about.envvar, str):
            name = spelling_of(about, parameter.name)
            if about.parser is not None:  # one of paths and URLs; there are no others
                kind = Path | None
            shown = about.show_default if isinstance(about.show_default, str) else parameter.default
            found[name] = Option(name, parameter.name, about.envvar, kind, shown)
    return found


def spelling_of(about: OptionInfo, parameter: str) -> str:
    """The name of an option on the command line, without the dashes in front."""
    spellings = map(str, (about.default, *(about.param_decls or ())))  # Typer takes the first one for a default
    spelled = next((name for name in spellings if name.startswith("--")), parameter)
    return spelled.partition("/")[0].strip("-").replace("_", "-")


def read_settings(path: Path, options: Mapping[str, Mapping[str, Option]], *, by_chance: bool = False) -> Defaults:
    """Reads a settings file.

    Args:
        path: the file.
        options: options of each command.
        by_chance: it was not named, but lies in the current folder.

    Raises:
        UsageError: it cannot be read, or names what there is not.
    """
    told = path.name if by_chance else str(path)
    try:
        with open_regular(path) as file:
            values = tomllib.load(file)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}; name another settings file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{told} is no TOML file: {error}") from error
    shared = {name: value for name, value in values.items() if not isinstance(value, dict)}
    defaults: Defaults = {command: {} for command in options}
    for name, value in shared.items():
        holders = [command for command in options if _plain(name) in options[command]]
        if not holders:
            known = {each for of_command in options.values() for each in of_command}
            raise UsageError(f"{told}: no command has an option {name}{_like(name, known)}")
        for command in holders:
            _set(defaults[command], options[command][_plain(name)], value, f"{told}: {name}", path, by_chance)
    for command in values.keys() - shared.keys():
        if command not in options:
            raise UsageError(f"{told}: there is no command {command}{_like(command, options)}")
        for name, value in values[command].items():
            if _plain(name) not in options[command]:
                like = _like(name, options[command])
                raise UsageError(f"{told}: apdraw {command} has no option {name}{like}; see: apdraw {command} --help")
            option = options[command][_plain(name)]
            _set(defaults[command], option, value, f"{told}: {command}.{name}", path, by_chance)
    return defaults


def _set(defaults: dict[str, Any], option: Option, value: Any, told: str, path: Path, by_chance: bool) -> None:
    if not option.takes(value):
        raise UsageError(f"{told} must be {option.wants}, not {value!r}")
    if option.is_path and "://" not in str(value):
        value = str(path.parent / Path(value).expanduser())
    if by_chance and (option.parameter in NOT_FOUND_BY_CHANCE or str(value).lower().endswith(".engine")):
        raise UsageError(
            f"{told} is not taken from a file that was not named, which may have come with the photos: name it with "
            f"--config {path.name}, or set it on the command line"
        )
    defaults[option.parameter] = value


def _plain(name: str) -> str:
    return name.replace("_", "-")


def _like(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(_plain(name), list(known), 1)
    return f" (did you mean {close[0]}?)" if close else ""
