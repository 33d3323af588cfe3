"""An output folder to make galleries of, drawn by stand-ins."""

from pathlib import Path
from typing import Any

from conversion_fakes import TWO_FACES, WARNED, FakeEngine, engine_opener, fake_extractor, save_photo

from apdraw_cli.commands.convert import convert
from apdraw_cli.conversion.listener import Silent
from apdraw_cli.conversion.options import ConvertOptions
from apdraw_cli.conversion.outcome import ConvertResult

HOSTILE = "<img src=x onerror=alert(1)> & \"quoted\" 'name' #1 100% ?.png"


def draw(folder: Path, **options: Any) -> ConvertResult:
    """Draws `photos` of a folder into `drawings` beside it."""
    (folder / "m.onnx").touch()
    chosen = ConvertOptions.of(
        str(folder / "photos"), output=folder / "drawings", model=folder / "m.onnx", workers=0, **options
    )
    return convert(chosen, Silent(), open_engine=engine_opener(FakeEngine()), open_extractor=fake_extractor)


def drawn_folder(folder: Path) -> Path:
    """One drawing each of a plain and a hostile name, two of a group, one with a warning, and two failures."""
    photos = folder / "photos"
    save_photo(photos / "plain.png", 200)
    save_photo(photos / HOSTILE, 100)
    save_photo(photos / "sub" / "group.png", 50, TWO_FACES)
    save_photo(photos / "p10.png", 60, WARNED)
    save_photo(photos / "p9.png", 60)
    save_photo(photos / "landscape.png", 0)
    (photos / "text.jpg").write_text("Dear diary")
    draw(folder, faces="all")
    return folder / "drawings"
