"""Evaluation: drawings of a data set's portraits against the data set's own (sec. 7 of the paper)."""

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final

import numpy as np
import torch

from engines.errors import DatasetError, UsageError
from engines.portrait import SIZE, WHITE, Image, Portrait, PortraitBatch
from train.contact_sheet import Row, contact_sheet, shortened
from train.data.pairs import PortraitPairs
from train.evaluation import metrics as measures
from train.evaluation.fid import Extractor

Draw = Callable[[Sequence[str], PortraitBatch], Sequence[Image | str]]
"""Takes names and portraits to drawings, uint8 [512, 512]; or in a drawing's place, why there is none."""

PAPER_FID: Final = {
    "CycleGAN": 87.82,
    "Pix2Pix": 75.30,
    "APDrawingGAN": 62.14,
    "artist's own, training against test": 49.72,
}
"""Table 1 of the paper: FID on its 70 test pairs."""

FID_SAMPLES: Final = 2048
"""With fewer drawings than Inception has features, FID is biased upwards so much that it depends on their number."""

WORST: Final = 10
"""So many portraits are kept with their pictures."""


@dataclass(frozen=True)
class LeftOut:
    """A portrait that was not measured, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Scores:
    """The measures of one drawing, or their means; each is described in `train.evaluation.metrics`.

    Attributes:
        l1: mean absolute difference from the reference, 0 to 1.
        ssim: structural similarity to the reference, at most 1.
        chamfer: distance between its lines and the reference's, in pixels.
        two_tone: share of its pixels that are nearly black or nearly white, 0 to 1.
        background: mean grey level outside the person, 0 to 255; None where there is no outside.
        reference_two_tone: the same share of the reference.
        reference_background: the same brightness of the reference.
    """

    l1: float
    ssim: float
    chamfer: float
    two_tone: float
    background: float | None
    reference_two_tone: float
    reference_background: float | None


@dataclass(frozen=True)
class Measured:
    """One portrait and the scores of its drawing."""

    name: str
    scores: Scores


@dataclass(frozen=True)
class Example:
    """One evaluated portrait with its pictures.

    Attributes:
        name: name of the portrait.
        scores: metrics of its drawing.
        photo: uint8 [512, 512, 3], RGB.
        drawing: uint8 [512, 512].
        reference: uint8 [512, 512], the data set's drawing.
    """

    name: str
    scores: Scores
    photo: Image
    drawing: Image
    reference: Image


@dataclass(frozen=True)
class Evaluation:
    """What came out.

    Attributes:
        portraits: those measured, in the data set's order.
        mean: the scores' means.
        fid: Frechet distance between the features of the drawings and of the references; None without features,
            or with fewer than two portraits.
        left_out: the portraits that were not measured.
        worst: the `WORST` with the largest Chamfer distance, the largest first. (SSIM would pick those with the
            most texture.)
    """

    portraits: tuple[Measured, ...]
    mean: Scores
    fid: float | None
    left_out: tuple[LeftOut, ...]
    worst: tuple[Example, ...]


def evaluate(
    pairs: PortraitPairs,
    draw: Draw,
    *,
    batch_size: int = 1,
    limit: int | None = None,
    features: Extractor | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Evaluation:
    """Draws portraits and measures the drawings against the data set's own.

    No pictures are kept but those of the worst, so that memory grows by the scores and the features (8 kB each with
    Inception-v3) of a portrait only.

    Args:
        pairs: the data set, unaugmented.
        draw: makes drawings, or tells why there is none.
        batch_size: portraits in a call of `draw`.
        limit: measure the first so many only.
        features: see `train.evaluation.fid`; may be any other function of the same kind.
        progress: is told after each batch how many portraits are done, and of how many.

    Raises:
        UsageError: no portrait at all could be measured.
    """
    total = len(pairs) if limit is None else min(limit, len(pairs))
    measured: list[Measured] = []
    left_out: list[LeftOut] = []
    seen: list[tuple[measures.Features, measures.Features]] = []
    worst: list[tuple[float, int, Example]] = []
    for start in range(0, total, batch_size):
        stop = min(start + batch_size, total)
        examples = _drawn(pairs, range(start, stop), draw, left_out)
        for example in examples:
            measured.append(Measured(example.name, example.scores))
            entry = (example.scores.chamfer, -len(measured), example)
            if len(worst) < WORST:
                heapq.heappush(worst, entry)
            else:
                heapq.heappushpop(worst, entry)
        if features is not None and examples:
            drawings, references = (
                np.stack(p) for p in zip(*((e.drawing, e.reference) for e in examples), strict=True)
            )
            seen.append((features(drawings), features(references)))
        progress(stop, total)
    if not measured:
        first = left_out[0]
        raise UsageError(f"none of the {total} portraits could be measured; {first.name}: {first.reason}")
    fid = None
    if len(measured) > 1 and seen:
        fid = measures.frechet_distance(*(np.concatenate(side) for side in zip(*seen, strict=True)))
    return Evaluation(
        portraits=tuple(measured),
        mean=_mean([portrait.scores for portrait in measured]),
        fid=fid,
        left_out=tuple(left_out),
        worst=tuple(example for *_, example in sorted(worst, reverse=True)),
    )


def score(drawing: Image, reference: Image, mask: Image) -> Scores:
    """Measures one drawing.

    Args:
        drawing: uint8 [512, 512].
        reference: uint8 [512, 512].
        mask: uint8 [512, 512], 255 on the person.
    """
    return Scores(
        l1=measures.l1(drawing, reference),
        ssim=measures.ssim(drawing, reference),
        chamfer=measures.chamfer_distance(drawing, reference),
        two_tone=measures.two_tone_share(drawing),
        background=measures.background_brightness(drawing, mask),
        reference_two_tone=measures.two_tone_share(reference),
        reference_background=measures.background_brightness(reference, mask),
    )


def sheet_of(examples: Sequence[Example], cell: int = SIZE // 2) -> Image:
    """Photo, drawing and reference of portraits side by side under name and scores, two portraits a row.

    Args:
        examples: one at least.
        cell: side of a picture, in pixels.

    Returns:
        uint8 [H, W, 3], RGB.
    """
    return contact_sheet([_row(example) for example in examples], cell, columns=2)


def _drawn(pairs: PortraitPairs, indices: range, draw: Draw, left_out: list[LeftOut]) -> list[Example]:
    """The portraits of a batch that could be read and drawn, with scores; the others join `left_out`."""
    names: list[str] = []
    portraits: list[Portrait] = []
    references: list[Image] = []
    for index in indices:
        try:
            pair = pairs[index]
        except DatasetError as error:
            left_out.append(LeftOut(pairs.names[index], str(error)))
            continue
        portraits.append(pair.portrait())
        references.append(_grey_levels(pair.drawing)[0])
        names.append(pairs.names[index])
    if not names:
        return []
    examples = []
    drawings = draw(names, PortraitBatch.of(portraits))
    for name, portrait, drawing, reference in zip(names, portraits, drawings, references, strict=True):
        if isinstance(drawing, str):
            left_out.append(LeftOut(name, drawing))
        else:
            scores = score(drawing, reference, portrait.mask)
            examples.append(Example(name, scores, portrait.photo, drawing, reference))
    return examples


def _grey_levels(values: torch.Tensor) -> Image:
    """A tensor in [-1, 1] as the uint8 it was read from."""
    levels: Image = ((values.numpy() + 1) * (WHITE / 2)).round().clip(0, WHITE).astype(np.uint8)
    return levels


def _mean(scores: Sequence[Scores]) -> Scores:
    outside = [s.background for s in scores if s.background is not None]
    reference_outside = [s.reference_background for s in scores if s.reference_background is not None]
    return Scores(
        l1=fmean(s.l1 for s in scores),
        ssim=fmean(s.ssim for s in scores),
        chamfer=fmean(s.chamfer for s in scores),
        two_tone=fmean(s.two_tone for s in scores),
        background=fmean(outside) if outside else None,
        reference_two_tone=fmean(s.reference_two_tone for s in scores),
        reference_background=fmean(reference_outside) if reference_outside else None,
    )


def _row(example: Example) -> Row:
    scores = f"Chamfer {example.scores.chamfer:.2f} px, SSIM {example.scores.ssim:.3f}"
    label = f"{shortened(example.name)}   {scores}: photo, drawing, data set's"
    return Row(label, (example.photo, example.drawing, example.reference))
