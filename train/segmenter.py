"""Trains the portrait segmenter: a small U-Net that labels an aligned portrait background, person or face oval.

    python -m train.segmenter DATASET --output segmenter.onnx

Its person class is the mask that the hair and background networks need (sec. 4.1 of the paper uses [31]). It sees the
portrait at half size and labels it at a quarter; the labels are interpolated back to full size.
"""

import argparse
import itertools
import json
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from engines.errors import ApdrawError, DatasetError
from engines.portrait import SIZE, Image
from train.data.layout import file_of
from train.data.pairs import Floats, read_index, read_picture
from train.export.small_networks import export_small

CLASSES: Final = 3
SEEN_SIZE: Final = SIZE // 2
WIDTHS: Final = (16, 32, 48, 64, 64)


class SegmenterNetwork(nn.Module):
    """Labels portraits at a quarter of their size.

    Five levels with three convolutions each after the first, and skips that are added.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = _conv(3, WIDTHS[0], stride=2)
        self.down = nn.ModuleList(
            nn.Sequential(_conv(a, b, stride=2), _conv(b, b), _conv(b, b)) for a, b in itertools.pairwise(WIDTHS)
        )
        self.lateral = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in itertools.pairwise(WIDTHS))
        self.up = nn.ModuleList(_conv(width, width) for width in WIDTHS[:-1])
        self.head = nn.Conv2d(WIDTHS[0], CLASSES, 3, padding=1)

    def forward(self, photo: Tensor) -> Tensor:
        """Logits float [B, 3, 128, 128] of photos float [B, 3, 256, 256] in [-1, 1], RGB."""
        x = self.stem(photo)
        skips = []
        for down in self.down:
            skips.append(x)
            x = down(x)
        for lateral, up, skip in zip(reversed(self.lateral), reversed(self.up), reversed(skips), strict=True):
            x = F.interpolate(lateral(x), scale_factor=2.0, mode="bilinear", align_corners=False)
            x = up(x + skip)
        logits: Tensor = self.head(x)
        return logits


class SegmenterGraph(nn.Module):
    """The exported graph: `photo` uint8 [B, 256, 256, 3] RGB to `probabilities` float32 [B, 128, 128, 3]."""

    def __init__(self, segmenter: SegmenterNetwork) -> None:
        super().__init__()
        self.segmenter = segmenter

    def forward(self, photo: Tensor) -> Tensor:
        """Probabilities of background, person (without the face) and face oval."""
        logits = self.segmenter(photo.float().permute(0, 3, 1, 2) / 127.5 - 1)
        probabilities: Tensor = logits.permute(0, 2, 3, 1).softmax(dim=3)
        return probabilities


def train(dataset: Path, *, steps: int, batch_size: int, seed: int, log_every: int = 100) -> SegmenterNetwork:
    """Trains on the portraits of the split `train`."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    photos, labels = load(dataset, "train", SEEN_SIZE)
    segmenter = SegmenterNetwork().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = torch.optim.swa_utils.get_ema_multi_avg_fn(0.995)  # type: ignore[no-untyped-call]
    mean = torch.optim.swa_utils.AveragedModel(segmenter, multi_avg_fn=average, use_buffers=True)
    optimiser = torch.optim.AdamW(segmenter.parameters(), lr=3e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps, pct_start=0.1)
    for step in range(1, steps + 1):
        chosen = rng.integers(0, len(photos), batch_size)
        pairs = [_vary(photos[i], labels[i], photos[rng.integers(len(photos))], rng) for i in chosen]
        x = torch.from_numpy(np.stack([p for p, _ in pairs])).permute(0, 3, 1, 2).float() / 127.5 - 1
        y = torch.from_numpy(np.stack([truth for _, truth in pairs])).long()
        logits = F.interpolate(
            segmenter(x.contiguous(memory_format=torch.channels_last)), scale_factor=2.0, mode="bilinear"
        )
        loss = F.cross_entropy(logits, y) + _dice_loss(logits, y)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        mean.update_parameters(segmenter)
        if step % log_every == 0:
            print(json.dumps({"step": step, "loss": round(float(loss.detach()), 4)}), flush=True)  # noqa: T201
    kept = mean.module.eval()
    assert isinstance(kept, SegmenterNetwork)
    return kept


def load(dataset: Path, split: str, size: int) -> tuple[list[Image], list[Image]]:
    """Photos uint8 [size, size, 3] RGB and label maps uint8 [size, size] of a prepared data set.

    Raises:
        DatasetError: the folder is no prepared data set, or holds no portraits of that split.
    """
    photos, labels = [], []
    for entry in read_index(dataset):
        if entry["split"] != split or entry["left_out"]:
            continue
        photo = read_picture(file_of(dataset, "photos", entry["name"]), cv2.IMREAD_COLOR_RGB, SIZE)
        label = read_picture(file_of(dataset, "labels", entry["name"]), cv2.IMREAD_GRAYSCALE, SIZE)
        photos.append(np.asarray(cv2.resize(photo, (size, size), interpolation=cv2.INTER_AREA), np.uint8))
        labels.append(np.asarray(cv2.resize(label, (size, size), interpolation=cv2.INTER_NEAREST), np.uint8))
    if not photos:
        raise DatasetError(f"{dataset} holds no portraits of the split {split}: prepare more photos")
    return photos, labels


def person_iou(predicted: Image, truth: Image) -> float:
    """Intersection over union of the person (labels 1 and 2) in two label maps."""
    a, b = predicted > 0, truth > 0
    return float((a & b).sum() / max(1, (a | b).sum()))


def evaluate(segmenter: SegmenterNetwork, dataset: Path) -> dict[str, float]:
    """Mean and worst IoU of the person on the split `val`, at full size."""
    graph = SegmenterGraph(segmenter).eval()
    photos, labels = load(dataset, "val", SIZE)
    scores = []
    for photo, truth in zip(photos, labels, strict=True):
        seen = cv2.resize(photo, (SEEN_SIZE, SEEN_SIZE), interpolation=cv2.INTER_AREA)
        with torch.inference_mode():
            background = graph(torch.from_numpy(seen)[None])[0, ..., 0].numpy()
        full = cv2.resize(background, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)
        scores.append(person_iou((full < 0.5).astype(np.uint8), truth))
    return {
        "portraits": len(scores),
        "mean_iou": round(float(np.mean(scores)), 4),
        "worst_iou": round(min(scores), 4),
    }


def export(segmenter: SegmenterNetwork, path: Path) -> None:
    """Writes the graph as one ONNX file with a dynamic batch."""
    export_small(SegmenterGraph(segmenter), SEEN_SIZE, ("probabilities",), path)


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def _dice_loss(logits: Tensor, truth: Tensor) -> Tensor:
    person = logits.softmax(dim=1)[:, 1:].sum(dim=1)
    wanted = (truth > 0).float()
    return 1 - (2 * (person * wanted).sum() + 1) / (person.sum() + wanted.sum() + 1)


def _vary(photo: Image, labels: Image, other: Image, rng: np.random.Generator) -> tuple[Image, Image]:
    """The portrait moved, relit, and now and then before another background or in a round frame."""
    if rng.random() < 0.45:
        photo = _another_background(photo, labels, other, rng)
    if rng.random() < 0.25:
        photo, labels = _in_round_frame(photo, labels, rng)
    matrix = cv2.getRotationMatrix2D((SEEN_SIZE / 2, SEEN_SIZE / 2), rng.uniform(-12, 12), rng.uniform(0.85, 1.2))
    matrix[:, 2] += rng.uniform(-10, 10, 2)
    if rng.random() < 0.5:
        matrix = matrix @ np.array([[-1, 0, SEEN_SIZE - 1], [0, 1, 0], [0, 0, 1]])
    size = (SEEN_SIZE, SEEN_SIZE)
    photo = np.asarray(cv2.warpAffine(photo, matrix, size, borderValue=(255, 255, 255)), np.uint8)
    labels = np.asarray(cv2.warpAffine(labels, matrix, size, flags=cv2.INTER_NEAREST), np.uint8)
    values = (photo.astype(np.float32) / 255) ** np.float32(np.exp(rng.uniform(-0.5, 0.5)))
    values = (values - 0.5) * np.float32(rng.uniform(0.7, 1.25)) + 0.5
    values *= rng.uniform(0.85, 1.15, 3).astype(np.float32)
    if rng.random() < 0.15:
        values = np.repeat(values.mean(axis=2, keepdims=True), 3, axis=2)
    if rng.random() < 0.3:
        values = np.asarray(cv2.GaussianBlur(values, (0, 0), float(rng.uniform(0.3, 1.5))), np.float32)
    if rng.random() < 0.3:
        values = values + np.float32(0.02) * rng.standard_normal(values.shape, dtype=np.float32)
    return np.clip(values * 255, 0, 255).astype(np.uint8), labels


def _another_background(photo: Image, labels: Image, other: Image, rng: np.random.Generator) -> Image:
    """The person before a plain colour, a gradient or a stretched detail of another photo."""
    kind = rng.random()
    if kind < 0.3:
        background: Floats = np.broadcast_to(rng.uniform(0, 255, 3).astype(np.float32), photo.shape)
    elif kind < 0.5:
        ramp = np.linspace(0, 1, SEEN_SIZE, dtype=np.float32)[:, None, None]
        ramp = np.broadcast_to(ramp if rng.random() < 0.5 else ramp.transpose(1, 0, 2), (*photo.shape[:2], 1))
        first, second = rng.uniform(0, 255, (2, 3)).astype(np.float32)
        background = ramp * first + (1 - ramp) * second
    else:
        side = int(rng.integers(48, 160))
        top, left = rng.integers(0, SEEN_SIZE - side, 2)
        detail = other[top : top + side, left : left + side]
        stretched = cv2.resize(detail, photo.shape[:2], interpolation=cv2.INTER_CUBIC)
        background = np.asarray(stretched, np.float32)
    person = cv2.GaussianBlur((labels > 0).astype(np.float32), (0, 0), 0.8)[..., None]
    return np.asarray(photo * person + background * (1 - person)).astype(np.uint8)


def _in_round_frame(photo: Image, labels: Image, rng: np.random.Generator) -> tuple[Image, Image]:
    """The portrait cut out as a disc on a plain page, now and then with a ring around it."""
    y, x = np.mgrid[0:SEEN_SIZE, 0:SEEN_SIZE]
    centre_x, centre_y = rng.uniform(0.45, 0.55, 2) * SEEN_SIZE
    radius = rng.uniform(0.42, 0.6) * SEEN_SIZE
    distance = np.hypot(x - centre_x, y - centre_y)
    outside = distance > radius
    page, ring = (np.uint8(255) if rng.random() < 0.5 else rng.integers(0, 256, 3).astype(np.uint8) for _ in range(2))
    framed = np.where(outside[..., None], page, photo)
    if rng.random() < 0.3:
        framed = np.where((outside & (distance < radius + rng.uniform(1, 4)))[..., None], ring, framed)
    return framed, np.where(outside, np.uint8(0), labels)


def main() -> None:
    """Trains, measures and writes the segmenter."""
    parser = argparse.ArgumentParser(prog="python -m train.segmenter", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    try:
        segmenter = train(options.dataset, steps=options.steps, batch_size=options.batch_size, seed=options.seed)
        export(segmenter, options.output)
        print(json.dumps(evaluate(segmenter, options.dataset)))  # noqa: T201
    except (ApdrawError, OSError) as error:
        parser.exit(2, f"{parser.prog}: error: {error}\n")


if __name__ == "__main__":
    main()
