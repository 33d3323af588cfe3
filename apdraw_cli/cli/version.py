"""`apdraw version` as its user sees it."""

import platform

from apdraw_cli import __version__
from apdraw_cli.cli.common import command
from apdraw_cli.console import Console

EXAMPLES = """
Examples:
  apdraw version
  apdraw version --json

apdraw doctor shows the versions of what it draws with.
"""


@command(epilog=EXAMPLES)
def version(console: Console) -> int:
    """Prints the version."""
    return console.show({"python": platform.python_version(), "system": platform.platform()}, _tell)


def _tell(console: Console, result: dict[str, str]) -> None:
    console.say(f"apdraw {__version__}")
    console.say(f"Python {result['python']}, {result['system']}")
