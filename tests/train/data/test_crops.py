"""Crops for the local networks: cut where the generator cuts, varied in place, the same whenever they are asked for."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.data import default_collate

from train.data import crops as module
from train.data.augmentation import Augmentation
from train.data.crops import Crop, CropPairs
from train.data.pairs import PortraitPairs
from train.networks import LocalParts, Regions
from train.options import REGIONS

MIRRORED = Augmentation(rotation=0, scale=1, flip=True, photometric=False)


def same(first: dict[str, Crop], second: dict[str, Crop]) -> bool:
    return all(torch.equal(a, b) for region in first for a, b in zip(first[region], second[region], strict=True))


def test_the_regions_are_those_of_the_generator() -> None:
    assert LocalParts._fields == REGIONS


def test_boxes_are_cut_where_the_generator_cuts_them(tiny_dataset: Path) -> None:
    pairs = CropPairs(tiny_dataset, "train", REGIONS[:4])
    whole = default_collate([PortraitPairs(tiny_dataset, "train")[index] for index in range(3)])
    regions = Regions.of(whole.landmarks, whole.mask)
    batch = default_collate([pairs[index] for index in range(3)])
    for region in REGIONS[:4]:
        assert torch.equal(batch[region].photo, getattr(regions.parts(whole.photo), region))
        assert torch.equal(batch[region].drawing, getattr(regions.parts(whole.drawing), region))
        assert batch[region].mask.min() == 1


def test_hair_and_background_are_seen_whole_as_the_generator_sees_them(tiny_dataset: Path) -> None:
    crops = default_collate([CropPairs(tiny_dataset, "train", ["hair", "background"])[1]])
    whole = default_collate([PortraitPairs(tiny_dataset, "train")[1]])
    regions = Regions.of(whole.landmarks, whole.mask)
    for region in ("hair", "background"):
        assert torch.equal(crops[region].mask, getattr(regions, region))
        assert torch.equal(crops[region].photo, getattr(regions.parts(whole.photo), region))
        assert torch.equal(crops[region].drawing, whole.drawing)


@pytest.mark.parametrize("augmentation", [None, Augmentation.paper(), Augmentation()], ids=["none", "paper", "robust"])
def test_a_crop_depends_on_seed_epoch_and_index_alone(tiny_dataset: Path, augmentation: Augmentation | None) -> None:
    pairs = CropPairs(tiny_dataset, "train", REGIONS, augmentation, seed=3)
    first = pairs[2, 1]
    assert same(first, pairs[2, 1])  # from memory
    assert same(first, CropPairs(tiny_dataset, "train", REGIONS, augmentation, seed=3)[2, 1])
    assert not same(first, pairs[2, 0])
    for other in (pairs[1, 1], CropPairs(tiny_dataset, "train", REGIONS, augmentation, seed=4)[2, 1]):
        assert same(first, other) == (augmentation is None)


def test_a_mirrored_portrait_shows_each_eye_the_other(tiny_dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SHIFT", 0)
    plain = CropPairs(tiny_dataset, "train", REGIONS[:4])[0]
    varied = CropPairs(tiny_dataset, "train", REGIONS[:4], MIRRORED)
    found = [varied[epoch, 0] for epoch in range(8)]

    def turned(picture: Tensor) -> Tensor:
        return picture.flip(2)

    mirrored = [crops for crops in found if torch.equal(crops["eye_left"].photo, turned(plain["eye_right"].photo))]
    assert 0 < len(mirrored) < 8
    for crops in mirrored:
        assert torch.equal(crops["eye_right"].drawing, turned(plain["eye_left"].drawing))
        assert torch.equal(crops["nose"].photo, turned(plain["nose"].photo))
    assert sum(same(crops, plain) for crops in found) == 8 - len(mirrored)
