"""What counts as a photo, where its drawing goes, and that odd folders upset nothing."""

import io
import os
import sys
from pathlib import Path

import pytest
from PIL import Image as Pillow

from apdraw_cli.conversion.gather import gather, read_list
from apdraw_cli.conversion.sources import PassedOver, Source, SourceSet, is_excluded
from engines.errors import UsageError


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def found(sources: SourceSet) -> list[Source]:
    photos = list(sources.photos(".png", several=False))
    assert sources.count() == len(photos)
    return photos


def drawings(sources: SourceSet) -> dict[str, str]:
    photos = found(sources)
    assert len({photo.name for photo in photos}) == len(photos)
    return {photo.name: photo.drawing for photo in photos}


def test_a_tree_is_mirrored_in_a_fixed_order(tmp_path: Path) -> None:
    touch(tmp_path / "in/b/q.JPG", tmp_path / "in/a/p.png", tmp_path / "in/z.tiff", tmp_path / "in/notes.txt")
    sources = gather([str(tmp_path / "in")])
    assert list(drawings(sources).items()) == [("z.tiff", "z"), ("a/p.png", "a/p"), ("b/q.JPG", "b/q")]
    assert sources.output == tmp_path / "in-drawings"


def test_size_and_time_are_those_of_the_file(tmp_path: Path) -> None:
    touch(tmp_path / "in/p.jpg")
    os.utime(tmp_path / "in/p.jpg", ns=(1, 1_700_000_000_123_456_789))
    (photo,) = found(gather([str(tmp_path / "in")]))
    assert (photo.size, photo.mtime_ns) == (1, (tmp_path / "in/p.jpg").stat().st_mtime_ns)
    assert (photo.root, photo.path) == (str(tmp_path / "in"), str(tmp_path / "in/p.jpg"))


def test_hidden_files_and_folders_are_left_out(tmp_path: Path) -> None:
    touch(tmp_path / "in/._p.jpg", tmp_path / "in/.thumbs/p.jpg", tmp_path / "in/p.jpg")
    assert drawings(gather([str(tmp_path / "in")])) == {"p.jpg": "p"}


def test_a_folder_called_like_a_photo_is_a_folder(tmp_path: Path) -> None:
    touch(tmp_path / "in/x.jpg/p.jpg", tmp_path / "in/x.png/q.jpg", tmp_path / "in/x.webp")
    assert drawings(gather([str(tmp_path / "in")])) == {
        "x.webp": "x.webp",
        "x.jpg/p.jpg": "x.jpg/p",
        "x.png/q.jpg": "x.png/q",
    }


def test_the_output_folder_is_not_read(tmp_path: Path) -> None:
    touch(tmp_path / "in/p.jpg", tmp_path / "in/out/p.png")
    assert drawings(gather([str(tmp_path / "in")], output=tmp_path / "in/out")) == {"p.jpg": "p"}


def test_an_output_folder_made_during_the_walk_is_not_read(tmp_path: Path) -> None:
    touch(tmp_path / "in/p.jpg", tmp_path / "in/sub/q.jpg")
    photos = gather([str(tmp_path / "in")], output=tmp_path / "in/sub/out").photos(".png", several=False)
    assert next(photos).name == "p.jpg"
    touch(tmp_path / "in/sub/out/p.png")
    assert [photo.name for photo in photos] == ["sub/q.jpg"]


def test_the_output_folder_cannot_be_a_source_or_a_file(tmp_path: Path) -> None:
    touch(tmp_path / "in/p.jpg")
    (tmp_path / "link").symlink_to("in")
    for output in ("in", "in/../in", "link", "in/p.jpg"):
        with pytest.raises(UsageError, match="--output"):
            gather([str(tmp_path / "in")], output=tmp_path / output)


def test_several_folders_get_folders_of_their_names(tmp_path: Path) -> None:
    touch(tmp_path / "x/a/p.jpg", tmp_path / "y/b/p.jpg")
    sources = gather([str(tmp_path / "x/a"), str(tmp_path / "y/b")])
    assert drawings(sources) == {"a/p.jpg": "a/p", "b/p.jpg": "b/p"}
    assert sources.output == tmp_path / "x/a-drawings"


def test_folders_of_one_name_lie_below_their_common_parent(tmp_path: Path) -> None:
    touch(tmp_path / "x/a/p.jpg", tmp_path / "y/a/p.jpg")
    sources = gather([str(tmp_path / "x/a"), str(tmp_path / "y/a")])
    assert drawings(sources) == {"x/a/p.jpg": "x/a/p", "y/a/p.jpg": "y/a/p"}


def test_no_photo_is_taken_twice(tmp_path: Path) -> None:
    touch(tmp_path / "a/b/p.jpg")
    sources = gather([str(tmp_path / "a"), str(tmp_path / "a/b"), str(tmp_path / "a")])
    assert list(drawings(sources).values()) == ["a/b/p"]


def test_files_lie_flat_if_their_names_are_unique(tmp_path: Path) -> None:
    touch(tmp_path / "x/p.jpg", tmp_path / "y/q.odd", tmp_path / "y/p.png")
    sources = gather([str(tmp_path / name) for name in ("x/p.jpg", "y/q.odd", "y/p.png", "x/p.jpg")])
    assert drawings(sources) == {"p.jpg": "p.jpg", "q.odd": "q", "p.png": "p.png"}
    assert sources.output == tmp_path / "x-drawings"


def test_files_of_one_name_lie_below_their_common_parent(tmp_path: Path) -> None:
    touch(tmp_path / "x/p.jpg", tmp_path / "y/P.jpg")
    sources = gather([str(tmp_path / "x/p.jpg"), str(tmp_path / "y/P.jpg")])
    assert drawings(sources) == {"x/p.jpg": "x/p", "y/P.jpg": "y/P"}


def test_files_and_a_folder(tmp_path: Path) -> None:
    touch(tmp_path / "a.png/p.jpg", tmp_path / "p.jpg", tmp_path / "a.jpg")
    sources = gather([str(tmp_path / name) for name in ("a.png", "p.jpg", "a.jpg")])
    assert drawings(sources) == {"p.jpg": "p", "a.jpg": "a.jpg", "a.png/p.jpg": "a.png/p"}


def test_what_is_missing_on_the_command_line_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no such|there is no"):
        gather([str(tmp_path / "none.jpg")])
    with pytest.raises(UsageError, match="no photos were given"):
        gather([])


def test_what_is_missing_in_a_list_is_a_photo_that_fails(tmp_path: Path) -> None:
    touch(tmp_path / "p.jpg")
    missing, there = found(gather([], [str(tmp_path / "none.jpg"), str(tmp_path / "p.jpg")]))
    assert missing.error is not None
    assert missing.error.code == "not_found"
    assert there.error is None


def test_files_of_a_list_lie_as_below_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "x/p.jpg", tmp_path / "y/q.jpg", tmp_path / "out/old.jpg")
    monkeypatch.chdir(tmp_path)
    output = tmp_path / "out"
    assert drawings(gather([], ["x/p.jpg"], output)) == {"x/p.jpg": "x/p"}
    longer = drawings(gather([], ["x/p.jpg", "./y/q.jpg", "out/old.jpg"], output))
    assert longer == {"x/p.jpg": "x/p", "y/q.jpg": "y/q"}


def test_lists_end_their_lines_in_any_way() -> None:
    assert read_list(b"a.jpg\n b.jpg\r\n\nc d.jpg") == ["a.jpg", " b.jpg", "c d.jpg"]
    assert read_list(b"a\nb.jpg\0c.jpg\0") == ["a\nb.jpg", "c.jpg"]
    assert read_list(b"") == []


def test_circles_of_links_end(tmp_path: Path) -> None:
    touch(tmp_path / "in/a/p.jpg")
    (tmp_path / "in/a/round").symlink_to(tmp_path / "in")
    (tmp_path / "in/up").symlink_to(tmp_path)
    (tmp_path / "in/self.jpg").symlink_to("self.jpg")
    for follow in (True, False):
        photos = found(gather([str(tmp_path / "in")], follow_links=follow))
        assert {photo.name: photo.error and photo.error.code for photo in photos} == {
            "self.jpg": "unreadable",
            "a/p.jpg": None,
            **({} if follow else {"up": "leads_out"}),
        }


@pytest.mark.parametrize("follow", [True, False])
def test_links_to_elsewhere_are_followed_if_that_was_asked_for(tmp_path: Path, follow: bool) -> None:
    touch(tmp_path / "elsewhere/p.jpg", tmp_path / "q.jpg")
    (tmp_path / "in").mkdir()
    (tmp_path / "in/folder").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in/photo.jpg").symlink_to(tmp_path / "q.jpg")
    (tmp_path / "in/broken.jpg").symlink_to(tmp_path / "nothing.jpg")
    (tmp_path / "in/notes").symlink_to(tmp_path / "q.jpg")
    sources = gather([str(tmp_path / "in")], follow_links=follow)
    codes = {photo.name: photo.error and photo.error.code for photo in found(sources)}
    assert codes == {
        "broken.jpg": "not_found",
        "photo.jpg": None if follow else "leads_out",
        **({"folder/p.jpg": None} if follow else {"folder": "leads_out"}),
    }
    assert sources.count() == len(codes)


def test_links_within_the_sources_and_links_named_as_sources_are_followed(tmp_path: Path) -> None:
    touch(tmp_path / "a/p.jpg", tmp_path / "b/q.jpg", tmp_path / "r.jpg")
    (tmp_path / "a/other.jpg").symlink_to("../b/q.jpg")
    (tmp_path / "link.jpg").symlink_to("r.jpg")
    (tmp_path / "linked").symlink_to("b")
    photos = found(gather([str(tmp_path / name) for name in ("a", "linked", "link.jpg")]))
    assert {photo.name: photo.error for photo in photos} == dict.fromkeys(
        ("a/p.jpg", "a/other.jpg", "linked/q.jpg", "link.jpg")
    )


@pytest.mark.skipif(sys.platform == "win32", reason="needs named pipes")
def test_a_pipe_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p.jpg")
    (photo,) = found(gather([str(tmp_path)], output=tmp_path / "out"))
    assert photo.error is not None
    assert photo.error.code == "not_a_file"


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="the superuser reads everything")
def test_a_folder_that_cannot_be_read_is_reported(tmp_path: Path) -> None:
    touch(tmp_path / "in/closed/p.jpg", tmp_path / "in/q.jpg")
    (tmp_path / "in/closed").chmod(0)
    try:
        photos = found(gather([str(tmp_path / "in")]))
    finally:
        (tmp_path / "in/closed").chmod(0o700)
    assert {photo.name: photo.error and photo.error.code for photo in photos} == {
        "q.jpg": None,
        "closed": "unreadable",
    }


def test_a_folder_that_vanishes_is_reported(tmp_path: Path) -> None:
    touch(tmp_path / "in/p.jpg", tmp_path / "in/sub/q.jpg")
    photos = gather([str(tmp_path / "in")]).photos(".png", several=False)
    next(photos)
    (tmp_path / "in/sub/q.jpg").unlink()
    (tmp_path / "in/sub").rmdir()
    (gone,) = photos
    assert (gone.name, gone.error and gone.error.code) == ("sub", "not_found")


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file system that takes any bytes as a name")
def test_names_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with open(os.fsencode(tmp_path / "in") + b"/\xff\xfe.jpg", "wb") as file:  # noqa: PTH123
        file.write(b"x")
    (photo,) = found(gather([str(tmp_path / "in")]))
    assert os.fsencode(photo.name) == b"\xff\xfe.jpg"
    assert photo.error is None


def test_a_byte_order_mark_is_no_part_of_the_first_name() -> None:
    for encoding in ("utf-8-sig", "utf-16"):
        assert read_list("é.jpg\r\nb.jpg\r\n".encode(encoding)) == ["é.jpg", "b.jpg"]
    with pytest.raises(UsageError, match="UTF-16"):
        read_list("a.jpg".encode("utf-16")[:-1])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "JPEG2000"])
def test_a_picture_in_place_of_a_list_is_told(kind: str) -> None:
    buffer = io.BytesIO()
    Pillow.new("RGB", (8, 8)).save(buffer, kind)
    with pytest.raises(UsageError, match=r"holds a picture: say where its drawing goes, with -o me\.png"):
        read_list(buffer.getvalue())


def test_folders_of_servers_and_of_earlier_drawings_are_not_walked(tmp_path: Path) -> None:
    touch(tmp_path / "in/p.jpg", tmp_path / "in/@eaDir/p.jpg/SYNOPHOTO_THUMB_M.jpg", tmp_path / "in/#recycle/old.jpg")
    touch(tmp_path / "in/.thumbnails/p.jpg", tmp_path / "in/a/__MACOSX/p.jpg", tmp_path / "in/Lost+Found/p.jpg")
    touch(tmp_path / "in/d/drawings/p.png", tmp_path / "in/d/drawings/apdraw-manifest.jsonl")
    sources, passed_over = gather([str(tmp_path / "in")]), PassedOver()
    assert [photo.name for photo in sources.photos(".png", several=False, passed_over=passed_over)] == ["p.jpg"]
    assert sources.count() == 1
    assert passed_over.folders == ["d/drawings"]
    assert not passed_over.files
    named = gather([str(tmp_path / name) for name in ("in/@eaDir", "in/d/drawings")])
    assert set(drawings(named)) == {"@eaDir/p.jpg/SYNOPHOTO_THUMB_M.jpg", "drawings/p.png"}


def test_files_that_are_no_photos_are_counted_by_ending(tmp_path: Path) -> None:
    names = ("a.CR2", "b.cr2", "c.pdf", "notes", "Thumbs.db", ".hidden.pdf", "p.jpg", "v.a long sentence", "s/d.mp4")
    touch(*(tmp_path / "in" / name for name in names))
    passed_over = PassedOver()
    photos = gather([str(tmp_path / "in")]).photos(".png", several=False, passed_over=passed_over)
    assert [photo.name for photo in photos] == ["p.jpg"]
    assert passed_over.files == {".cr2": 2, ".pdf": 1, "": 2, ".mp4": 1}


def test_a_file_without_an_ending_is_a_photo_if_it_begins_like_one(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    Pillow.new("RGB", (8, 8)).save(tmp_path / "in/photo", "PNG")
    Pillow.new("RGB", (8, 8)).save(tmp_path / "away", "PNG")
    (tmp_path / "in/linked").symlink_to("../away")
    touch(tmp_path / "in/film", tmp_path / "in/p.gif", tmp_path / "in/p.jp2")
    (tmp_path / "in/film").write_bytes(b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41")
    assert drawings(gather([str(tmp_path / "in")])) == {"p.gif": "p.gif", "p.jp2": "p.jp2", "photo": "photo"}
    assert "linked" in drawings(gather([str(tmp_path / "in")], follow_links=True))


def test_what_is_excluded_is_no_photo(tmp_path: Path) -> None:
    touch(tmp_path / "in/p.jpg", tmp_path / "in/p_edited.jpg", tmp_path / "in/raw/q.jpg", tmp_path / "in/a/raw/r.jpg")
    folder = str(tmp_path / "in")
    assert set(drawings(gather([folder], exclude=["*_edited.*", "raw"]))) == {"p.jpg"}
    assert set(drawings(gather([folder], exclude=["raw/", "a/raw/*"]))) == {"p.jpg", "p_edited.jpg"}
    assert set(drawings(gather([folder], exclude=["a/*"]))) == {"p.jpg", "p_edited.jpg", "raw/q.jpg"}
    assert drawings(gather([str(tmp_path / "in/p.jpg")], [str(tmp_path / "in/raw/q.jpg")], exclude=["raw/*"])) == {
        "p.jpg": "p"
    }
    assert is_excluded("a/e\u0301.jpg", ["\u00e9.jpg"])
    assert not is_excluded("a/P.jpg", ["p.jpg"])
