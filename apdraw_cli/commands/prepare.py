"""`apdraw prepare`: photos become a training set, with an artist's drawings or two-tone ones (sec. 6 of the paper)."""

import hashlib
import json
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from apdraw_cli import __version__
from apdraw_cli.datasets.meshes import read_meshes
from apdraw_cli.datasets.options import LeftOut, PrepareOptions, PrepareResult, count_reasons
from apdraw_cli.datasets.pairing import NOT_THERE, Pairing, Task, pair, read_splits, split_of, with_both_splits
from apdraw_cli.datasets.records import PairRecord, Records
from engines.cpu import usable_cores
from engines.errors import UsageError
from train.data.layout import FOLDERS, LINES, MESHES

MOST_SECONDS: Final = 600.0
"""A photo that takes a worker longer, twice, is left out."""

ProgressCallback = Callable[[int, int], None]
"""Is told how many of how many photos are done."""


def prepare(options: PrepareOptions, progress: ProgressCallback) -> PrepareResult:
    """Aligns photos, segments them, and brings drawings into the same frame; only what is missing or has changed.

    Written below the data set's folder: `photos/NAME.png`, `drawings/NAME.png`, `landmarks/NAME.txt`, `masks/NAME.png`
    (255 person), `labels/NAME.png` (0 background, 1 person, 2 face oval), with two-tone drawings `lines/NAME.png` (0 on
    a black line, 255 on a white one, else 128), with those of the procedural artist `meshes/NAME.txt` (478 lines `x y`,
    pixels), `index.jsonl` (see `records`) and `contact-sheet.jpg`. Portraits in a round frame are written too, since a
    segmenter can learn from them, but count as left out: their rim would be drawn as a line. Files that an earlier run
    wrote of a photo that is gone or left out now are removed.

    Args:
        options: what to do.
        progress: is told how it goes.

    Raises:
        UsageError: there are no photos or none can be used, a folder or the index cannot be used.
        UnfitError: a file cannot be written, or faces cannot be found here.
    """
    splits = read_splits(options.pairs.index) if options.pairs.index else {}
    if options.pairs.labels and not options.pairs.labels.is_dir():
        raise UsageError(f"{options.pairs.labels} is no folder: name one with label maps")
    if options.pairs.drawings and options.pairs.drawings.resolve() == options.photos.resolve():
        raise UsageError(f"{options.pairs.drawings} holds the photos: name another folder for the drawings")
    pairing = pair(options.photos, options.pairs.drawings, options.pairs.labels, _what_decides(options))
    sources = {task.photo.name for task in pairing.tasks}
    sources |= {record.source for record in pairing.left_out if record.source}
    named = {_composed(source) for source in sources}
    if splits and not splits.keys() & named:
        raise UsageError(f"the index {options.pairs.index} names none of the photos in {options.photos}: name another")
    if options.pairs.meshes:
        read_meshes(options.pairs.meshes)
    absent = {LINES: options.pairs.npr is None, MESHES: options.pairs.npr != "artist"}
    folders = [folder for folder in FOLDERS if not absent.get(folder)]
    used = [folder for folder in (options.photos, options.pairs.drawings, options.pairs.labels) if folder]
    with Records(options.dataset, used, folders) as records:
        if records.indexed and not {record.source for record in records.indexed.values()} & sources:
            raise UsageError(f"{options.dataset} was made of other photos: name another folder for the data set")
        known = {task.name: records.known(task.name, task.fingerprint) for task in pairing.tasks}
        made = {name: record for name, record in known.items() if record}
        kept = sum(record.left_out is None for record in made.values())
        try:
            for record in _made(options, [task for task in pairing.tasks if not known[task.name]], progress):
                records.add(record)
                made[record.name] = record
        except KeyboardInterrupt:
            return _result(options, pairing, list(made.values()), kept, None, interrupted=True)
        found = [
            replace(record, split=splits.get(_composed(record.source)) or split_of(record.name))
            if record.source
            else record
            for record in sorted([*made.values(), *pairing.left_out, *_absent(splits, named)], key=_file)
        ]
        if not splits:
            found = with_both_splits(found)
        portraits = [record for record in found if not record.left_out]
        sheet = None
        if portraits:
            from apdraw_cli.datasets.contact_sheet import write_contact_sheet

            sheet = write_contact_sheet(options.dataset, portraits)
        records.finish(found)
    result = _result(options, pairing, found, kept, sheet)
    if not portraits:
        reason, count = next(iter(result.reasons.items()))
        raise UsageError(
            f"none of the {len(sources)} photos in {options.photos} can be used, {count} for this reason: {reason}; "
            "name a folder of portraits"
        )
    return result


def _made(options: PrepareOptions, tasks: list[Task], progress: ProgressCallback) -> Iterator[PairRecord]:
    """Makes portraits, and yields their records as they are finished."""
    if not tasks:
        return
    from apdraw_cli.conversion.executors.crew import Loss
    from apdraw_cli.conversion.executors.process_pool import FEW_PHOTOS, MOST_WORKERS, WorkerPool
    from apdraw_cli.datasets.portraits import TOO_SLOW, WORKER_DIED, PortraitPreparer, blank

    pairs = options.pairs
    preparer = PortraitPreparer(options.dataset, pairs.least_agreement, pairs.npr, pairs.meshes)
    workers = pairs.workers
    if workers is None:
        workers = 0 if len(tasks) <= FEW_PHOTOS else min(usable_cores(), MOST_WORKERS, len(tasks))
    progress(0, len(tasks))
    if workers == 0:
        preparer.check()
        results: Iterable[tuple[Task, PairRecord | Loss]] = ((task, preparer.prepare(task)) for task in tasks)
    else:
        pool: WorkerPool[Task, PairRecord] = WorkerPool(
            preparer.prepare, preparer.check, workers, lambda: False, limit=MOST_SECONDS
        )
        results = pool.results(iter(tasks))
    for done, (task, record) in enumerate(results, 1):
        yield (
            replace(blank(task), left_out=WORKER_DIED if record is Loss.DIED else TOO_SLOW)
            if isinstance(record, Loss)
            else record
        )
        progress(done, len(tasks))


def _what_decides(options: PrepareOptions) -> str:
    """All but the files themselves that decides what portraits look like."""
    from apdraw_cli.faces import mesh
    from apdraw_cli.faces.segment import WEIGHTS

    decisive: dict[str, object] = {"version": __version__, "labels": options.pairs.labels is not None}
    if options.pairs.labels is None and WEIGHTS.is_file():
        decisive["segmenter"] = _sha256(WEIGHTS)
    if options.pairs.drawings:
        decisive["min_agreement"] = options.pairs.least_agreement
    else:
        decisive["npr"] = package_sha256("train.npr")
        if options.pairs.npr == "artist":
            decisive["artist"] = package_sha256("train.artist")
            meshes = options.pairs.meshes or mesh.WEIGHTS
            decisive["meshes"] = _sha256(meshes) if meshes.is_file() else None
    return json.dumps(decisive, sort_keys=True)


def package_sha256(package: str) -> str:
    """The checksum of a package's source: of all its modules, those of its sub-packages too, with their names."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"there is no package {package}", name=package)
    folder = Path(spec.origin).parent
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(f"{path.relative_to(folder).as_posix()} {_sha256(path)}\n".encode())
    return digest.hexdigest()


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _absent(splits: dict[str, str], sources: set[str]) -> list[PairRecord]:
    return [PairRecord(name, None, left_out=NOT_THERE) for name in splits if name not in sources]


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _file(record: PairRecord) -> str:
    """What a record is about, in the user's folders."""
    return record.source or record.drawing or record.name


def _result(
    options: PrepareOptions,
    pairing: Pairing,
    records: list[PairRecord],
    kept: int,
    sheet: Path | None,
    *,
    interrupted: bool = False,
) -> PrepareResult:
    portraits = [record for record in records if not record.left_out]
    left_out = tuple(LeftOut(_file(r), r.left_out, r.detail or "") for r in records if r.left_out)
    return PrepareResult(
        dataset=options.dataset,
        prepared=len(portraits),
        kept=kept,
        registered=sum(bool(record.registered) for record in portraits),
        left_out=left_out,
        reasons=count_reasons(left_out),
        unread=pairing.unread,
        contact_sheet=sheet,
        interrupted=interrupted,
    )
