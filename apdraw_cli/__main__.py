"""`python -m apdraw_cli`: the command `apdraw`, whatever the current folder holds.

For `-m` Python puts the current folder first on the path of imports. A `train.py` there, as most researchers' folders
have one, would run in place of the package `train`; so that folder is taken off again, unless it is the clone that
this package itself lies in.
"""

import sys
from pathlib import Path


def main() -> None:
    """Runs the command with the current folder off the path of imports."""
    here, clone = Path.cwd(), Path(__file__).resolve().parents[1]
    if here != clone:
        sys.path[:] = [entry for entry in sys.path if entry and Path(entry) != here]
    from apdraw_cli.app import main as run

    run()


if __name__ == "__main__":
    main()
