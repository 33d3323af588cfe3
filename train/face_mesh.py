"""Trains the face mesh network: from an aligned portrait to 478 points of the face, in two looks.

    python -m train.face_mesh DATASET --output mesh.onnx

The points are those of MediaPipe's face mesh with irises, in its order; the data set holds meshes beside its
portraits, which `apdraw prepare --npr --meshes FILE` writes. The first look sees the whole face at a third of its size.
The second sees eyes, nose and mouth at full size, where the first found them, and replaces its points there. Both work
alike. Small maps over the picture each follow one point: a softmax over a map tells where the point is, and its mean is
the place. A linear map takes all places to the weights of a shape basis, the principal components of the training
meshes. Maps see a face wherever it is, and the basis spans little but faces, so a few hundred portraits suffice.
"""

import argparse
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import cv2
import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from engines.atomic_files import write_atomically
from engines.errors import ApdrawError, DatasetError
from engines.landmarks_file import read_landmarks
from engines.portrait import SIZE, WHITE, Image
from train.artist.mesh import (
    BETWEEN_EYES,
    BROW_BOTTOMS,
    BROW_TOPS,
    IRIS_CENTRES,
    LIPS,
    LOWER_LIDS,
    MOUTH_BOTTOM,
    MOUTH_TOP,
    NOSE,
    NOSE_TIP,
    NOSE_WINGS,
    OVAL,
    POINTS,
    UPPER_LIDS,
)
from train.data.layout import MESHES, file_of
from train.data.pairs import Floats, read_index, read_picture
from train.export.to_onnx import describe

Mesh = npt.NDArray[np.float32]
"""float32 [478, 2]: x, y in pixels of the aligned portrait."""

FACE_WINDOW: Final = (64, 116, 384, 384)
"""What the first look sees: left, top, width and height in the aligned portrait."""

FACE_MIDDLE: Final = torch.tensor([64 + 383 / 2, 116 + 383 / 2])
"""Of that window, aligned pixels."""

ZOOM: Final = 3
"""The first look sees the portrait so many times smaller."""


class Detail(NamedTuple):
    """A part of the face that gets a second look.

    Attributes:
        network: details of one network share its weights.
        width: of the window, pixels.
        height: of the window, pixels.
        offset: of the window's middle from the middle of the `anchors`, pixels.
        anchors: points whose mean, as the first look finds them, places the window.
        mirrored: whether its network sees it mirrored.
    """

    network: str
    width: int
    height: int
    offset: tuple[float, float]
    anchors: tuple[int, ...]
    mirrored: bool


DETAILS: Final = (
    Detail("eye", 96, 96, (-2, -10), (33, 133, 159, 145), mirrored=False),
    Detail("eye", 96, 96, (2, -10), (263, 362, 386, 374), mirrored=True),
    Detail("nose", 96, 80, (0, -4), (129, 358, 2, 4), mirrored=False),
    Detail("mouth", 144, 80, (0, 0), (61, 291, 0, 17), mirrored=False),
)

RIM: Final = 7.0
"""A point belongs to a detail if it is so far inside its window in the mean mesh, pixels."""

GROUPS: Final[dict[str, tuple[int, ...]]] = {
    "irises": tuple(range(IRIS_CENTRES[0], POINTS)),
    "lids": tuple({*sum(UPPER_LIDS, ()), *sum(LOWER_LIDS, ())}),
    "brows": (*sum(BROW_TOPS, ()), *sum(BROW_BOTTOMS, ())),
    "nose": tuple({*sum(NOSE_WINGS, ()), *NOSE, NOSE_TIP, *BETWEEN_EYES}),
    "lips": tuple({*LIPS, *MOUTH_TOP, *MOUTH_BOTTOM}),
    "oval": OVAL,
}
"""Points by part of the face, for telling errors and for weighing them."""

WEIGHTS: Final = {"irises": 3.0, "lids": 2.0, "lips": 2.0, "nose": 1.5}
"""Of points in the loss; others count once."""

NO_FACE_SHARE: Final = 0.125
"""Of the pictures in training show no face, or none where one should be."""

MOST_DIFFERENCE: Final = 8.0
"""Where both looks differ by so much on average, pixels, a mesh is half as plausible: portraits have 5 at most."""

JITTER: Final = 2.5
"""Standard deviation of a window's place in training, pixels: about what the first look errs."""

LEARNING_RATE: Final = 4e-3
LINEAR_SHARE: Final = 0.05
"""Of the learning rate, for the linear maps: they start where they are best for places that are a little wrong."""

LOGGED: Final = ("face", "eye", "nose", "mouth", "face_maps", "eye_maps", "nose_maps", "mouth_maps", "seen")


class Found(NamedTuple):
    """What a network says of pictures.

    Attributes:
        points: [B, N, 2].
        logit: [B], that this is a face.
        maps: [B, F, h, w], logits of where the followed points are.
    """

    points: Tensor
    logit: Tensor
    maps: Tensor


class PlaceNetwork(nn.Module):
    """Finds the points of a picture of fixed size.

    Args:
        widths: channels of the levels, each half the size of the one before; the first level is half the picture's,
            and the maps are of the second level's size.
        size: of the picture: width and height.
        zoom: pixels of the portrait that a pixel of the picture covers.
        shapes: float [M, N, 2], examples of its points in pixels of the portrait about the picture's middle.
        followed: those of the points that have maps.
        components: of the shape basis.
        noise: expected error of a place, pixels.
    """

    mean: Tensor
    components: Tensor
    followed: Tensor
    columns: Tensor
    rows: Tensor

    def __init__(
        self,
        widths: Sequence[int],
        size: tuple[int, int],
        zoom: int,
        shapes: Floats,
        followed: Sequence[int],
        components: int,
        noise: float,
    ) -> None:
        super().__init__()
        self.stem = _conv(3, widths[0], stride=2)
        self.down = nn.ModuleList(
            nn.Sequential(_conv(a, b, stride=2), Residual(b)) for a, b in itertools.pairwise(widths)
        )
        upper = widths[1:]
        self.lateral = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in itertools.pairwise(upper))
        self.up = nn.ModuleList(_conv(width, width) for width in upper[:-1])
        self.maps = nn.Conv2d(upper[0], len(followed), 1)
        self.seen = nn.Sequential(nn.Linear(widths[-1] + len(followed), 32), nn.ReLU(), nn.Linear(32, 1))
        mean, basis = shape_basis(shapes, components)
        self.register_buffer("mean", torch.from_numpy(mean))
        self.register_buffer("components", torch.from_numpy(basis))
        self.register_buffer("followed", torch.tensor(followed))
        width, height = (zoom * 4 * (torch.arange(side // 4) - (side // 4 - 1) / 2) for side in size)
        self.register_buffer("columns", width)
        self.register_buffer("rows", height)
        # The best linear map from noisy places to weights of the basis; training goes on from there.
        flat = (shapes.reshape(len(shapes), -1) - mean).astype(np.float64)
        wanted = flat @ np.linalg.pinv(basis.astype(np.float64))
        places = flat.reshape(shapes.shape)[:, followed].reshape(len(shapes), -1)
        ridge = places.T @ places + len(shapes) * noise**2 * np.eye(places.shape[1])
        self.weights = nn.Linear(places.shape[1], components)
        with torch.no_grad():
            self.weights.weight.copy_(torch.from_numpy(np.linalg.solve(ridge, places.T @ wanted).T))
            self.weights.bias.zero_()

    def forward(self, picture: Tensor) -> Found:
        """Finds the points in pictures float32 [B, 3, H, W], of mean 0 and deviation 1."""
        x = self.stem(picture)
        levels = []
        for down in self.down:
            x = down(x)
            levels.append(x)
        deepest = x.mean(dim=(2, 3))
        for lateral, up, skip in zip(reversed(self.lateral), reversed(self.up), reversed(levels[:-1]), strict=True):
            x = F.interpolate(lateral(x), scale_factor=2.0, mode="bilinear", align_corners=False)
            x = up(x + skip)
        maps = self.maps(x)
        shares = maps.flatten(2).softmax(dim=2)
        peaks = shares.amax(dim=2)
        shares = shares.reshape(maps.shape)
        places = torch.stack(
            [(shares.sum(dim=2) * self.columns).sum(dim=2), (shares.sum(dim=3) * self.rows).sum(dim=2)], dim=2
        )
        usual = self.mean.reshape(-1, 2)[self.followed]
        weights = self.weights((places - usual).flatten(1))
        points = (self.mean + weights @ self.components).reshape(maps.shape[0], -1, 2)
        return Found(points, self.seen(torch.cat([deepest, peaks], dim=1)).squeeze(1), maps)

    def map_loss(self, maps: Tensor, truth: Tensor) -> Tensor:
        """Cross-entropy of maps with spots of one cell's deviation on the followed points of truth [B, N, 2]."""
        wanted = truth[:, self.followed]
        cell = self.columns[1] - self.columns[0]
        across = (-0.5 * ((self.columns - wanted[..., 0, None]) / cell).square()).softmax(dim=2)
        down = (-0.5 * ((self.rows - wanted[..., 1, None]) / cell).square()).softmax(dim=2)
        spots = down[..., :, None] * across[..., None, :]
        return -(spots * maps.flatten(2).log_softmax(dim=2).reshape(spots.shape)).sum(dim=(2, 3)).mean()


class Residual(nn.Module):
    """Two convolutions beside the way straight through."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _conv(width, width)
        self.second = nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        """Tensor of the same shape."""
        return F.relu(x + self.second(self.first(x)))


class FaceMesh(nn.Module):
    """Both looks.

    Args:
        face: finds the whole mesh in the face window.
        details: by name, find the points of details.
        members: by detail, the points that its network finds, in its order.
    """

    def __init__(self, face: PlaceNetwork, details: dict[str, PlaceNetwork], members: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self.face = face
        self.details = nn.ModuleDict(details)
        self.members = [list(each) for each in members]

    def first_look(self, photo: Tensor) -> Found:
        """The whole mesh about the middle of the face window, of photos uint8 [B, 512, 512, 3]."""
        left, top, width, height = FACE_WINDOW
        window = photo[:, top : top + height, left : left + width]
        found: Found = self.face(_even(F.avg_pool2d(window.permute(0, 3, 1, 2).float(), ZOOM)))
        return found

    def second_look(self, photo: Tensor, middle: Tensor, index: int) -> Found:
        """The points of one of the `DETAILS` about its window's middle, mirrored if the detail is.

        Args:
            photo: uint8 [B, 512, 512, 3].
            middle: [B, 2], of `window_middles`.
            index: of the detail.
        """
        detail = DETAILS[index]
        seen = _window(photo, middle, detail.width, detail.height)
        found: Found = self.details[detail.network](_even(seen.flip(3) if detail.mirrored else seen))
        return found

    def forward(self, photo: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Points [B, 478, 2] in aligned pixels, logits [B, 1 + details], and how far both looks differ [B, details].

        Args:
            photo: uint8 [B, 512, 512, 3] RGB.
        """
        found = self.first_look(photo)
        first = found.points + FACE_MIDDLE
        middles = window_middles(first)
        points, logits, differences = first, [found.logit], []
        for index, (detail, members) in enumerate(zip(DETAILS, self.members, strict=True)):
            found = self.second_look(photo, middles[:, index], index)
            refined = (found.points * _flip(detail)) + middles[:, None, index]
            differences.append((refined - first[:, members]).norm(dim=2).mean(dim=1))
            points = points.index_copy(1, torch.tensor(members), refined)
            logits.append(found.logit)
        return points, torch.stack(logits, dim=1), torch.stack(differences, dim=1)


class FaceMeshGraph(nn.Module):
    """The exported graph: `photo` uint8 [B, 512, 512, 3] RGB to `points` [B, 478, 2] and `plausibility` [B]."""

    def __init__(self, mesh: FaceMesh) -> None:
        super().__init__()
        self.mesh = mesh

    def forward(self, photo: Tensor) -> tuple[Tensor, Tensor]:
        """Points in aligned pixels, and from 0 to 1 how well they can be a face's.

        The latter is the share that the networks give to a face, times how well both looks agree.
        """
        points, logits, differences = self.mesh(photo)
        agreement = (MOST_DIFFERENCE - differences.mean(dim=1)).sigmoid()
        return points, logits.mean(dim=1).sigmoid() * agreement


def window_middles(points: Tensor) -> Tensor:
    """Where the windows of the details have their middles, [B, details, 2], for meshes [B, 478, 2].

    A window of even width has its middle half a pixel beside a whole one.
    """
    middles = [points[:, list(detail.anchors)].mean(dim=1) + torch.tensor(detail.offset) for detail in DETAILS]
    return torch.floor(torch.stack(middles, dim=1)) + 0.5


def mirror_permutation(mean: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    """Which point of a mesh becomes which when the portrait is mirrored: [478], its own inverse.

    Args:
        mean: [478, 2], the mean of many upright meshes, nearly symmetric. Points go with those across its axis so that
            all distances together are least: one by one, close neighbours would be taken for each other.

    Raises:
        ValueError: the mean is not symmetric enough to tell.
    """
    mirrored = mean * (-1, 1) + (2 * float(mean[:, 0].mean()), 0)
    distance = np.linalg.norm(mirrored[:, None] - mean[None], axis=2)
    partner = np.asarray(linear_sum_assignment((distance + distance.T) ** 2)[1], np.intp)
    if not np.array_equal(partner[partner], np.arange(len(mean))):
        raise ValueError("the mean mesh is not symmetric: more portraits are needed")
    return partner


def shape_basis(shapes: Floats, size: int) -> tuple[Floats, Floats]:
    """Mean [N * 2] and principal components [size, N * 2] of shapes [M, N, 2]; their weights have variance 1."""
    flat = shapes.reshape(len(shapes), -1).astype(np.float64)
    values, vectors = np.linalg.eigh(np.cov(flat, rowvar=False))
    values, vectors = values[::-1][:size], vectors[:, ::-1][:, :size]
    components = (vectors * np.sqrt(np.maximum(values, 1e-6))).T
    return flat.mean(axis=0).astype(np.float32), np.ascontiguousarray(components, np.float32)


def spread_points(mean: npt.NDArray[Any], count: int) -> list[int]:
    """So many points of a mesh [N, 2], each as far as can be from those before it."""
    chosen = [0]
    distance = np.linalg.norm(mean - mean[0], axis=1)
    while len(chosen) < count:
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(mean - mean[chosen[-1]], axis=1))
    return chosen


def build(meshes: Floats, seed: int = 0) -> FaceMesh:
    """An untrained network for meshes [M, 478, 2] in aligned pixels; its bases allow for what training varies."""
    rng = np.random.default_rng(seed)
    mean = meshes.mean(axis=0, dtype=np.float64)
    partner = mirror_permutation(mean)
    varied = []
    for mesh in np.concatenate([meshes] * max(1, 4000 // len(meshes))):
        moved = _move(mesh, _random_motion(rng))
        varied.append(_mirrored_mesh(moved, partner) if rng.random() < 0.5 else moved)
    shapes = np.stack(varied)
    face = PlaceNetwork(
        (16, 24, 48, 64),
        (FACE_WINDOW[2] // ZOOM, FACE_WINDOW[3] // ZOOM),
        ZOOM,
        np.asarray(shapes - FACE_MIDDLE.numpy()),
        spread_points(mean, 96),
        72,
        noise=2.0,
    )
    members: list[list[int]] = []
    details = {}
    for detail in DETAILS:
        if detail.mirrored:
            members.append([int(partner[point]) for point in members[-1]])
            continue
        middle = mean[list(detail.anchors)].mean(axis=0) + detail.offset
        inside = np.abs(mean - middle) < (detail.width / 2 - RIM, detail.height / 2 - RIM)
        chosen = [int(point) for point in np.flatnonzero(inside.all(axis=1))]
        members.append(chosen)
        middles = shapes[:, list(detail.anchors)].mean(axis=1) + detail.offset + rng.normal(0, JITTER, (len(shapes), 2))
        details[detail.network] = PlaceNetwork(
            (16, 24, 48),
            (detail.width, detail.height),
            1,
            np.asarray(shapes[:, chosen] - middles[:, None], np.float32),
            range(len(chosen)),
            48,
            noise=0.8,
        )
    return FaceMesh(face, details, members)


@dataclass(frozen=True)
class Data:
    """Portraits with their meshes.

    Attributes:
        photos: uint8 [512, 512, 3] RGB each.
        meshes: float32 [M, 478, 2].
    """

    photos: list[Image]
    meshes: npt.NDArray[np.float32]


def load(dataset: Path, split: str) -> Data:
    """The portraits of a split that have meshes.

    Raises:
        DatasetError: the folder is no prepared data set, or holds no meshes of that split.
    """
    photos, meshes = [], []
    for entry in read_index(dataset):
        if entry["split"] != split:
            continue
        mesh = file_of(dataset, MESHES, entry["name"])
        if mesh.is_file():
            photos.append(read_picture(file_of(dataset, "photos", entry["name"]), cv2.IMREAD_COLOR_RGB, SIZE))
            meshes.append(read_landmarks(mesh, POINTS))
    if not photos:
        raise DatasetError(f"{dataset} holds no meshes of the split {split}: prepare it with --npr and --meshes")
    return Data(photos, np.stack(meshes).astype(np.float32))


def train(data: Data, *, steps: int, batch_size: int, seed: int, log_every: int = 100) -> FaceMesh:
    """Trains on portraits with meshes, and returns the running mean of the weights.

    Args:
        data: the portraits.
        steps: how many; the learning rate falls to 0 with them.
        batch_size: portraits a step.
        seed: of everything random.
        log_every: steps between lines of the log, which tells mean losses: of points in pixels, of maps in nats.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    partner = mirror_permutation(data.meshes.mean(axis=0, dtype=np.float64))
    network = build(data.meshes, seed).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = torch.optim.swa_utils.get_ema_multi_avg_fn(0.998)  # type: ignore[no-untyped-call]
    mean = torch.optim.swa_utils.AveragedModel(network, multi_avg_fn=average, use_buffers=True)
    linear = {id(p) for part in (network.face, *network.details.values()) for p in part.weights.parameters()}
    groups = [
        {"params": [p for p in network.parameters() if id(p) not in linear], "share": 1.0},
        {"params": [p for p in network.parameters() if id(p) in linear], "share": LINEAR_SHARE, "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, weight_decay=1e-2)
    log: list[list[float]] = []
    for step in range(1, steps + 1):
        done = step / steps
        rate = LEARNING_RATE * min(1.0, step / 50) * (0.5 + 0.5 * float(np.cos(np.pi * done)))
        for group in optimiser.param_groups:
            group["lr"] = group["share"] * rate
        photo, truth, face = _batch(data, partner, batch_size, rng)
        # The eyes share a network, so one of them will do.
        points, maps, seen = _losses(network, photo, truth, face, (step % 2, 2, 3), rng)
        # Places mean little before the maps have found something.
        loss = min(1.0, 0.1 + 3 * done) * points.sum() + maps.sum() + seen
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 50.0)
        optimiser.step()
        mean.update_parameters(network)
        log.append(torch.cat([points, maps, seen[None]]).tolist())
        if step % log_every == 0:
            line = dict(zip(LOGGED, np.mean(log, axis=0), strict=True))
            values = {key: round(float(value), 3) for key, value in line.items()}
            print(json.dumps({"step": step, **values}), flush=True)  # noqa: T201
            log.clear()
    return cast(FaceMesh, mean.module.eval())


def _losses(
    network: FaceMesh, photo: Tensor, truth: Tensor, face: Tensor, details: Sequence[int], rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Of the first look and of some details: points [1 + details], maps [1 + details]; and of telling faces, a scalar.

    Args:
        network: in training.
        photo: uint8 [B, 512, 512, 3].
        truth: [B, 478, 2], aligned pixels.
        face: [B], 1 for a face, 0 for none; only faces count in the first two.
        details: which of the `DETAILS`.
        rng: moves the windows of the details.
    """
    real = face > 0.5
    weights = _point_weights()
    moves = np.rint(rng.normal(0, JITTER, (len(photo), len(DETAILS), 2)))
    middles = window_middles(truth) + torch.from_numpy(moves).float()
    looks = [(network.face, network.first_look(photo), truth - FACE_MIDDLE, weights)]
    for index in details:
        detail, members = DETAILS[index], network.members[index]
        wanted = (truth[:, members] - middles[:, None, index]) * _flip(detail)
        part = cast(PlaceNetwork, network.details[detail.network])
        looks.append((part, network.second_look(photo, middles[:, index], index), wanted, weights[members]))
    points = [_distance(found.points[real], wanted[real], importance) for _, found, wanted, importance in looks]
    maps = [part.map_loss(found.maps[real], wanted[real]) for part, found, wanted, _ in looks]
    logits = torch.stack([found.logit for _, found, _, _ in looks])
    seen = F.binary_cross_entropy_with_logits(logits, face.expand(len(logits), -1))
    return torch.stack(points), torch.stack(maps), seen


def predict(network: FaceMesh, photo: Image) -> tuple[Mesh, float]:
    """Points and plausibility of one portrait, uint8 [512, 512, 3] RGB."""
    with torch.inference_mode():
        points, plausibility = FaceMeshGraph(network)(torch.from_numpy(photo)[None])
    return points[0].numpy(), float(plausibility[0])


def evaluate(network: FaceMesh, data: Data) -> dict[str, Any]:
    """Errors against the data's meshes, in aligned pixels and per cent of the distance of the irises, by group.

    A portrait's error in a group is the mean distance of its points; `mean`, `p95` and `worst` are over portraits.
    """
    found = np.stack([predict(network, photo)[0] for photo in data.photos])
    distance = np.linalg.norm(found - data.meshes, axis=2)
    eyes = np.linalg.norm(data.meshes[:, IRIS_CENTRES[0]] - data.meshes[:, IRIS_CENTRES[1]], axis=1)
    result: dict[str, Any] = {"portraits": len(found)}
    for name, members in {"all": tuple(range(POINTS)), **GROUPS}.items():
        error = distance[:, list(members)].mean(axis=1)
        result[name] = {
            "mean": round(float(error.mean()), 2),
            "p95": round(float(np.quantile(error, 0.95)), 2),
            "worst": round(float(error.max()), 2),
            "mean_percent_of_eyes": round(float((100 * error / eyes).mean()), 2),
        }
    return result


def export(network: FaceMesh, path: Path, metadata: dict[str, str] | None = None) -> None:
    """Writes the graph as one ONNX file with a dynamic batch."""
    example = torch.zeros(2, SIZE, SIZE, 3, dtype=torch.uint8)
    program = torch.onnx.export(
        FaceMeshGraph(network).eval(),
        (example,),
        input_names=["photo"],
        output_names=["points", "plausibility"],
        dynamic_shapes={"photo": {0: torch.export.Dim("batch")}},
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    model = program.model_proto
    describe(model, metadata or {})
    write_atomically(path, model.SerializeToString())


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def _flip(detail: Detail) -> Tensor:
    """Factors for x and y that bring what a detail's network finds into the portrait, and back."""
    return torch.tensor([-1.0 if detail.mirrored else 1.0, 1.0])


def _even(picture: Tensor) -> Tensor:
    """The picture [B, 3, H, W] with mean 0 and deviation 1, so that exposure does not matter."""
    middle = picture.mean(dim=(1, 2, 3), keepdim=True)
    centred = picture - middle
    deviation = centred.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
    return centred / (deviation + 1)


def _window(photo: Tensor, middle: Tensor, width: int, height: int) -> Tensor:
    """Pixels [B, 3, height, width] about `middle` [B, 2]; beyond the photo its rim goes on."""
    first = (middle + 0.5).long() - torch.tensor([width // 2, height // 2])
    x = (first[:, 0, None] + torch.arange(width)).clamp(0, SIZE - 1)
    y = (first[:, 1, None] + torch.arange(height)).clamp(0, SIZE - 1)
    batch = torch.arange(photo.shape[0])[:, None, None]
    return photo[batch, y[:, :, None], x[:, None, :]].permute(0, 3, 1, 2).float()


def _distance(found: Tensor, truth: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean of the points' distances, pixels."""
    distance = ((found - truth).square().sum(dim=2) + 1e-4).sqrt()
    return (distance * weights).mean() / weights.mean()


def _point_weights() -> Tensor:
    weights = torch.ones(POINTS)
    for name, weight in WEIGHTS.items():
        weights[list(GROUPS[name])] = weight
    return weights


def _random_motion(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """An affine transform [2, 3] of the aligned frame, about the face's middle, beyond what alignment leaves."""
    angle = rng.normal(0, 6) if rng.random() < 0.8 else rng.uniform(-18, 18)
    matrix = cv2.getRotationMatrix2D((256, 308), float(angle), float(np.exp(rng.normal(0, 0.06))))
    stretch = np.array([[np.exp(rng.normal(0, 0.03)), rng.normal(0, 0.03)], [0, np.exp(rng.normal(0, 0.03))]])
    matrix[:, :2] = stretch @ matrix[:, :2]
    matrix[:, 2] += np.array([256, 308]) - matrix @ [256, 308, 1] + rng.normal(0, 6, 2)
    return np.asarray(matrix, np.float64)


def _move(mesh: Mesh, motion: npt.NDArray[np.float64]) -> Mesh:
    return (mesh @ motion[:, :2].T + motion[:, 2]).astype(np.float32)


def _mirrored_mesh(mesh: Mesh, partner: npt.NDArray[np.intp]) -> Mesh:
    return np.asarray((mesh * (-1, 1) + (SIZE - 1, 0))[partner], np.float32)


def _batch(
    data: Data, partner: npt.NDArray[np.intp], size: int, rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Photos uint8 [B, 512, 512, 3], meshes [B, 478, 2], and 1 for a face, 0 for none."""
    photos, meshes, faces = [], [], []
    for index in rng.integers(0, len(data.photos), size):
        photo, mesh, face = data.photos[index], data.meshes[index], rng.random() >= NO_FACE_SHARE
        if face:
            photo, mesh = _moved(photo, mesh, partner, rng)
        else:
            photo = _no_face(photo, rng)
        photos.append(_photographed(photo, data.photos, mesh, rng))
        meshes.append(mesh)
        faces.append(face)
    return torch.from_numpy(np.stack(photos)), torch.from_numpy(np.stack(meshes)), torch.tensor(faces).float()


def _moved(photo: Image, mesh: Mesh, partner: npt.NDArray[np.intp], rng: np.random.Generator) -> tuple[Image, Mesh]:
    """Portrait and mesh moved together, mirrored half the time."""
    motion = _random_motion(rng)
    mesh = _move(mesh, motion)
    border = cv2.BORDER_CONSTANT if rng.random() < 0.5 else cv2.BORDER_REPLICATE
    photo = np.asarray(
        cv2.warpAffine(photo, motion, (SIZE, SIZE), borderMode=border, borderValue=(WHITE,) * 3), np.uint8
    )
    if rng.random() < 0.5:
        photo, mesh = np.asarray(cv2.flip(photo, 1), np.uint8), _mirrored_mesh(mesh, partner)
    return photo, mesh


def _no_face(photo: Image, rng: np.random.Generator) -> Image:
    """What is no face, or none where one should be: turned, shifted, of another size, shuffled, a detail, noise."""
    kind = rng.integers(0, 5)
    if kind == 0:
        noise = rng.uniform(0, WHITE, (int(rng.integers(3, 65)), int(rng.integers(3, 65)), 3)).astype(np.uint8)
        return np.asarray(cv2.resize(noise, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC), np.uint8)
    if kind == 1:
        side = int(rng.choice([64, 128]))
        tiles = photo.reshape(SIZE // side, side, SIZE // side, side, 3).swapaxes(1, 2).reshape(-1, side, side, 3)
        tiles = rng.permutation(tiles).reshape(SIZE // side, SIZE // side, side, side, 3)
        return np.ascontiguousarray(tiles.swapaxes(1, 2).reshape(SIZE, SIZE, 3))
    if kind == 2:
        side = int(rng.integers(60, 200))
        left = int(rng.integers(0, SIZE - side))
        top = int(rng.integers(360, SIZE - side)) if side < 150 and rng.random() < 0.6 else 0
        detail = photo[top : top + side, left : left + side]
        return np.asarray(cv2.resize(detail, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC), np.uint8)
    angle, scale, shift = 0.0, 1.0, np.zeros(2)
    if kind == 3:
        angle = float(rng.uniform(45, 315))
    elif rng.random() < 0.5:
        scale = float(rng.choice([rng.uniform(0.25, 0.6), rng.uniform(1.7, 3.0)]))
    else:
        direction = rng.uniform(0, 2 * np.pi)
        shift = rng.uniform(70, 220) * np.array([np.cos(direction), np.sin(direction)])
    matrix = cv2.getRotationMatrix2D((256, 308), angle, scale)
    matrix[:, 2] += shift
    return np.asarray(cv2.warpAffine(photo, matrix, (SIZE, SIZE), borderMode=cv2.BORDER_REFLECT_101), np.uint8)


def _photographed(photo: Image, others: list[Image], mesh: Mesh, rng: np.random.Generator) -> Image:
    """The portrait as other cameras, light and hands before it would have it; its geometry stays."""
    if rng.random() < 0.15:
        photo = _occluded(photo, others[rng.integers(len(others))], mesh, rng)
    if rng.random() < 0.35:  # a small photo, brought to size
        side = int(SIZE / rng.uniform(1.3, 4.5))
        small = cv2.resize(photo, (side, side), interpolation=cv2.INTER_AREA)
        photo = np.asarray(cv2.resize(small, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR), np.uint8)
    elif rng.random() < 0.15:
        photo = np.asarray(cv2.GaussianBlur(photo, (0, 0), float(rng.uniform(0.5, 2.0))), np.uint8)
    ramp = np.arange(256, dtype=np.float32) / WHITE
    gamma, contrast, shift = np.exp(rng.normal(0, 0.3)), rng.uniform(0.7, 1.25), rng.uniform(-0.08, 0.08)
    tint = rng.uniform(0.88, 1.12, 3)
    table = ((ramp**gamma - 0.5) * contrast + 0.5 + shift)[:, None] * tint
    photo = np.asarray(cv2.LUT(photo, np.clip(table * WHITE, 0, WHITE).astype(np.uint8)[None]), np.uint8)
    if rng.random() < 0.12:
        photo = np.repeat(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    if rng.random() < 0.3:  # light from one side
        y, x = np.mgrid[-1:1:16j, -1:1:16j].astype(np.float32)
        angle, bend, strength = rng.uniform(0, 2 * np.pi), rng.uniform(1, 6), rng.uniform(0.1, 0.6)
        light = 1 - strength / (1 + np.exp(bend * (np.cos(angle) * x + np.sin(angle) * y + rng.uniform(-0.4, 0.4))))
        field = cv2.resize((256 * light).astype(np.uint8), (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)
        photo = np.asarray(cv2.multiply(photo, cv2.merge([field] * 3), scale=1 / 256), np.uint8)
    if rng.random() < 0.15:
        noise = np.empty(photo.shape, np.int16)
        cv2.setRNGSeed(int(rng.integers(2**31)))
        cv2.randn(noise, 0, float(rng.uniform(2, 9)))
        photo = np.asarray(cv2.add(photo, noise, dtype=cv2.CV_8U), np.uint8)
    if rng.random() < 0.2:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 85))]
        photo = np.asarray(cv2.imdecode(cv2.imencode(".jpg", photo, quality)[1], cv2.IMREAD_COLOR), np.uint8)
    return photo


def _occluded(photo: Image, other: Image, mesh: Mesh, rng: np.random.Generator) -> Image:
    """A blob of another photo, or of one colour, before the face; or bars over both eyes as dark glasses would be."""
    cover = np.zeros((SIZE, SIZE), np.uint8)
    if rng.random() < 0.3:
        for eye in IRIS_CENTRES:
            x, y = (int(value) for value in mesh[eye])
            axes = (int(rng.uniform(28, 44)), int(rng.uniform(18, 34)))
            cv2.ellipse(cover, (x, y), axes, 0, 0, 360, WHITE, -1)
    else:
        x, y = (int(value) for value in mesh[rng.integers(len(mesh))])
        axes = (int(rng.uniform(15, 70)), int(rng.uniform(15, 70)))
        cv2.ellipse(cover, (x, y), axes, float(rng.uniform(0, 180)), 0, 360, WHITE, -1)
    share = cv2.GaussianBlur(cover, (0, 0), 1.5)[..., None] / np.float32(WHITE)
    share = share * np.float32(rng.uniform(0.6, 1.0))
    before: Floats | Image = other
    if rng.random() < 0.5:
        before = np.broadcast_to(rng.uniform(0, 200, 3).astype(np.float32), photo.shape)
    return np.asarray(photo * (1 - share) + before * share).astype(np.uint8)


def main() -> None:
    """Trains, measures and writes the face mesh network."""
    parser = argparse.ArgumentParser(prog="python -m train.face_mesh", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--license", help="written into the file")
    parser.add_argument("--training-data", help="written into the file")
    options = parser.parse_args()
    try:
        data = load(options.dataset, "train")
        network = train(data, steps=options.steps, batch_size=options.batch_size, seed=options.seed)
        told = {"license": options.license, "training_data": options.training_data}
        export(network, options.output, {key: value for key, value in told.items() if value})
        print(json.dumps(evaluate(network, load(options.dataset, "val"))))  # noqa: T201
    except (ApdrawError, OSError) as error:
        parser.exit(2, f"{parser.prog}: error: {error}\n")


if __name__ == "__main__":
    main()
