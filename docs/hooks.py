"""Lets the site hold pages that lie elsewhere in the repository, and turns links to its files into their paths.

On GitHub, pages link to files of the repository; the site has only some of them, as pages of its own.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]

PAGES = {
    "engines/weights/README.md": "models.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changes.md",
    "CONTRIBUTING.md": "contributing.md",
    "README.md": "index.md",
}
"""Where what lies elsewhere in the repository is in the site. The README has the quick start in its place."""

_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that lie elsewhere."""
    for source, page in PAGES.items():
        if page != "index.md":
            content = (ROOT / source).read_text(encoding="utf-8")
            files.append(File.generated(config, page, content=_relinked(content, posixpath.dirname(source))))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Mends the links of a page that lies in the folder of the site."""
    return markdown if page.file.generated_by else _relinked(markdown, "docs")


def _relinked(text: str, folder: str) -> str:
    """A page's text with links that hold in the site.

    Args:
        text: Markdown.
        folder: of the repository, that its links start from.
    """

    def relinked(found: re.Match[str]) -> str:
        mark, label, target = found.groups()
        path, _, anchor = target.partition("#")
        if ":" in path or not path:
            return found[0]
        place = posixpath.normpath(posixpath.join(folder, path))
        page = PAGES.get(place) or (posixpath.relpath(place, "docs") if place.startswith("docs/") else None)
        if page is not None:
            anchor = "" if place == "README.md" else anchor  # the quick start has other headings
            return f"{mark}[{label}]({page}{'#' * bool(anchor)}{anchor})"
        return label if place in label else f"{label} (`{place}`)"

    return _LINK.sub(relinked, text)
