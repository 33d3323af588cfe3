"""The devices of a run, made where other programs are about."""

import os
from pathlib import Path

import pytest

from engines.errors import OptionsError
from train import devices
from train.devices import make_fabric
from train.options import TrainOptions


@pytest.mark.skipif(os.name == "nt", reason="Slurm is not looked for there")
def test_nothing_is_said_where_slurm_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "srun").write_text("#!/bin/sh\n")
    (tmp_path / "srun").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("SLURM_NTASKS", raising=False)
    assert make_fabric(TrainOptions(device="cpu")).device.type == "cpu"  # a warning would be an error


@pytest.mark.parametrize(("machines", "remedy"), [(1, "--set devices=N"), (2, "GLOO_SOCKET_IFNAME")])
def test_what_devices_and_networks_refuse_is_told_with_a_remedy(
    monkeypatch: pytest.MonkeyPatch, machines: int, remedy: str
) -> None:
    class Refusing:
        def __init__(self, **said: object) -> None:
            raise RuntimeError("Connection refused\nmore")

    monkeypatch.setattr(devices, "Fabric", Refusing)
    for name, value in {
        "TORCHELASTIC_RUN_ID": "none",
        "LOCAL_WORLD_SIZE": "2",
        "GROUP_WORLD_SIZE": str(machines),
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(OptionsError) as told:
        make_fabric(TrainOptions(device="cpu"))
    assert f"cannot train on {2 * machines} x cpu: Connection refused; " in str(told.value)
    assert remedy in str(told.value)
    assert "\n" not in str(told.value)
