"""apdraw with stand-ins for faces and generator, as a program of its own.

python stand_ins.py convert photos -o drawings
"""

import functools
from collections.abc import Callable
from typing import Any

from conversion_fakes import FakeEngine, engine_opener, fake_extractor

from apdraw_cli import app
from apdraw_cli.commands import convert, doctor, pipe, serve


def put_in(replace: Callable[[Any, str, Any], None]) -> None:
    """Puts them into all commands that draw, with a function like `setattr`."""
    drawing = {"open_engine": engine_opener(FakeEngine()), "open_extractor": fake_extractor}
    for module, name in ((convert, "convert"), (pipe, "through_pipe"), (serve, "serve")):
        replace(module, name, functools.partial(getattr(module, name), **drawing))
    replace(doctor, "import_faults", lambda modules: {})
    replace(doctor, "drawing_fault", lambda arguments: None)


if __name__ == "__main__":
    put_in(setattr)
    app.main()
