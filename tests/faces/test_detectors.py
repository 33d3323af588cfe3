import sys

import pytest

from apdraw_cli.faces.detectors import DEFAULT, DETECTORS, open_detector
from apdraw_cli.faces.extract import PortraitExtractor
from apdraw_cli.faces.tiny_retinaface import TinyRetinaFace
from engines.errors import UnfitError, UsageError


def test_the_default_is_the_one_that_is_installed_with_apdraw() -> None:
    assert DEFAULT == DETECTORS[0] == "tiny-retinaface"
    assert isinstance(open_detector(), TinyRetinaFace)


@pytest.mark.parametrize("name", ["anything", "", "Tiny-RetinaFace", "detect"])
def test_an_unknown_name_never_becomes_another_detector(name: str) -> None:
    with pytest.raises(UsageError, match="choose tiny-retinaface or retinaface-resnet50"):
        open_detector(name)
    with pytest.raises(UsageError, match="there is no face detector"):
        _ = PortraitExtractor(detector=name).detector


def test_a_missing_optional_detector_names_its_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "retinaface.pre_trained_models", None)
    with pytest.raises(UnfitError, match=r"pip install retinaface-pytorch==0\.0\.8"):
        open_detector("retinaface-resnet50")
