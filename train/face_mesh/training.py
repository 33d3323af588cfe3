"""Builds the face mesh network for a data set's meshes, trains it, measures its errors and exports it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from engines.errors import DatasetError
from engines.landmarks_file import read_landmarks
from engines.portrait import SIZE, Image
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
from train.export.small_networks import export_small
from train.face_mesh.network import (
    DETAILS,
    FACE_MIDDLE,
    FACE_WINDOW,
    ZOOM,
    FaceMesh,
    FaceMeshGraph,
    PlaceNetwork,
    flip_of,
    window_middles,
)
from train.face_mesh.variation import (
    Mesh,
    mirror_permutation,
    mirrored_mesh,
    move,
    moved,
    photographed,
    random_motion,
    without_face,
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

JITTER: Final = 2.5
"""Standard deviation of a window's place in training, pixels: about what the first look errs."""

LEARNING_RATE: Final = 4e-3

LINEAR_SHARE: Final = 0.05
"""Of the learning rate, for the linear maps: they start where they are best for places that are a little wrong."""

LOGGED: Final = ("face", "eye", "nose", "mouth", "face_maps", "eye_maps", "nose_maps", "mouth_maps", "seen")


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


def build(meshes: Floats, seed: int = 0) -> FaceMesh:
    """An untrained network for meshes [M, 478, 2] in aligned pixels; its bases allow for what training varies."""
    rng = np.random.default_rng(seed)
    mean = meshes.mean(axis=0, dtype=np.float64)
    partner = mirror_permutation(mean)
    varied = []
    for mesh in np.concatenate([meshes] * max(1, 4000 // len(meshes))):
        placed = move(mesh, random_motion(rng))
        varied.append(mirrored_mesh(placed, partner) if rng.random() < 0.5 else placed)
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


def spread_points(mean: npt.NDArray[Any], count: int) -> list[int]:
    """So many points of a mesh [N, 2], each as far as can be from those before it."""
    chosen = [0]
    distance = np.linalg.norm(mean - mean[0], axis=1)
    while len(chosen) < count:
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(mean - mean[chosen[-1]], axis=1))
    return chosen


def train(data: Data, *, steps: int, batch_size: int, seed: int, log_every: int = 100) -> FaceMesh:
    """Trains on portraits with meshes, and returns the running mean of the weights.

    Args:
        data: the portraits.
        steps: how many; the learning rate falls to 0 with them.
        batch_size: portraits a step.
        seed: seed of everything random.
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
    export_small(FaceMeshGraph(network), SIZE, ("points", "plausibility"), path, metadata)


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
        wanted = (truth[:, members] - middles[:, None, index]) * flip_of(detail)
        part = cast(PlaceNetwork, network.details[detail.network])
        looks.append((part, network.second_look(photo, middles[:, index], index), wanted, weights[members]))
    points = [_distance(found.points[real], wanted[real], importance) for _, found, wanted, importance in looks]
    maps = [part.map_loss(found.maps[real], wanted[real]) for part, found, wanted, _ in looks]
    logits = torch.stack([found.logit for _, found, _, _ in looks])
    seen = F.binary_cross_entropy_with_logits(logits, face.expand(len(logits), -1))
    return torch.stack(points), torch.stack(maps), seen


def _batch(
    data: Data, partner: npt.NDArray[np.intp], size: int, rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Photos uint8 [B, 512, 512, 3], meshes [B, 478, 2], and 1 for a face, 0 for none."""
    photos, meshes, faces = [], [], []
    for index in rng.integers(0, len(data.photos), size):
        photo, mesh, face = data.photos[index], data.meshes[index], rng.random() >= NO_FACE_SHARE
        if face:
            photo, mesh = moved(photo, mesh, partner, rng)
        else:
            photo = without_face(photo, rng)
        photos.append(photographed(photo, data.photos, mesh, rng))
        meshes.append(mesh)
        faces.append(face)
    return torch.from_numpy(np.stack(photos)), torch.from_numpy(np.stack(meshes)), torch.tensor(faces).float()


def _distance(found: Tensor, truth: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean of the points' distances, pixels."""
    distance = ((found - truth).square().sum(dim=2) + 1e-4).sqrt()
    return (distance * weights).mean() / weights.mean()


def _point_weights() -> Tensor:
    weights = torch.ones(POINTS)
    for name, weight in WEIGHTS.items():
        weights[list(GROUPS[name])] = weight
    return weights
