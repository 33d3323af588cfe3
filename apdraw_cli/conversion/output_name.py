"""What the name of the output says: whether it is a drawing's file, and in which format that is written."""

from pathlib import Path
from typing import TypeGuard

from apdraw_cli.conversion.formats import FORMATS
from apdraw_cli.conversion.sources import EXTENSIONS
from apdraw_cli.conversion.storage import Place
from engines.errors import UsageError


def names_file(output: Place) -> TypeGuard[Path]:
    """Whether an output is a drawing's file by its ending, and not a folder that is there."""
    if isinstance(output, str):
        return False
    return output.suffix.lower() in EXTENSIONS | {each.suffix for each in FORMATS.values()} and not output.is_dir()


def format_of(output: Place | None, said: str | None) -> str | None:
    """The format that drawings are written in.

    Args:
        output: the output folder or file; None if nothing was named.
        said: the value of `--format`; None if it was not given.

    Returns:
        The format that the name of the output file ends in; for a folder what was said.

    Raises:
        UsageError: drawings are not written in the format of that ending, or another was said.
    """
    if output is None or not names_file(output):
        return said
    suffix = output.suffix
    found = next((each for each in FORMATS.values() if each.suffix == suffix), None)
    if found is None:
        raise UsageError(
            f"drawings are not written as {suffix}: choose of {' '.join(e.suffix for e in FORMATS.values())}"
        )
    if said is not None and FORMATS[said].encode is not found.encode:  # jpg and jpeg are one
        raise UsageError(
            f"{output} ends in {suffix}, but --format is {said}: name it {output.stem}{FORMATS[said].suffix}, or give "
            f"--format {found.name}"
        )
    return found.name
