"""The project's model file: one `.safetensors` with a generator's weights and all that is known about it."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from engines.atomic_files import write_atomically
from engines.errors import ModelError
from engines.model_info import FORMAT, FORMAT_VERSION
from engines.regular_files import check_regular
from train.networks.config import GeneratorConfig
from train.networks.generator import Generator

DESCRIPTION_KEYS: Final = ("name", "version", "licence", "training_data", "provenance")
"""What every model file says about itself besides its configuration; empty where nobody said."""

CHECKSUM_KEY: Final = "generator_sha256"


def save_generator(
    path: Path,
    generator: Generator,
    extra_metadata: Mapping[str, str] | None = None,
    *,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Writes a generator; the file appears under its name only when it is whole.

    Args:
        path: the `.safetensors` file; replaced where it exists.
        generator: a generator on any device, in any mode.
        extra_metadata: any of `DESCRIPTION_KEYS`, and whatever else is worth keeping.
        dtype: type that the weights of convolutions are stored in; `torch.float16` halves the file. Norms and
            biases stay in float32: they are few, and a variance may be too small for half precision.

    Raises:
        FileWriteError: the file cannot be written.
        ModelError: a weight is too large for `dtype`.
    """
    from safetensors.torch import save

    tensors = {name: value.detach().cpu() for name, value in generator.state_dict().items()}
    tensors = {name: _rounded(name, value, dtype).contiguous() for name, value in tensors.items()}
    metadata = dict.fromkeys(DESCRIPTION_KEYS, "")
    metadata |= extra_metadata or {}
    metadata |= {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "config": generator.config.to_json(),
        "norm_statistics": generator.config.norm_statistics,
        CHECKSUM_KEY: weights_sha256(tensors),
    }
    write_atomically(path, save(tensors, metadata))


def load_generator(path: Path) -> tuple[Generator, dict[str, str]]:
    """Reads a generator that `save_generator` wrote.

    Returns:
        The generator in evaluation mode, float32 on the CPU, and the file's metadata.

    Raises:
        ModelError: not a readable file of this format and version, or weights that do not fit its
            configuration or its checksum.
    """
    tensors, metadata = _read(path)
    if metadata.get("format") != FORMAT:
        raise ModelError(
            f"{path} is no generator of this program; train one with apdraw train, or import one with apdraw "
            "import-weights"
        )
    if metadata.get("format_version") != FORMAT_VERSION:
        version = metadata.get("format_version")
        raise ModelError(f"{path} is of format version {version}, this program reads {FORMAT_VERSION}: update it")
    try:
        config = GeneratorConfig.from_json(metadata.get("config", ""))
    except ValueError as error:
        raise ModelError(f"cannot use {path}: {error}") from error
    with torch.device("meta"):  # no memory is taken until the shapes are known to fit
        generator = Generator(config)
    expected = generator.state_dict()
    wrong = sorted(expected.keys() ^ tensors.keys())
    wrong = wrong or [name for name, value in expected.items() if value.shape != tensors[name].shape]
    if wrong:
        raise ModelError(f"the weights in {path} do not fit its configuration: {wrong[0]} is missing or wrong")
    if metadata.get(CHECKSUM_KEY, weights_sha256(tensors)) != weights_sha256(tensors):
        raise ModelError(f"{path} is damaged: its weights do not have the checksum it tells; get it again")
    generator.load_state_dict({name: value.to(expected[name].dtype) for name, value in tensors.items()}, assign=True)
    return generator.eval(), metadata


def round_to_half(generator: Generator) -> None:
    """Rounds the weights of convolutions, in place, to what float16 can hold: what a half-size file keeps.

    Raises:
        ModelError: a weight is too large for float16.
    """
    with torch.no_grad():
        for name, value in generator.named_parameters():
            value.copy_(_rounded(name, value, torch.float16))


def weights_sha256(tensors: Mapping[str, Tensor]) -> str:
    """The checksum of a state dict's values in float32: the same in every file that keeps them."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(f"{name} {tuple(tensors[name].shape)}\n".encode())
        digest.update(tensors[name].detach().cpu().float().contiguous().numpy().data)
    return digest.hexdigest()


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        check_regular(path)
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except FileNotFoundError:
        raise ModelError(f"there is no model {path}; check the path") from None
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror or error}") from error
    except SafetensorError as error:
        raise ModelError(f"{path} is no .safetensors file, or a damaged one: {error}; get it again") from error


def _rounded(name: str, value: Tensor, dtype: torch.dtype) -> Tensor:
    """The weights of a convolution in another precision; everything else as it is."""
    if value.dim() != 4:
        return value
    stored = value.to(dtype)
    if not torch.isfinite(stored).all():
        raise ModelError(f"cannot store weight {name} in {dtype}: it is too large, or not a number")
    return stored
