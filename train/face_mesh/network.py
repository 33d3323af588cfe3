"""The face mesh network: soft maps follow points of the face, and a linear map takes their places to a whole mesh.

The first look sees the whole face at a third of its size. The second sees eyes, nose and mouth at full size, where the
first found them, and replaces its points there. Both work alike. Small maps over the picture each follow one point: a
softmax over a map tells where the point is, and its mean is the place. A linear map takes all places to the weights of
a shape basis, the principal components of the training meshes. Maps see a face wherever it is, and the basis spans
little but faces, so a few hundred portraits suffice.
"""

import itertools
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from engines.portrait import SIZE
from train.data.pairs import Floats

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
        width: width of the window, pixels.
        height: height of the window, pixels.
        offset: offset of the window's middle from the middle of the `anchors`, pixels.
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

MOST_DIFFERENCE: Final = 8.0
"""Where both looks differ by so much on average, pixels, a mesh is half as plausible: portraits have 5 at most."""


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
        size: width and height of the picture.
        zoom: pixels of the portrait that a pixel of the picture covers.
        shapes: float [M, N, 2], examples of its points in pixels of the portrait about the picture's middle.
        followed: those of the points that have maps.
        components: number of components of the shape basis.
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
            index: index of the detail.
        """
        detail = DETAILS[index]
        seen = window_of(photo, middle, detail.width, detail.height)
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
            refined = (found.points * flip_of(detail)) + middles[:, None, index]
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


def shape_basis(shapes: Floats, size: int) -> tuple[Floats, Floats]:
    """Mean [N * 2] and principal components [size, N * 2] of shapes [M, N, 2]; their weights have variance 1."""
    flat = shapes.reshape(len(shapes), -1).astype(np.float64)
    values, vectors = np.linalg.eigh(np.cov(flat, rowvar=False))
    values, vectors = values[::-1][:size], vectors[:, ::-1][:, :size]
    components = (vectors * np.sqrt(np.maximum(values, 1e-6))).T
    return flat.mean(axis=0).astype(np.float32), np.ascontiguousarray(components, np.float32)


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def flip_of(detail: Detail) -> Tensor:
    """Factors for x and y that bring what a detail's network finds into the portrait, and back."""
    return torch.tensor([-1.0 if detail.mirrored else 1.0, 1.0])


def _even(picture: Tensor) -> Tensor:
    """The picture [B, 3, H, W] with mean 0 and deviation 1, so that exposure does not matter."""
    middle = picture.mean(dim=(1, 2, 3), keepdim=True)
    centred = picture - middle
    deviation = centred.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
    return centred / (deviation + 1)


def window_of(photo: Tensor, middle: Tensor, width: int, height: int) -> Tensor:
    """Pixels [B, 3, height, width] about `middle` [B, 2]; beyond the photo its rim goes on."""
    first = (middle + 0.5).long() - torch.tensor([width // 2, height // 2])
    x = (first[:, 0, None] + torch.arange(width)).clamp(0, SIZE - 1)
    y = (first[:, 1, None] + torch.arange(height)).clamp(0, SIZE - 1)
    batch = torch.arange(photo.shape[0])[:, None, None]
    return photo[batch, y[:, :, None], x[:, None, :]].permute(0, 3, 1, 2).float()
