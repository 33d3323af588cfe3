"""The features of FID: what Inception-v3 sees in drawings, by torch-fidelity."""

import hashlib
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch

from engines.errors import FeaturesError, first_line
from engines.installed import pip_install
from engines.portrait import Image
from engines.regular_files import open_regular

if TYPE_CHECKING:
    from train.evaluation.metrics import Features

Extractor = Callable[[Image], "Features"]
"""Takes drawings, uint8 [B, H, W], 0 black to 255 white, to float [B, D], features of each."""

WEIGHTS: Final = "weights-inception-2015-12-05-6726825d.pth"
"""The weights' file, 96 MB: the TensorFlow network of 2015-12-05 with which FID is defined, converted."""

WEIGHTS_URL: Final = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{WEIGHTS}"

WEIGHTS_SHA256: Final = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"


def inception_features(weights: Path | None = None, device: str = "cpu") -> Extractor:
    """Opens Inception-v3 with the 2048 features that FID is defined with.

    Drawings are scaled to 299 x 299 as TensorFlow 1 did, which published FIDs rest on.

    Args:
        weights: the file `WEIGHTS`; None for the library's own copy, which it downloads once.
        device: a device of torch.

    Raises:
        FeaturesError: a package is missing or broken, or the weights cannot be read or downloaded.
    """
    if weights is not None:
        _check_weights(weights)  # the library would run whatever code the file holds
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError as error:
        package = (error.name or "torch-fidelity").partition(".")[0].replace("_", "-")
        raise FeaturesError(f"FID needs {package}; install it with: {pip_install('fid')}") from error
    except Exception as error:  # torchvision made for another torch raises RuntimeError, AttributeError, ...
        raise FeaturesError(
            f"FID cannot be measured: torch-fidelity fails to load ({first_line(error)}); "
            f"install it anew with: {pip_install('fid')}"
        ) from error
    try:
        network: torch.nn.Module = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], _text(weights))
    except OSError as error:
        if weights is not None:
            raise _unreadable(weights, error) from error
        reason = getattr(error, "reason", None) or first_line(error)  # urllib's says more
        raise FeaturesError(
            f"FID's weights cannot be downloaded ({reason}); "
            f"fetch {WEIGHTS_URL} where there is a network, and name the file with --features"
        ) from error
    except (RuntimeError, ValueError, KeyError, EOFError, pickle.UnpicklingError) as error:
        where = weights or Path(torch.hub.get_dir()) / "checkpoints" / WEIGHTS
        raise FeaturesError(
            f"{where} does not hold the weights of FID's Inception-v3 ({first_line(error)}); "
            + (f"name the file of {WEIGHTS_URL}" if weights else "remove it, and it is downloaded again")
        ) from error
    try:
        network = network.to(device)
    except RuntimeError as error:
        raise FeaturesError(f"FID cannot be measured on {device}: {first_line(error)}; use --device cpu") from error

    @torch.inference_mode()
    def extract(drawings: Image) -> "Features":
        rgb = torch.from_numpy(drawings).to(device)[:, None].expand(-1, 3, -1, -1)
        (found,) = network(rgb)
        features: Features = found.cpu().numpy()
        return features

    return extract


def usual_weights(weights: Path) -> bool:
    """Whether a file is the one that published FIDs were measured with.

    Raises:
        FeaturesError: it cannot be read.
    """
    try:
        with open_regular(weights) as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == WEIGHTS_SHA256
    except OSError as error:
        raise _unreadable(weights, error) from error


def _check_weights(weights: Path) -> None:
    """Makes sure that a file holds tensors only."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, about files that are none of its own
            with open_regular(weights) as file:
                held: Any = torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise _unreadable(weights, error) from error
    except (RuntimeError, ValueError, KeyError, EOFError, pickle.UnpicklingError) as error:
        raise FeaturesError(f"{weights} is no file of weights; name the file of {WEIGHTS_URL}") from error
    if not isinstance(held, dict):
        raise FeaturesError(f"{weights} holds no network's weights; name the file of {WEIGHTS_URL}")


def _unreadable(weights: Path, error: OSError) -> FeaturesError:
    return FeaturesError(
        f"the weights {weights} cannot be read ({error.strerror or first_line(error)}); name the file of {WEIGHTS_URL}"
    )


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
