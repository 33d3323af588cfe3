import ctypes

import pytest

from engines import cuda


class FakeDriver:
    """Answers as the NVIDIA driver does; `result` other than 0 is an error."""

    def __init__(self, names, result=0):
        self.names, self.result = names, result

    def cuInit(self, flags):  # noqa: N802
        return self.result

    def cuDeviceGetCount(self, count):  # noqa: N802
        count._obj.value = len(self.names)
        return 0

    def cuDeviceGet(self, handle, number):  # noqa: N802
        handle._obj.value = number + 40
        return 0

    def cuDeviceGetName(self, text, length, handle):  # noqa: N802
        name = self.names[handle.value - 40]
        if name is None:
            return 1
        text.value = name[: length - 1]
        return 0


@pytest.mark.parametrize(
    ("driver", "names"),
    [
        (FakeDriver([b"NVIDIA L4", b"NVIDIA H100 80GB HBM3"]), ("NVIDIA L4", "NVIDIA H100 80GB HBM3")),
        (FakeDriver([b"NVIDIA L4", None]), ("NVIDIA L4", "GPU 1")),
        (FakeDriver([]), ()),
        (FakeDriver([b"NVIDIA L4"], result=100), ()),
        (object(), ()),
    ],
)
def test_it_names_what_the_driver_shows(monkeypatch, driver, names):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: driver)
    assert cuda.gpu_names() == names


def test_no_driver_is_no_gpu(monkeypatch):
    def missing(name):
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert cuda.gpu_names() == ()
