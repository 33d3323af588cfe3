"""Writes the gallery's page: one HTML file with style, script and entries in it, which loads nothing but pictures.

Names and messages come from strangers. They are kept as JSON without `<`, set as text by the script, and in addresses
every part is quoted; the page's policy lets no other script run and nothing be loaded from elsewhere.
"""

import base64
import hashlib
import html
import json
import os
import re
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, BinaryIO, Final
from urllib.parse import quote

from apdraw_cli import __version__
from apdraw_cli.gallery.entries import Entry
from apdraw_cli.gallery.thumbnails import Pictures

NAME: Final = "index.html"

MARK: Final = b'<meta name="generator" content="apdraw '

_HEAD: Final = 256


def page(title: str, entries: Sequence[Entry], pictures: Sequence[Pictures]) -> bytes:
    """The page of an output folder, to lie in it.

    Args:
        title: what it is called, text.
        entries: what it shows, in this order.
        pictures: pictures of each entry.
    """
    style, script = (_part(f"page.{kind}") for kind in ("css", "js"))
    values = {
        "version": html.escape(__version__),
        "policy": f"default-src 'none'; img-src 'self' file:; style-src {_digest(style)}; script-src {_digest(script)}",
        "title": html.escape(title.encode("utf-8", "replace").decode()),
        "style": style,
        "script": script,
        "entries": _json([_row(entry, each) for entry, each in zip(entries, pictures, strict=True)]),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda found: values[found[1]], _part("page.html")).encode()


def is_page(file: BinaryIO) -> bool:
    """Whether an open file is such a page."""
    return MARK in file.read(_HEAD)


def _part(name: str) -> str:
    return (files("apdraw_cli.gallery") / name).read_text(encoding="utf-8")


def _digest(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def _row(entry: Entry, pictures: Pictures) -> dict[str, Any]:
    """What the script knows of an entry; what is empty is left out."""
    row = {
        "name": entry.record.source,
        "number": entry.number,
        "status": entry.record.status,
        "photo": _address(pictures.photo),
        "drawing": _address(entry.drawing if entry.version is not None else None),
        "shown": _address(pictures.drawing),
        "warnings": [(each.code, each.message) for each in entry.warnings],
        "error": (entry.error.code, entry.error.message) if entry.error else None,
    }
    return {name: value for name, value in row.items() if value}


def _address(name: str | None) -> str | None:
    """The address of a file below the page's folder."""
    return None if name is None else "./" + quote(os.fsencode(name))


def _json(value: Any) -> str:
    """JSON that may stand in a page: it holds no `<`, and only ASCII."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")
