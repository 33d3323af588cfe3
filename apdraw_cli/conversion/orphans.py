"""Finds orphans: drawings that earlier runs left behind, of photos that are gone or made with other options.

Only what the manifest tells of counts, and only what was drawn of the sources of this very command: a photo in one of
its folders that the walk has not met, one of its sources that is gone, or an earlier drawing of a photo that has others
now. What the walk could not look into, and photos that failed, keep their drawings. Whoever removes an orphan makes
sure that it is a drawing of this program.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

from apdraw_cli.conversion.manifest import History, Record, every_output
from apdraw_cli.conversion.overview import SUFFIX as OVERVIEW
from apdraw_cli.conversion.plan import Step
from apdraw_cli.conversion.sources import SourceSet
from apdraw_cli.conversion.storage import Storage, open_storage


class Orphans:
    """Takes note of the steps of a command, and tells afterwards which drawings have no photo any more.

    Args:
        sources: its photos.
        history: what the manifest knows.
        several: a photo may have several drawings.
    """

    def __init__(self, sources: SourceSet, history: History, *, several: bool) -> None:
        self._sources = sources
        self._history = history
        self._several = several
        self._met: set[str] = set()
        self._not_read: list[str] = []
        self._planned: dict[str, str] = {}

    def noting(self, steps: Iterable[Step], *, drawn: bool) -> Iterator[Step]:
        """Passes steps on.

        Args:
            steps: all steps of the command.
            drawn: they are carried out before orphans are asked for, so that the history tells what came of them.
        """
        for step in steps:
            self._met.add(step.source.name)
            if step.source.error is not None:
                self._not_read.append(step.source.name)
            if step.settled is None and not drawn:
                self._planned[step.source.name] = step.drawing
            yield step

    def found(self, folder: Storage) -> Iterator[str]:
        """The orphans, as names below the output folder; none before all steps have passed, or where there were none.

        Args:
            folder: the output folder.
        """
        if not self._met:  # perhaps a disk that is not there
            return
        told: set[str] = set()
        for output in every_output(folder, self._sources.manifest):
            owner = self._history.owner(output)
            if owner is not None and output not in told and self._is_orphan(output, owner):
                told.add(output)
                yield output

    def _is_orphan(self, output: str, owner: Record) -> bool:
        if owner.source not in self._met:
            return self._is_gone(owner)
        drawing = self._planned.get(owner.source)
        if drawing is not None:
            return output != drawing and not (self._several and _is_numbered(output, drawing))
        return owner.status != "failed" and output not in owner.outputs

    def _is_gone(self, owner: Record) -> bool:
        """Whether a photo that the walk has not met is none of the command's any more."""
        if any(name in (".", owner.source) or owner.source.startswith(f"{name}/") for name in self._not_read):
            return False
        if any(
            owner.root == folder.root and owner.source.startswith(folder.prefix) for folder in self._sources.folders
        ):
            return True
        roots = {folder.root for folder in self._sources.folders} | {file.root for file in self._sources.files}
        return owner.root in roots and not open_storage(owner.root).exists(owner.source)


def _is_numbered(output: str, drawing: str) -> bool:
    """Whether a drawing may be one of the further files of a photo: `p.2.png` or `p.overview.jpg` of `p.png`."""
    first = PurePosixPath(drawing)
    name, suffix, overview = (re.escape(part) for part in (str(first.with_suffix("")), first.suffix, OVERVIEW))
    return re.fullmatch(rf"{name}(?:\.\d+{suffix}|{overview})", output) is not None
