"""SVG and PDF, rendered by other programs, are the PNG; they have the right size, and are known by their seal."""

import io
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import cv2
import numpy as np
import pypdfium2
import pytest
import resvg_py
from PIL import Image as Pillow

from apdraw_cli import Artist
from apdraw_cli.conversion.formats import FORMATS
from apdraw_cli.conversion.options import FileOptions, PageOptions
from apdraw_cli.conversion.recipe import Recipe
from engines.portrait import SIZE, Image
from train.evaluation.metrics import ssim

SAMPLES = Path(__file__).resolve().parents[3] / "samples"
VECTORS = [name for name, each in FORMATS.items() if each.vector]
LEAST_SSIM = 0.95
DISC = np.asarray(cv2.circle(np.full((SIZE, SIZE), 255, np.uint8), (256, 256), 100, 0, -1, cv2.LINE_AA), np.uint8)


@pytest.fixture(scope="module")
def drawings() -> list[Image]:
    """The samples, drawn."""
    found = []
    with Artist(device="cpu") as artist:
        for name in ("astronaut.png", "grace_hopper.jpg"):
            with Pillow.open(SAMPLES / name) as photo:
                found.append(artist.draw(np.array(photo.convert("RGB")))[0].image)
    return found


def encoded(name: str, page: Image, size: int | str | None = None, dpi: float = 300) -> bytes:
    return FORMATS[name].encode(page, Recipe(file=FileOptions(name), page=PageOptions(size=size, dpi=dpi)))


def rendered(name: str, data: bytes) -> Image:
    """What another program makes of it, at 512 pixels, on white."""
    if name == "svg":
        png = bytes(
            resvg_py.svg_to_bytes(svg_string=data.decode(), width=SIZE, height=SIZE, background="white", dpi=96)
        )
        with Pillow.open(io.BytesIO(png)) as picture:
            return np.array(picture.convert("L"))
    with pypdfium2.PdfDocument(data) as document:
        page = document[0]
        return np.array(page.render(scale=SIZE / page.get_width()).to_pil().convert("L").resize((SIZE, SIZE)))


@pytest.fixture(scope="module")
def files(drawings: list[Image]) -> dict[str, list[bytes]]:
    """By the name of the format, the drawings as files, 10 cm wide."""
    return {name: [encoded(name, drawing, "10cm") for drawing in drawings] for name in VECTORS}


@pytest.mark.parametrize("name", VECTORS)
def test_rendered_elsewhere_they_are_the_drawing(
    name: str, drawings: list[Image], files: dict[str, list[bytes]]
) -> None:
    for drawing, data in zip(drawings, files[name], strict=True):
        assert ssim(rendered(name, data), drawing) >= LEAST_SSIM


def test_few_nodes_follow_a_drawing(files: dict[str, list[bytes]]) -> None:
    for data in files["svg"]:
        assert 100 < data.count(b"C") < 5000


SUBPATH = re.compile(r"M{0} {0}(?:C{0} {0} {0} {0} {0} {0})+Z".format(r"-?\d+\.\d\d"))


def test_an_svg_holds_only_what_programs_of_plotters_read(files: dict[str, list[bytes]]) -> None:
    """One filled path, whose parts are closed where they began, on the page of the viewBox."""
    for data in files["svg"]:
        root = ElementTree.fromstring(data)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert root.attrib == {"width": "100.000mm", "height": "100.000mm", "viewBox": "0 0 512 512"}
        (path,) = root
        assert path.tag == "{http://www.w3.org/2000/svg}path"
        outlines = path.attrib.pop("d")
        assert path.attrib == {"fill": "#000", "fill-rule": "evenodd"}
        parts = re.findall(r"M[^M]*", outlines)
        assert len(parts) > 10
        for part in parts:
            assert SUBPATH.fullmatch(part)
            x, y = np.array(re.findall(r"-?[\d.]+", part), float).reshape(-1, 2).T
            assert (x[0], y[0]) == (x[-1], y[-1])
            assert min(x.min(), y.min()) > -2
            assert max(x.max(), y.max()) < SIZE + 2


@pytest.mark.slow
def test_inkscape_opens_an_svg_at_its_size(
    drawings: list[Image], files: dict[str, list[bytes]], tmp_path: Path
) -> None:
    if (inkscape := shutil.which("inkscape")) is None:
        pytest.skip("needs inkscape")
    svg, png = tmp_path / "drawing.svg", tmp_path / "drawing.png"
    svg.write_bytes(files["svg"][0])
    export = ["--export-type=png", f"--export-filename={png}", "--export-dpi=130.048", "--export-background=white"]
    subprocess.run([inkscape, str(svg), *export], check=True, capture_output=True)
    with Pillow.open(png) as picture:
        assert picture.size == (SIZE, SIZE)  # 10 cm at that resolution
        assert ssim(np.array(picture.convert("L")), drawings[0]) >= LEAST_SSIM


def test_an_svg_tells_its_size_in_millimetres() -> None:
    for size, dpi, expected in ((None, 300, 43.349), (2048, 300, 173.397), ("10cm", 72, 100.0)):
        head = encoded("svg", DISC, size, dpi)[:300].decode()
        assert re.search(r'width="([\d.]+)mm" height="\1mm" viewBox="0 0 512 512"', head)
        assert f'width="{expected:.3f}mm"' in head


def test_a_pdf_page_is_as_large_as_the_print() -> None:
    with pypdfium2.PdfDocument(encoded("pdf", DISC, "10cm", 254)) as document:
        assert len(document) == 1
        assert document[0].get_size() == pytest.approx((72 / 0.254, 72 / 0.254), abs=0.01)


@pytest.mark.parametrize("name", VECTORS)
def test_an_empty_page_is_empty(name: str) -> None:
    assert (rendered(name, encoded(name, np.full((SIZE, SIZE), 255, np.uint8))) == 255).all()


@pytest.mark.parametrize("name", VECTORS)
def test_edited_files_are_not_ours(name: str) -> None:
    data = encoded(name, DISC)
    assert data == encoded(name, DISC)
    is_ours = FORMATS[name].is_ours
    assert is_ours(io.BytesIO(data))
    for other in (b"", data[:-1], data[:100], data.replace(b"1", b"2", 1), data + b"\n", data[:-3] + b"\xff\0\n"):
        assert not is_ours(io.BytesIO(other))
