"""Export of the small networks that are given photos alone, as ONNX files with a dynamic batch."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from engines.atomic_files import write_atomically
from engines.errors import ModelError
from train.export.to_onnx import describe, quiet_exporter


def export_small(
    network: nn.Module, side: int, outputs: Sequence[str], path: Path, metadata: Mapping[str, str] | None = None
) -> None:
    """Writes a network as one ONNX file.

    Args:
        network: its `forward` takes `photo`, uint8 [B, side, side, 3] RGB.
        side: height and width of the photos that it sees, pixels.
        outputs: names of what it returns.
        path: the file; replaced where it exists.
        metadata: kept in the file.

    Raises:
        ModelError: the exporter gave nothing.
    """
    with quiet_exporter(), torch.no_grad():
        program = torch.onnx.export(
            network.eval(),
            (torch.zeros(2, side, side, 3, dtype=torch.uint8),),
            input_names=["photo"],
            output_names=list(outputs),
            dynamic_shapes={"photo": {0: torch.export.Dim("batch")}},
            dynamo=True,
            verbose=False,
        )
    if program is None:  # what its signature allows for the older exporter
        raise ModelError("torch.onnx exported nothing; update torch")
    model = program.model_proto
    describe(model, metadata or {})
    write_atomically(path, model.SerializeToString())
