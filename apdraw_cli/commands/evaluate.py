"""`apdraw evaluate`: how close a model's drawings, or drawings made elsewhere, come to a data set's own."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from apdraw_cli.commands.convert import generator_engine
from apdraw_cli.commands.drawings_elsewhere import folder_drawer
from apdraw_cli.commands.options import EvaluateOptions
from engines.atomic_files import replacing
from engines.errors import ExitCode, FeaturesError, UnfitError, UsageError, first_line
from engines.installed import pip_install

if TYPE_CHECKING:
    from engines.base import Engine
    from engines.portrait import Image, PortraitBatch
    from train.evaluation.evaluate import Draw, LeftOut, Measured, Scores
    from train.evaluation.fid import Extractor

FOLDER_BATCH: Final = 8

SHEET: Final = "worst.png"
REPORT: Final = "evaluation.json"


@dataclass(frozen=True)
class EvaluateResult:
    """What was measured; `train.evaluation.metrics` says what the scores are.

    Attributes:
        model: as named.
        engine: what drew it, on which device and in which precision; None for a folder.
        dataset: as named.
        split: as named.
        split_portraits: how many portraits the split holds.
        measured: how many of them were measured.
        mean: the scores' means over them.
        fid: Frechet Inception distance between the drawings and the data set's own; None if not measured.
        fid_notes: why it was not measured, or what is to be known about it; one sentence each.
        paper_fid: Table 1 of the paper, measured on its 70 test pairs.
        left_out: the portraits that were not measured, and why.
        worst: names of the ten with the largest Chamfer distance, the largest first.
        portraits: all scores.
    """

    model: Path
    engine: str | None
    dataset: Path
    split: str
    split_portraits: int
    measured: int
    mean: "Scores"
    fid: float | None
    fid_notes: tuple[str, ...]
    paper_fid: dict[str, float]
    left_out: tuple["LeftOut", ...]
    worst: tuple[str, ...]
    portraits: tuple["Measured", ...]

    @property
    def exit_code(self) -> ExitCode:
        """Of the command: 1 if portraits were left out."""
        return ExitCode.PARTLY if self.left_out else ExitCode.DONE


def evaluate(options: EvaluateOptions, progress: Callable[[int, int], None]) -> "tuple[EvaluateResult, Image]":
    """Draws the portraits of a data set, or reads drawings of them, and measures these against its own drawings.

    Args:
        options: what to do.
        progress: is told how many portraits are done, and of how many.

    Returns:
        The result, and the worst portraits as a contact sheet: uint8 [H, W, 3], RGB.

    Raises:
        UsageError: there is nothing to measure.
        UnfitError: a package is missing, the model cannot be used, or FID was asked for and cannot be had.
    """
    try:
        import torchmetrics  # noqa: F401

        from train.data.pairs import PortraitPairs
        from train.evaluation.evaluate import FID_SAMPLES, PAPER_FID, sheet_of
        from train.evaluation.evaluate import evaluate as run
    except ImportError as error:
        raise UnfitError(f"evaluating needs {error.name}; install it with: {pip_install('train')}") from error
    except RuntimeError as error:  # torchmetrics loads torchvision where there is one
        raise UnfitError(
            f"torchmetrics cannot be loaded ({first_line(error)}); "
            "if there is a torchvision made for another torch, remove it or install both anew"
        ) from error
    pairs = PortraitPairs(options.dataset, options.measure.split)
    engine = None if options.model.is_dir() else generator_engine(options.engine, options.model)
    draw = folder_drawer(options.model, pairs.names) if engine is None else _engine_drawer(engine)
    features, notes = _open_features(options)
    if options.output is not None:
        _make_folder(options.output)
    try:
        found = run(
            pairs,
            draw,
            batch_size=options.engine.batch_size or (FOLDER_BATCH if engine is None else engine.batch_size),
            limit=options.measure.limit,
            features=features,
            progress=progress,
        )
    finally:
        if engine is not None:
            engine.close()
    if features is not None and found.fid is None:
        if options.measure.fid_is_a_must:
            raise UsageError("FID needs two portraits at least, and one was measured: raise --limit or leave out --fid")
        notes = ["FID was not measured: it needs two portraits at least."]
    elif found.fid is not None and len(found.portraits) < FID_SAMPLES:
        notes.append(
            f"FID over {len(found.portraits)} portraits: with fewer than {FID_SAMPLES} it is biased upwards, "
            "so that it compares only with FIDs over the same portraits."
        )
    result = EvaluateResult(
        model=options.model,
        engine=None if engine is None else f"{engine.name} on {engine.device} in {engine.precision}",
        dataset=options.dataset,
        split=options.measure.split,
        split_portraits=len(pairs),
        measured=len(found.portraits),
        mean=found.mean,
        fid=found.fid,
        fid_notes=tuple(notes),
        paper_fid=dict(PAPER_FID),
        left_out=found.left_out,
        worst=tuple(example.name for example in found.worst),
        portraits=found.portraits,
    )
    return result, sheet_of(found.worst)


def save(result: EvaluateResult, sheet: "Image", output: Path) -> None:
    """Writes the result as `evaluation.json` and the sheet as `worst.png` into a folder; older ones are replaced.

    Raises:
        UnfitError: they cannot be written.
    """
    import cv2

    try:
        report = json.dumps(dataclasses.asdict(result), default=str, indent=1)
        with replacing(output / REPORT) as file:
            file.write(f"{report}\n".encode())
        with replacing(output / SHEET) as file:
            file.write(cv2.imencode(".png", sheet[..., ::-1])[1].tobytes())
    except OSError as error:
        raise UnfitError(f"cannot write into {output} ({error.strerror}); name another folder") from error


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"the folder {folder} cannot be made ({error.strerror}): name another --output") from error


def _engine_drawer(engine: "Engine") -> "Draw":

    def draw(names: Sequence[str], portraits: "PortraitBatch") -> "list[Image | str]":
        return list(engine.draw(portraits))

    return draw


def _open_features(options: EvaluateOptions) -> "tuple[Extractor | None, list[str]]":
    """The features of FID, if they can be had, and what is to be said about that."""
    import torch

    from train.evaluation.fid import WEIGHTS, inception_features, usual_weights

    if options.measure.fid is False:
        return None, ["FID was not measured: --no-fid."]
    device = options.engine.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    notes = []
    try:
        if options.measure.features is not None and not usual_weights(options.measure.features):
            notes.append(f"FID by {options.measure.features}, not the usual {WEIGHTS}: it compares with no other.")
        return inception_features(options.measure.features, device), notes
    except FeaturesError as error:
        if options.measure.fid_is_a_must:
            raise
        return None, [f"Not measured: {error}"]
