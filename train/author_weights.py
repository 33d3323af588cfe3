"""The authors' checkpoints, read into this project's generator.

Two layouts are known: `<epoch>_net_gen.pt`, a dict of eight state dicts, and a folder with one file for each
network, `<epoch>_net_<key>.pth`. Discriminators beside them are left alone.
"""

import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from engines.errors import ModelError, first_line
from engines.regular_files import open_regular
from train.networks.config import GeneratorConfig
from train.networks.generator import Generator
from train.networks.unet import UNet

NETWORKS: Final = {
    "G": "whole",
    "GLEyel": "eye_left",
    "GLEyer": "eye_right",
    "GLNose": "nose",
    "GLMouth": "mouth",
    "GLHair": "hair",
    "GLBG": "background",
    "GCombine": "fusion",
}
"""The authors' names of the networks, and the generator's."""

_FILE: Final = re.compile(r"(?P<epoch>.+)_net_(?P<key>[A-Za-z]+)\.(?P<suffix>pt|pth)")
_DISCRIMINATORS: Final = ("D", "DLEyel", "DLEyer", "DLNose", "DLMouth", "DLHair", "DLBG")
_COUNTER: Final = "num_batches_tracked"  # counts training steps; nothing that draws uses it


def load_author_generator(checkpoint: Path, epoch: str | None = None) -> Generator:
    """Reads a generator from an author-format checkpoint.

    Args:
        checkpoint: a `<epoch>_net_gen.pt` file, or a folder that holds one or the eight `.pth` files.
        epoch: which of a folder's epochs; by default `latest`, else the highest number.

    Returns:
        The generator in evaluation mode, its norms on the statistics of each photo, as the authors' program
        draws. The widths are those of the weights.

    Raises:
        ModelError: not such a checkpoint; the message names the network and the weight.
    """
    states = {key: _cleaned(key, state) for key, state in _read_states(checkpoint, epoch).items()}
    config = _config(states)
    with torch.device("meta"):  # no memory is taken until the shapes are known to fit
        generator = Generator(config)
    for key, name in NETWORKS.items():
        _fill(generator.get_submodule(name), states[key], key)
    return generator.eval()


def unet_names(levels: int) -> dict[str, str]:
    """The authors' prefix of each layer of a U-Net, and this project's; theirs nest level in level."""
    names = {"model.model.0": "down.0.conv", "model.model.3": "up.0.conv"}
    prefix = "model.model.1"
    for level in range(1, levels):
        down, up = f"down.{level}", f"up.{level}"
        if level < levels - 1:
            layers = {1: f"{down}.conv", 2: f"{down}.norm", 5: f"{up}.conv", 6: f"{up}.norm"}
        else:
            layers = {1: f"{down}.conv", 3: f"{up}.conv", 4: f"{up}.norm"}
        names |= {f"{prefix}.model.{index}": name for index, name in layers.items()}
        prefix += ".model.3"
    return names


def fusion_names() -> dict[str, str]:
    """The authors' prefix of each layer of the fusion network, and this project's."""
    names = {"model.1": "first", "model.2": "norm", "model.7": "last"}
    for block in (0, 1):
        layers = {1: "first", 2: "first_norm", 6: "second", 7: "second_norm"}
        names |= {f"model.{4 + block}.conv_block.{index}": f"blocks.{block}.{name}" for index, name in layers.items()}
    return names


def read_checkpoint(path: Path) -> Any:
    """Unpickles a checkpoint that may hold nothing but tensors and plain containers.

    Raises:
        ModelError: unreadable, no checkpoint, or one that would run code.
    """
    try:
        with warnings.catch_warnings():  # the error says it better
            warnings.simplefilter("ignore")
            with open_regular(path) as file:
                return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path} is no checkpoint, or holds more than weights; it was not loaded, as that could run code"
        ) from error
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror or error}") from error
    except (RuntimeError, ValueError, EOFError, KeyError, AttributeError, IndexError, TypeError) as error:
        raise ModelError(f"{path} is no checkpoint, or a damaged one: {first_line(error)}") from error


def _read_states(checkpoint: Path, epoch: str | None) -> dict[str, Any]:
    if not checkpoint.exists():
        raise ModelError(
            f"{checkpoint} does not exist: give a <epoch>_net_gen.pt file, or the folder of the .pth files"
        )
    if checkpoint.is_file():
        if epoch is not None:
            raise ModelError(f"an epoch chooses among the files of a folder, but {checkpoint} is a file")
        return _combined(checkpoint)
    files = _files_of_epoch(checkpoint, epoch)
    if "gen" in files:
        return _combined(files["gen"])
    missing = [key for key in NETWORKS if key not in files]
    if missing:
        raise ModelError(f"{checkpoint} lacks the files of these networks: {', '.join(missing)}")
    return {key: read_checkpoint(files[key]) for key in NETWORKS}


def _files_of_epoch(folder: Path, epoch: str | None) -> dict[str, Path]:
    """The generator's files of one epoch by network, or one under `gen`."""
    epochs: dict[str, dict[str, Path]] = {}
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise ModelError(f"cannot read {folder}: {error.strerror or error}") from error
    for path in paths:
        match = _FILE.fullmatch(path.name)
        if match is None:
            continue
        key, suffix = match["key"], match["suffix"]
        if (key == "gen" and suffix == "pt") or (key in NETWORKS and suffix == "pth"):
            epochs.setdefault(match["epoch"], {})[key] = path
    if not epochs:
        raise ModelError(f"{folder} holds no checkpoint: neither <epoch>_net_gen.pt nor <epoch>_net_G.pth and so on")
    if epoch is None:
        epoch = max(epochs, key=lambda name: (name == "latest", name.isdecimal() and int(name), name))
    if epoch not in epochs:
        raise ModelError(f"{folder} holds no epoch {epoch}; it has {', '.join(sorted(epochs))}")
    return epochs[epoch]


def _combined(path: Path) -> dict[str, Any]:
    states = read_checkpoint(path)
    if not isinstance(states, Mapping):
        raise ModelError(f"{path} is no generator checkpoint: it holds no dictionary of networks")
    missing = [key for key in NETWORKS if key not in states]
    if missing:
        raise ModelError(
            f"{path} lacks these networks: {', '.join(missing)}; for one file a network, name their folder"
        )
    unexpected = sorted(str(key) for key in states if key not in NETWORKS and key not in _DISCRIMINATORS)
    if unexpected:
        raise ModelError(f"{path} holds more than a generator: {', '.join(unexpected)}")
    return {key: states[key] for key in NETWORKS}


def _cleaned(key: str, state: Any) -> dict[str, Tensor]:
    """Checks that this is a state dict; takes off the `module.` of nn.DataParallel and the step counters."""
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ModelError(f"network {key} of the checkpoint is no state dict of tensors")
    return {
        str(name).removeprefix("module."): value for name, value in state.items() if not str(name).endswith(_COUNTER)
    }


def _config(states: Mapping[str, Mapping[str, Tensor]]) -> GeneratorConfig:
    """The widths are the numbers of channels of the first convolutions."""
    widths: dict[str, Any] = {}
    fields = {"G": "width", "GLEyel": "local_width", "GLHair": "region_width", "GCombine": "fusion_width"}
    for key, field in fields.items():
        name = "model.1.weight" if key == "GCombine" else "model.model.0.weight"
        weight = states[key].get(name)
        if weight is None or weight.dim() != 4:
            raise ModelError(f"network {key} of the checkpoint is not the authors': it has no convolution {name}")
        widths[field] = int(weight.shape[0])
    try:
        return GeneratorConfig(**widths, norm_statistics="photo")
    except ValueError as error:
        raise ModelError(f"the checkpoint cannot be used: {error}") from error


def _fill(network: nn.Module, state: Mapping[str, Tensor], key: str) -> None:
    """Gives a network on the meta device the authors' weights."""
    names = unet_names(len(network.up)) if isinstance(network, UNet) else fusion_names()
    prefixes = {own: author for author, own in names.items()}
    filled = {}
    wanted = set()
    for name, own in network.state_dict().items():
        layer, _, kind = name.rpartition(".")
        if kind == _COUNTER:
            filled[name] = torch.zeros(own.shape, dtype=own.dtype)
            continue
        author = f"{prefixes[layer]}.{kind}"
        wanted.add(author)
        if author not in state:
            raise ModelError(f"network {key} of the checkpoint lacks {author}")
        if state[author].shape != own.shape:
            found, expected = tuple(state[author].shape), tuple(own.shape)
            raise ModelError(f"network {key} of the checkpoint: {author} has shape {found}, expected {expected}")
        filled[name] = state[author].to(own.dtype)
    unknown = sorted(state.keys() - wanted)
    if unknown:
        raise ModelError(f"network {key} of the checkpoint has unknown weights: {_listed(unknown)}")
    network.load_state_dict(filled, assign=True)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
