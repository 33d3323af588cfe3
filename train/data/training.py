"""The pairs of each stage: which data set it reads, and how it varies them."""

from pathlib import Path

from engines.errors import DatasetError
from train.data.augmentation import Augmentation
from train.data.crops import CropPairs
from train.data.layout import Split
from train.data.line_pairs import LinePairs
from train.data.pairs import PortraitPairs
from train.options import TrainOptions

Pairs = PortraitPairs | CropPairs | LinePairs


def training_pairs(dataset: Path, options: TrainOptions) -> Pairs:
    """What a stage learns from.

    Raises:
        DatasetError: the data set cannot be used.
    """
    augmentation = {"paper": Augmentation.paper(), "robust": Augmentation(), "none": None}[options.augmentation]
    return _pairs(dataset, options, "train", augmentation)


def shown_pairs(dataset: Path, options: TrainOptions) -> Pairs:
    """Pairs that show how a run goes, as they are: those put aside if there are any, else those learnt from.

    Raises:
        DatasetError: the data set cannot be used.
    """
    try:
        return _pairs(dataset, options, "val", None)
    except DatasetError:
        return _pairs(dataset, options, "train", None)


def _pairs(dataset: Path, options: TrainOptions, split: Split, augmentation: Augmentation | None) -> Pairs:
    if options.stage == "auxiliary":
        return LinePairs(dataset, split, options.seed)
    if options.stage == "local":
        return CropPairs(dataset, split, options.local_regions(), augmentation, options.seed)
    return PortraitPairs(dataset, split, augmentation, options.seed)
