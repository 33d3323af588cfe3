"""Which distance transform L_DT should use for generated drawings: error, gradient, usefulness, time.

    python -m benchmarks.distance DATASET [--detectors lines.safetensors]

DATASET is a prepared data set with drawings. Prints the tables of docs/distance-transform.md. kornia's transform is
compared where kornia is installed. Times are CPU times of one thread, each next to the chosen transform's.
"""

import argparse
import copy
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from engines.portrait import SIZE, Image, PortraitBatch
from engines.select import open_engine, shipped_model
from train.data.line_pairs import vary
from train.distance_transform import RADIUS, exact_distances, soft_distances
from train.line_detectors import load_detectors
from train.losses import chamfer_terms, pixel_loss
from train.networks.lines import LineDetectors
from train.npr.line_map import BLACK_LINE, NO_LINE, WHITE_LINE, line_map
from train.npr.parameters import NprParameters
from train.options import TrainOptions

Transform = Callable[[Tensor], tuple[Tensor, Tensor]]
"""A drawing [B, 1, H, W] in [-1, 1] to its distances to black and to white, in pixels up to RADIUS."""

CROP = (slice(None), slice(None), slice(200, 296), slice(152, 248))
"""The left eye: where drawings are descended on."""


def main() -> None:
    """Compares, and prints Markdown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.distance", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--detectors", type=Path, help="trained line detectors; without them, filtered line maps")
    parser.add_argument("--portraits", type=int, default=4)
    parser.add_argument("--steps", type=int, default=150, help="that the trained network learns for")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    names = sorted(path.stem for path in (arguments.dataset / "drawings").glob("*.png"))
    if len(names) < 2 * arguments.portraits:
        parser.error(f"{arguments.dataset} holds {len(names)} drawings; {2 * arguments.portraits} are needed")
    held_out, known = names[: arguments.portraits], names[arguments.portraits :]
    artist = torch.cat([as_drawing(read(arguments.dataset / "drawings" / f"{name}.png")) for name in held_out])
    generated = torch.cat([as_drawing(image) for image in draw(arguments.dataset, held_out)])
    transforms = candidates(partial(train_network, arguments.dataset, known, arguments.steps))
    report_transforms(transforms, artist, generated)
    detectors = load_detectors(arguments.detectors) if arguments.detectors else FilteredLines()
    report_loss(detectors, artist, generated)


def candidates(train: Callable[[], Transform]) -> dict[str, Transform]:
    """The transforms by name, the chosen one first."""
    transforms: dict[str, Transform] = {
        "mean over thresholds (`train.distance_transform`)": soft_distances,
        "soft minimum, h = 0.35, one window": partial(soft_minimum, h=0.35),
        "trained network": train(),
    }
    try:
        from kornia.contrib import distance_transform
    except ImportError:
        sys.stderr.write("kornia is not installed: its transform is left out\n")
        return transforms
    for size, h in ((3, 0.35), (7, 0.2)):
        one_map = partial(distance_transform, kernel_size=size, h=h)
        transforms[f"kornia {size} x {size}, h = {h}"] = partial(by_kornia, one_map)
    return transforms


def by_kornia(one_map: Callable[[Tensor], Tensor], drawing: Tensor) -> tuple[Tensor, Tensor]:
    """The transform of kornia: every value over 0 is a source for it, so what is not ink has to be cut off."""
    black, white = (one_map((sign * drawing).clamp(min=0)).clamp(max=RADIUS) for sign in (-1, 1))
    return black, white


def soft_minimum(drawing: Tensor, h: float) -> tuple[Tensor, Tensor]:
    """-h log sum_p exp(-(|p - q| + RADIUS (1 - ink(p))) / h) over a window, in one convolution."""
    offsets = torch.arange(-RADIUS, RADIUS + 1, dtype=drawing.dtype, device=drawing.device)
    distance = torch.hypot(offsets[:, None], offsets[None])
    kernel = torch.exp(-distance / h)[None, None]
    maps = []
    for sign in (-1, 1):
        sources = torch.exp(-RADIUS * (1 - (1 + sign * drawing) / 2) / h)
        total = F.conv2d(sources, kernel, padding=RADIUS)
        maps.append((-h * torch.log(total + torch.finfo(drawing.dtype).tiny)).clamp(0, RADIUS))
    return maps[0], maps[1]


def train_network(dataset: Path, names: list[str], steps: int) -> Transform:
    """The released program's way: networks that guess the distance maps, here as small as the line detectors."""
    network = LineDetectors(16).to(memory_format=torch.channels_last)
    optimiser = torch.optim.Adam(network.parameters(), 2e-3, betas=(0.5, 0.999))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps)
    rng = np.random.default_rng(0)
    for _ in range(steps):
        clean = [read(dataset / "drawings" / f"{name}.png") for name in rng.choice(names, 4)]
        drawing = torch.cat([as_drawing(vary(image, np.full_like(image, NO_LINE), rng)[0]) for image in clean])
        top, left = rng.integers(0, SIZE // 2, 2)
        drawing = drawing[..., top : top + SIZE // 2, left : left + SIZE // 2]
        wanted = [distance.clamp(max=RADIUS) / RADIUS for distance in exact_distances(drawing)]
        loss = sum(F.l1_loss(a, b) for a, b in zip(network(drawing), wanted, strict=True))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    network.eval().requires_grad_(False)

    def distances(drawing: Tensor) -> tuple[Tensor, Tensor]:
        # The gradient check asks in float64.
        fitting = network if drawing.dtype == torch.float32 else copy.deepcopy(network).to(drawing.dtype)
        black, white = (RADIUS * output.clamp(0, 1) for output in fitting(drawing))
        return black, white

    return distances


def report_transforms(transforms: dict[str, Transform], artist: Tensor, generated: Tensor) -> None:
    """Error, gradient check, time and usefulness of each transform."""
    times = measure_times(list(transforms.values()), artist[:1])
    say("| transform | error, NPR | error, generated | worst | gradcheck | CPU time, forward + backward |")
    say("|---|---|---|---|---|---|")
    for (name, transform), ratio in zip(transforms.items(), times, strict=True):
        of_artist, of_generated = errors(transform, artist), errors(transform, generated)
        worst = max(of_artist[1], of_generated[1])
        checked = check_gradient(transform)
        say(f"| {name} | {of_artist[0]:.2f} | {of_generated[0]:.2f} | {worst:.1f} | {checked} | {ratio:.2f} |")
    for title, start in (("moved by (3, 2) pixels", moved(artist[:2], 3, 2)), ("blank", torch.ones_like(artist[:2]))):
        say(f"\nFrom a drawing that is {title}:\n")
        say("| transform | largest slope | slope on missing lines | distance before | after | ink in place |")
        say("|---|---|---|---|---|---|")
        for name, transform in transforms.items():
            largest, reached, before, after, placed = descend(transform, start[CROP], artist[:2][CROP])
            say(f"| {name} | {largest:.3g} | {reached:.0%} | {before:.2f} | {after:.2f} | {placed:.0%} |")


def errors(transform: Transform, drawings: Tensor) -> tuple[float, float]:
    """Mean and largest error in pixels, where the exact distance is over 0 and under RADIUS."""
    all_errors = []
    for drawing in drawings.split(1):
        with torch.no_grad():
            for ours, exact in zip(transform(drawing), exact_distances(drawing), strict=True):
                all_errors.append((ours - exact)[(exact > 0) & (exact < RADIUS)].abs())
    joined = torch.cat(all_errors)
    return float(joined.mean()), float(joined.max())


def check_gradient(transform: Transform) -> str:
    """Whether torch's numerical gradient agrees, on a small grey drawing in float64."""
    generator = torch.Generator().manual_seed(0)
    drawing = torch.rand(1, 1, 16, 16, generator=generator, dtype=torch.float64) * 1.8 - 0.9
    try:
        torch.autograd.gradcheck(transform, (drawing.requires_grad_(),), eps=1e-7, atol=1e-4)
    except RuntimeError:
        return "fails"
    return "passes"


def measure_times(transforms: list[Transform], drawing: Tensor, rounds: int = 5) -> list[float]:
    """Median CPU time of a forward and a backward pass of each, over the first one's; in turn, slow ones once."""
    seconds: list[list[float]] = [[] for _ in transforms]
    for _ in range(rounds):
        for transform, taken in zip(transforms, seconds, strict=True):
            if taken and taken[0] > 20 * seconds[0][0]:
                continue
            leaf = drawing.clone().requires_grad_()
            started = time.process_time()
            torch.stack(transform(leaf)).sum().backward()
            taken.append(time.process_time() - started)
    medians = [statistics.median(taken[1:] or taken) for taken in seconds]
    say(f"The first takes {1000 * medians[0]:.0f} ms here.\n")
    return [median / medians[0] for median in medians]


def descend(
    transform: Transform, start: Tensor, artist: Tensor, steps: int = 25
) -> tuple[float, float, float, float, float]:
    """Follows d_CM(a, G) from a start by Adam on the pixels themselves.

    Returns:
        The largest slope at the start; the share of the artist's line pixels missing there whose slope says to draw
        them; the mean exact distance from line pixels to the same tone before and after; and the share of the pixels
        that changed tone which now have the artist's within one pixel.
    """
    lines = filtered_lines(artist)

    def loss_of(drawing: Tensor) -> Tensor:
        distances = transform(drawing)
        return sum((line * distance).sum() for line, distance in zip(lines, distances, strict=True))

    def exact_mean(drawing: Tensor) -> float:
        pairs = list(zip(lines, exact_distances(drawing), strict=True))
        return float(sum((line * d.clamp(max=RADIUS)).sum() for line, d in pairs) / sum(line.sum() for line in lines))

    drawing = start.clone().requires_grad_()
    (slope,) = torch.autograd.grad(loss_of(drawing), drawing)
    tones = (-1, 1)
    missing = [(line > 0) & (tone * start <= 0) for line, tone in zip(lines, tones, strict=True)]
    wrong = sum(float(m.sum()) for m in missing)
    right = sum(float((m & (-tone * slope > 1e-6)).sum()) for m, tone in zip(missing, tones, strict=True))
    optimiser = torch.optim.Adam([drawing], lr=0.1)
    for _ in range(steps):
        optimiser.zero_grad()
        loss_of(drawing).backward()
        optimiser.step()
        with torch.no_grad():
            drawing.clamp_(-1, 1)
    end = drawing.detach()
    changed = (end > 0) != (start > 0)
    black, white = exact_distances(artist)
    placed = torch.where(end > 0, white, black) <= 1
    share = float((placed & changed).sum() / changed.sum().clamp(min=1))
    return float(slope.abs().max()), right / max(wrong, 1), exact_mean(start), exact_mean(end), share


def report_loss(detectors: nn.Module, artist: Tensor, generated: Tensor) -> None:
    """What L_DT comes to, weighted, for generated drawings and for spoilt ones."""
    paper = TrainOptions()
    say(f"\n{paper.distance_weight} L_DT, mean over {len(artist)} portraits:\n")
    say(
        f"| drawing | d(artist, drawing) | d(drawing, artist) | maps over their maxima | {paper.pixel_weight:.0f} L_1 |"
    )
    say("|---|---|---|---|---|")
    others = {f"the artist's, moved by {way} px": moved(artist, way, 0) for way in (1, 2, 4, 8)}
    for name, drawings in {"generated": generated, **others, "blank": torch.ones_like(artist)}.items():
        with torch.no_grad():
            terms = [chamfer_terms(a, b, detectors) for a, b in zip(drawings.split(1), artist.split(1), strict=True)]
            there, back = (paper.distance_weight * float(torch.stack(term).mean()) for term in zip(*terms, strict=True))
            old = paper.distance_weight * released_loss(drawings, artist, detectors)
            pixel = paper.pixel_weight * float(pixel_loss(drawings, artist))
        say(f"| {name} | {there:.2f} | {back:.2f} | {old:.2f} | {pixel:.2f} |")


def released_loss(drawings: Tensor, artist: Tensor, detectors: nn.Module) -> float:
    """L_DT of exact distance maps, each over its own maximum, as in the released program."""
    total = 0.0
    for one, other in ((artist, drawings), (drawings, artist)):
        for logits, distances in zip(detectors(one), exact_distances(other), strict=True):
            largest = distances.amax(dim=(1, 2, 3), keepdim=True).clamp(min=1)
            total += float(((logits > 0) * distances / largest).sum()) / len(artist)
    return total


class FilteredLines(nn.Module):
    """Line maps by filtering in place of trained detectors: the same lines, without a gradient."""

    def forward(self, drawing: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of black and of white lines."""
        black, white = (40 * line - 20 for line in filtered_lines(drawing))
        return black, white


def filtered_lines(drawing: Tensor) -> tuple[Tensor, Tensor]:
    """Black and white line pixels by `train.npr.line_map`, 0 or 1, [B, 1, H, W]."""
    greys = ((drawing.detach() + 1) * 127.5).round().byte().numpy()[:, 0]
    maps = torch.from_numpy(np.stack([line_map(grey, NprParameters()) for grey in greys]))[:, None]
    return (maps == BLACK_LINE).float(), (maps == WHITE_LINE).float()


def moved(drawing: Tensor, right: int, down: int) -> Tensor:
    """A drawing moved over the page, white where there was nothing."""
    return F.pad(drawing, (right, -right, down, -down), value=1.0)


def draw(dataset: Path, names: list[str]) -> list[Image]:
    """What the shipped model draws of some of a data set's photos."""
    engine = open_engine(shipped_model())
    drawings = []
    for name in names:
        photo = cv2.imread(str(dataset / "photos" / f"{name}.png"), cv2.IMREAD_COLOR_RGB)
        landmarks = np.rint(np.loadtxt(dataset / "landmarks" / f"{name}.txt", dtype=np.float32))
        batch = PortraitBatch(photo[None], landmarks[None], read(dataset / "masks" / f"{name}.png")[None])
        drawings.append(engine.draw(batch)[0])
    engine.close()
    return drawings


def as_drawing(image: Image) -> Tensor:
    """A grey picture as float32 [1, 1, H, W] in [-1, 1]."""
    return torch.from_numpy(image.astype(np.float32) / 127.5 - 1)[None, None]


def read(path: Path) -> Image:
    """A grey picture."""
    return np.asarray(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), np.uint8)


def say(line: str) -> None:
    """Writes a line of the report."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
