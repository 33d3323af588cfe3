"""Makes a training set of a model's own drawings: strokes joined, specks dropped, jaw and outline redrawn.

A model that has learnt from the filter of `train.npr.drawing` sees hairlines, beards and noses that the filter misses,
and is not misled by shadows. But where it is not sure of a line's place to the pixel, the line comes out as dashes,
and cloth as specks. Here its drawings are tidied: strokes are joined along their flow, specks dropped, the jaw drawn
as one line where the model wanted it, and the outline as one line. Since each line lies where the model itself puts
it, the model can learn these drawings as it cannot learn the filter's.

OUT becomes a data set like DATASET, a prepared one, with the tidied drawings and their line maps.
"""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
from joblib import Parallel, delayed

from engines.base import Engine
from engines.errors import DatasetError, FileWriteError
from engines.portrait import SIZE, Image, Landmarks, PortraitBatch
from engines.select import open_engine
from train.data.layout import file_of
from train.data.pairs import PortraitPairs, read_index, read_picture
from train.npr.tidying import write_tidied


def redraw(
    dataset: Path, model: Path, out: Path, progress: Callable[[int, int | None], None] = lambda done, total: None
) -> int:
    """Draws a data set with a model, and writes another with these drawings, tidied.

    Args:
        dataset: a prepared data set.
        model: a generator, `.onnx` or `.safetensors`.
        out: folder for the other one, which must not exist.
        progress: is told how many portraits of how many are through.

    Returns:
        How many portraits there are.

    Raises:
        DatasetError: the data set cannot be used, or the folder exists.
        EngineError: the model cannot be used here.
        FileWriteError: the folder cannot be written.
    """
    splits = sorted({entry["split"] for entry in read_index(dataset) if not entry["left_out"]})
    if out.exists():
        raise DatasetError(f"{out} is there already: name another folder, or remove it")
    pairs = [PortraitPairs(dataset, split) for split in splits]
    for each in pairs:
        _labels(dataset, each.names[0])  # not every data set has them: better known before it is copied
    engine = open_engine(model)
    try:
        total = sum(map(len, pairs))
        shutil.copytree(dataset, out)
        writing = (
            delayed(write_tidied)(*(file_of(out, folder, name) for folder in ("drawings", "lines")), *drawn)
            for each in pairs
            for name, *drawn in _drawn(dataset, each, engine)
        )
        for done, _ in enumerate(Parallel(n_jobs=-1, return_as="generator_unordered")(writing), 1):
            progress(done, total)
    except OSError as error:  # of copytree a list of what went wrong
        raise FileWriteError(
            f"cannot write {out}: {error.strerror or error}; check its folder and the space there"
        ) from error
    finally:
        engine.close()
    return total


def _drawn(dataset: Path, pairs: PortraitPairs, engine: Engine) -> Iterator[tuple[str, Image, Image, Landmarks, Image]]:
    """What `write_tidied` takes of each portrait, drawn with the model."""
    for index, name in enumerate(pairs.names):
        portrait = pairs[index].portrait()
        labels = _labels(dataset, name)
        (drawing,) = engine.draw(PortraitBatch.of([portrait]))
        yield name, portrait.photo, labels, portrait.landmarks, drawing


def _labels(dataset: Path, name: str) -> Image:
    return read_picture(file_of(dataset, "labels", name), cv2.IMREAD_GRAYSCALE, SIZE)
