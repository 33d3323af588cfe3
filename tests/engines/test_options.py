"""Options as fields: what a field allows, and what is refused."""

from dataclasses import dataclass
from typing import Any

import pytest

from engines.errors import OptionsError
from engines.options import BuildOptions, EngineOptions, check, make, option


@dataclass(frozen=True)
class Pens:
    """Options to try."""

    count: int = option(1, "How many.", min=1, max=9)
    width: float = option(0.5, "In millimetres.", above=0, below=2)
    ink: str | None = option(None, "Its colour.", choices=("black", "blue"))
    spare: bool = option(False, "Whether there is another.")

    def __post_init__(self) -> None:
        check(self)


@pytest.mark.parametrize("given", [{}, {"count": 9}, {"width": 1}, {"ink": "blue"}, {"spare": True}])
def test_what_a_field_allows(given: dict[str, Any]) -> None:
    assert vars(Pens(**given)) == {"count": 1, "width": 0.5, "ink": None, "spare": False} | given


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"count": 0}, "count must not be under 1, but is 0"),
        ({"count": 10}, "count must not be over 9, but is 10"),
        ({"count": True}, "count must be of the type int, not True"),
        ({"count": None}, "count must be of the type int, not None"),
        ({"count": 1.0}, "count must be of the type int, not 1.0"),
        ({"width": 0}, "width must be over 0, not 0"),
        ({"width": float("nan")}, "width is too large, or no number"),
        ({"width": 2.0}, "width must be under 2, not 2.0"),
        ({"ink": "red"}, "ink must be one of black, blue, not 'red'"),
        ({"spare": 1}, "spare must be of the type bool, not 1"),
    ],
)
def test_what_a_field_refuses(given: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionsError) as refused:
        Pens(**given)
    assert str(refused.value) == message


def test_options_find_their_groups() -> None:
    made = make({"pens": Pens, "engine": EngineOptions}, {"batch_size": 3, "ink": "black"})
    assert made == {"pens": Pens(ink="black"), "engine": EngineOptions(batch_size=3)}
    with pytest.raises(OptionsError, match="there is no option paper-size"):
        make({"pens": Pens}, {"paper_size": "A4"})


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:3", "cuda:0,cuda:1"])
def test_devices(device: str) -> None:
    assert EngineOptions(device=device).device == device


@pytest.mark.parametrize(
    "given",
    [
        {"flavor": "trt"},
        {"batch_size": 0},
        {"batch_size": 1025},
        {"workspace_mib": 0},
        {"optimization_level": 6},
        {"compute_capabilities": ("8",)},
        {"precision": "bf16"},
    ],
    ids=lambda given: next(iter(given)),
)
def test_what_no_engine_can_be_built_with(given: dict[str, Any]) -> None:
    with pytest.raises(OptionsError):
        BuildOptions(**given)
