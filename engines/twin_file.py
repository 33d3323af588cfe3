"""Joins an ONNX file with the weights that it leaves out, which another file beside it holds.

A model's twin in half precision is another graph of the same weights. So its file names tensors of the model's own file
in place of holding them again (`BORROWED`), and is made whole before it is opened. No library is needed for that: two
messages of protobuf, one after the other, are one that holds the repeated fields of both, and of fields that are not
repeated the last.
"""

import hashlib
import json
import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from engines.atomic_files import write_atomically
from engines.errors import FileWriteError, ModelFileError
from engines.model_info import fields, onnx_metadata
from engines.regular_files import open_regular, read_regular

LENDER: Final = "weights_of"
"""Key of an ONNX file's metadata: the name of the file beside it that holds the rest of its weights."""

BORROWED: Final = "borrowed_weights"
"""Key of an ONNX file's metadata: by the names of tensors in this file, their names in the other; JSON."""

_GRAPH: Final = 7  # number of ModelProto.graph
_INITIALIZER: Final = 5  # number of GraphProto.initializer
_NAME: Final = 8  # number of TensorProto.name


def whole_file(onnx: Path, cache: Path) -> Path:
    """The file itself if nothing is missing in it, else one in the cache that is both files joined.

    Args:
        onnx: an ONNX file with this program's metadata.
        cache: a folder; what is made is kept there.

    Raises:
        ModelFileError: one of the two cannot be read, or they do not belong together.
        FileWriteError: the cache cannot be written.
    """
    try:
        with open_regular(onnx) as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            metadata = onnx_metadata(content)
            if LENDER not in metadata:
                return onnx
            twin = bytes(content)
        lender = read_regular(onnx.with_name(Path(metadata[LENDER]).name))
    except (OSError, ValueError) as error:
        raise ModelFileError(
            f"cannot read {onnx}, or what is missing in it: {error}; get or export both again"
        ) from error
    digest = hashlib.sha256(twin)
    digest.update(lender)
    kept = cache / digest.hexdigest()[:32] / onnx.name
    if not kept.exists():
        try:
            content_of_both = joined(twin, lender, json.loads(metadata[BORROWED]))
        except (ValueError, KeyError, AttributeError) as error:
            raise ModelFileError(
                f"{onnx} and {metadata[LENDER]} do not belong together: {error}; get or export both again"
            ) from error
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FileWriteError(f"cannot make {kept.parent}: {error.strerror or error}") from error
        write_atomically(kept, content_of_both)
    return kept


def joined(twin: bytes, lender: bytes, borrowed: Mapping[str, str]) -> bytes:
    """The bytes of an ONNX file with tensors of another one added.

    Args:
        twin: the file that leaves tensors out.
        lender: the file that holds them.
        borrowed: the names of those tensors, and their names in the other file.

    Raises:
        ValueError: the other file is damaged, or lacks one of them.
    """
    tensors = dict(_tensors(lender))
    missing = {*borrowed.values()} - tensors.keys()
    if missing:
        raise ValueError(f"there is no tensor {min(missing)}")
    added = [
        _field(_INITIALIZER, tensors[there] + _field(_NAME, here.encode())) for here, there in sorted(borrowed.items())
    ]
    return twin + _field(_GRAPH, b"".join(added))


def _tensors(content: bytes) -> Iterator[tuple[str, bytes]]:
    """The initializers of an ONNX file by their names, each as its message."""
    for number, start, end in fields(content, 0, len(content)):
        if number != _GRAPH:
            continue
        for inner, first, last in fields(content, start, end):
            if inner == _INITIALIZER:
                names = [content[a:b].decode() for part, a, b in fields(content, first, last) if part == _NAME]
                yield names[-1], content[first:last]


def _field(number: int, content: bytes) -> bytes:
    """A field of a message that has a length: its number, that, and its content."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """A number in groups of seven bits, the lowest first."""
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)
