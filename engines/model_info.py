"""Reads the metadata of a model file (`.onnx`, `.safetensors`) without the libraries that draw with it."""

import hashlib
import json
import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from engines.errors import ModelFileError
from engines.options import PRECISIONS
from engines.regular_files import open_regular

FORMAT: Final = "apdraw-generator"
FORMAT_VERSION: Final = "1"

Bytes = bytes | mmap.mmap
"""The content of a file, read or mapped."""

_ONNX_METADATA: Final = 14  # number of ModelProto.metadata_props, a list of key (1) and value (2)
_ONNX_GRAPH: Final = 7  # number of ModelProto.graph

_ONNX_TENSORS: Final[Mapping[str, Mapping[int, str]]] = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
"""Where tensors are in an ONNX file: fields by number that hold messages, and of which kind."""

_ONNX_EXTERNAL: Final = 13  # number of TensorProto.external_data


@dataclass(frozen=True)
class ModelInfo:
    """What a model file says about itself; texts are empty where nobody said.

    Attributes:
        name: name of the model.
        version: version of the model.
        norm_statistics: `running`, or `photo` for those of the one photo being drawn.
        config: the networks' widths and more, as one line of JSON.
        licence: licence of the weights.
        training_data: what it was trained on.
        provenance: where the weights come from.
        precision: what the file's graph computes in: `fp32`, `fp16` or `int8`.
        precisions: those in which real portraits were drawn and kept their drawing; always `fp32`.
        generator_sha256: the weights' own checksum, the same in every file made of them; None where missing.
    """

    name: str
    version: str
    norm_statistics: str
    config: str
    licence: str
    training_data: str
    provenance: str
    precision: str
    precisions: tuple[str, ...]
    generator_sha256: str | None


def sha256(path: Path) -> str:
    """The checksum of a file's bytes, 64 hexadecimal digits.

    Raises:
        ModelFileError: it cannot be read.
    """
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelFileError(f"cannot read {path}: {error.strerror or error}; check the path") from error


def read_metadata(path: Path) -> ModelInfo:
    """Reads what a `.onnx` or `.safetensors` model says about itself; does not load the weights.

    Raises:
        ModelFileError: the file is missing, damaged, cut short, or no generator of this program.
    """
    readers = {".onnx": onnx_metadata, ".safetensors": _safetensors_metadata}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise ModelFileError(f"cannot draw with {path}: a model is a {' or a '.join(readers)} file")
    try:
        with open_regular(path) as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            metadata = reader(content)
    except FileNotFoundError:
        raise ModelFileError(f"there is no model {path}; check the path given to --model") from None
    except OSError as error:
        raise ModelFileError(f"cannot read the model {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:  # also an empty file: it cannot be mapped
        raise ModelFileError(
            f"{path} is no {path.suffix} file, or a damaged one: {error}; get or export it again"
        ) from error
    if metadata.get("format") != FORMAT:
        raise ModelFileError(
            f"{path} is no generator of this program; train one with apdraw train, or import one with apdraw "
            "import-weights"
        )
    if metadata.get("format_version") != FORMAT_VERSION:
        raise ModelFileError(
            f"{path} is of format version {metadata.get('format_version')!r}, "
            f"this program reads {FORMAT_VERSION}: update it, or export the model again"
        )
    return model_info(metadata)


def model_info(metadata: Mapping[str, str]) -> ModelInfo:
    """What a model says about itself, from the texts that its file holds."""
    listed = metadata.get("precisions", "").replace(",", " ").split()
    return ModelInfo(
        **{
            key: metadata.get(key, "")
            for key in (
                "name",
                "version",
                "norm_statistics",
                "config",
                "licence",
                "training_data",
                "provenance",
            )
        },
        precision=metadata.get("precision") or "fp32",
        precisions=tuple(name for name in PRECISIONS if name == "fp32" or name in listed),
        generator_sha256=metadata.get("generator_sha256"),
    )


def _safetensors_metadata(content: Bytes) -> dict[str, str]:
    """The `__metadata__` of the JSON header, which follows its own length (8 bytes, little-endian)."""
    start = 8 + int.from_bytes(content[:8], "little")
    if not 8 < start <= len(content):
        raise ValueError("its header is cut short")
    header = json.loads(content[8:start])
    if not isinstance(header, dict):
        raise ValueError("its header is no JSON object")
    metadata = header.pop("__metadata__", {})
    try:
        end = start + max((tensor["data_offsets"][1] for tensor in header.values()), default=0)
        texts = {str(key): str(value) for key, value in metadata.items()}
    except (TypeError, KeyError, IndexError, AttributeError, OverflowError):
        raise ValueError("its header describes no tensors") from None
    if end != len(content):
        raise ValueError(f"it has {len(content)} bytes, its header tells of {end}")
    return texts


def onnx_metadata(content: Bytes) -> dict[str, str]:
    """`metadata_props` of an ONNX file, a protobuf message: whatever else it holds is stepped over.

    Raises:
        ValueError: it is damaged, or its weights are in other files.
    """
    metadata = {}
    numbers = set()
    for number, start, end in fields(content, 0, len(content)):
        numbers.add(number)
        if number == _ONNX_METADATA:
            pair = {part: content[a:b].decode() for part, a, b in fields(content, start, end)}
            metadata[pair.get(1, "")] = pair.get(2, "")
    if _ONNX_GRAPH not in numbers:
        raise ValueError("it holds no graph")
    if _names_other_files(content, 0, len(content), "model"):
        raise ValueError("its weights are in other files, which could be any file of this machine")
    return metadata


def _names_other_files(content: Bytes, start: int, end: int, kind: str) -> bool:
    """Whether a message of an ONNX file holds a tensor whose values lie in another file."""
    if kind == "tensor":
        return any(number == _ONNX_EXTERNAL for number, _, _ in fields(content, start, end))
    inner = _ONNX_TENSORS[kind]
    kinds = ((inner.get(number), a, b) for number, a, b in fields(content, start, end))
    return any(each and _names_other_files(content, a, b, each) for each, a, b in kinds)


def fields(content: Bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Walks the fields of a protobuf message: number, and where its value starts and ends.

    Raises:
        ValueError: it is damaged.
    """
    position = start
    while position < end:
        tag = content[position]  # a graph has ten thousand fields, most with numbers of one byte
        if tag < 0x80:
            position += 1
        else:
            tag, position = _varint(content, position, end)
        wire = tag & 7
        if wire == 2:
            if position < end and (length := content[position]) < 0x80:
                position += 1
            else:
                length, position = _varint(content, position, end)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        elif wire == 0:
            length = _varint(content, position, end)[1] - position
        else:
            raise ValueError(f"a field of unknown kind at byte {position}")
        if position + length > end:
            raise ValueError(f"it is cut short in the field at byte {position}")
        yield tag >> 3, position, position + length
        position += length


def _varint(content: Bytes, position: int, end: int) -> tuple[int, int]:
    """A number of up to ten bytes, seven bits each, lowest first; and where it ends."""
    value = 0
    for index, byte in enumerate(content[position : min(position + 10, end)]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, position + index + 1
    raise ValueError(f"a broken number at byte {position}")
