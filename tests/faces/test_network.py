"""Networks are compiled once for each that is in use at a time."""

import gc
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from apdraw_cli.faces import network
from apdraw_cli.faces.extract import PortraitExtractor
from apdraw_cli.faces.network import Network, read_network
from apdraw_cli.faces.segment import INPUT_SIZE, WEIGHTS

PHOTO = np.random.default_rng(0).integers(0, 256, (INPUT_SIZE, INPUT_SIZE, 3), np.uint8)


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int | None, bool]]:
    """What is compiled from here on."""
    compile_ = network._compiled
    asked: list[tuple[int | None, bool]] = []

    def recorded(model: object, size: int | None, single_precision: bool) -> object:
        asked.append((size, single_precision))
        return compile_(model, size, single_precision)

    monkeypatch.setattr(network, "_compiled", recorded)
    return asked


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A file that nothing was read of."""
    return shutil.copy(WEIGHTS, tmp_path / "weights.onnx")


def test_networks_in_use_share_nothing_and_those_that_are_gone_are_used_again(
    compiled: list[tuple[int | None, bool]], weights: Path
) -> None:
    first = Network(read_network(weights), INPUT_SIZE)
    second = Network(read_network(weights), INPUT_SIZE)
    assert first._request is not second._request
    assert len(compiled) == 2
    drawn = first.run(PHOTO)[0]
    given = first._request
    del first
    third = Network(read_network(weights), INPUT_SIZE)
    assert third._request is given
    assert (third.run(PHOTO)[0] == drawn).all()
    assert (second.run(PHOTO)[0] == drawn).all()
    assert len(compiled) == 2
    Network(read_network(weights), INPUT_SIZE, single_precision=True)
    Network(read_network(weights))
    assert compiled[2:] == [(INPUT_SIZE, True), (None, False)]


def test_a_file_that_changes_is_read_again(compiled: list[tuple[int | None, bool]], weights: Path) -> None:
    read = read_network(weights)
    assert read_network(weights) is read
    os.utime(weights, ns=(1, 1))
    assert read_network(weights) is not read
    Network(read_network(weights), INPUT_SIZE)
    weights.unlink()
    with pytest.raises(FileNotFoundError):
        read_network(weights)
    assert len(compiled) == 1


def test_an_extractor_gives_its_networks_back_at_once(compiled: list[tuple[int | None, bool]]) -> None:
    gc.disable()
    try:
        for _ in range(2):
            compiled.clear()
            extractor = PortraitExtractor()
            _ = extractor.finder, extractor.mesher, extractor.segmenter
            assert extractor.mesher is extractor.mesher
            del extractor
    finally:
        gc.enable()
    assert compiled == []
