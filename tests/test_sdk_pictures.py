"""sdk.pictures: every kind of file in, the right one out, checked with Pillow; nothing half written."""

import errno
import io
import os
import stat
import struct
import sys
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from sdk import pictures
from sdk.errors import InputError, MissingPackageError, OutputError
from sdk.pictures import encode_picture, read_picture, write_file

RGB = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
GREY = RGB[..., 0]


def save(folder, name, image, **options):
    path = folder / name
    image.save(path, **options)
    return path


def png_header(width, height):
    """A PNG that ends after its header."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 10) + b"IDAT" + bytes(10)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_as_pillow(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "maker"
    path = save(tmp_path, "a.png", Image.fromarray(RGB), exif=exif)
    picture = read_picture(path)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(path)))
    np.testing.assert_array_equal(picture.pixels, expected)
    written = Image.open(io.BytesIO(encode_picture(picture.pixels, ".jpg", like=picture)[0]))
    assert written.getexif().get(0x0112, 1) == 1 and written.getexif()[0x010F] == "maker"


def test_modes_there_and_back(tmp_path):
    """name -> (picture, mode written as PNG, words of the notes)."""
    palette = Image.fromarray(RGB).quantize(16)
    cases = {
        "rgb.png": (Image.fromarray(RGB), "RGB", ""),
        "grey.png": (Image.fromarray(GREY), "L", ""),
        "bits.png": (Image.fromarray(GREY > 99), "L", ""),
        "rgba.png": (Image.fromarray(np.dstack([RGB, GREY])), "RGBA", ""),
        "la.png": (Image.fromarray(np.dstack([GREY, RGB[..., 1]]), "LA"), "LA", ""),
        "deep.png": (Image.fromarray(GREY.astype(np.uint16) * 257), "L", "16-bit"),
        "float.tif": (Image.fromarray(GREY.astype(np.float32) / 255), "L", "float"),
        "palette.gif": (palette, "RGB", ""),
        "print.jpg": (Image.fromarray(RGB).convert("CMYK"), "RGB", "CMYK"),
    }
    for name, (image, mode, words) in cases.items():
        picture = read_picture(save(tmp_path, name, image))
        assert words in " ".join(picture.notes) and bool(words) == bool(picture.notes), name
        written = Image.open(io.BytesIO(encode_picture(picture.pixels, ".png", like=picture)[0]))
        assert written.mode == mode, name
        if mode in ("L", "LA"):
            levels = (GREY > 99) * 255 if name == "bits.png" else GREY
            np.testing.assert_array_equal(np.asarray(written.convert("L")), levels, err_msg=name)
        if "A" in mode:
            np.testing.assert_array_equal(written.getchannel("A"), image.getchannel("A"))
    data, notes = encode_picture(RGB, ".jpg", like=read_picture(tmp_path / "rgba.png"))
    assert "no alpha" in notes[0] and Image.open(io.BytesIO(data)).mode == "RGB"


def test_sixteen_bit_colour_is_noted(tmp_path):
    cv2.imwrite(str(tmp_path / "deep.png"), RGB[..., ::-1].astype(np.uint16) * 257)
    picture = read_picture(tmp_path / "deep.png")
    np.testing.assert_array_equal(picture.pixels, RGB)
    assert "16-bit" in picture.notes[0]


def test_transparent_palette_and_animation(tmp_path):
    path = save(
        tmp_path, "a.gif", Image.fromarray(GREY), save_all=True, append_images=[Image.fromarray(GREY.T[:20, :20])]
    )
    assert any("first of 2 frames" in note for note in read_picture(path).notes)
    path = save(tmp_path, "b.png", Image.fromarray(RGB).quantize(16), transparency=0)
    assert read_picture(path).alpha is not None


def test_bad_files_say_what_is_wrong(tmp_path):
    whole = save(tmp_path, "whole.jpg", Image.fromarray(np.tile(RGB, (9, 9, 1)))).read_bytes()
    png = save(tmp_path, "whole.png", Image.fromarray(RGB)).read_bytes()
    cases = {
        "empty.jpg": (b"", "empty"),
        "cut.jpg": (whole[: len(whole) // 2], "cut short"),
        "cut.png": (png[:-300], "cut short"),
        "text.png": (b"hello, I am a text", "none that Pillow reads"),
        "bomb.png": (png_header(30000, 30000), r"at most 120 megapixels; got 30000 x 30000 px"),
    }
    for name, (data, words) in cases.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match=f"{words}.*; ") as caught:
            read_picture(tmp_path / name)
        assert name in str(caught.value)
    with pytest.raises(InputError, match="No such file"):
        read_picture(tmp_path / "absent.png")
    with pytest.raises(InputError, match="readable"):
        read_picture(tmp_path)


def test_the_limit_of_size_can_be_moved(tmp_path):
    before = Image.MAX_IMAGE_PIXELS
    path = save(tmp_path, "a.png", Image.fromarray(RGB))
    assert read_picture(path, max_megapixels=0.001).pixels.shape == RGB.shape
    with pytest.raises(InputError, match="max_megapixels"):
        read_picture(path, max_megapixels=0.0005)
    assert before == Image.MAX_IMAGE_PIXELS
    values = save(tmp_path, "a.tif", Image.fromarray(np.array([[70000]], np.int32)))
    with pytest.raises(InputError, match="0 to 65535"):
        read_picture(values)
    assert read_picture(save(tmp_path, "dot.png", Image.new("RGB", (1, 1)))).pixels.shape == (1, 1, 3)


def test_unknown_formats_are_refused():
    with pytest.raises(OutputError, match=r"\.jpg, .*; got '\.xyz'"):
        encode_picture(RGB, ".xyz")
    with pytest.raises(OutputError, match="fits WEBP"):
        encode_picture(np.zeros((1, 16400, 3), np.uint8), ".webp")


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    target = tmp_path / "new" / "a.bin"
    write_file(target, b"first")
    write_file(target, b"second")
    assert target.read_bytes() == b"second" and os.listdir(target.parent) == ["a.bin"]
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(target.stat().st_mode) == 0o666 & ~umask
    failures = {
        OutputError: OSError(errno.ENOSPC, "No space left on device"),
        KeyboardInterrupt: KeyboardInterrupt(),
    }
    for kind, failure in failures.items():

        def fail(descriptor, failure=failure):
            raise failure

        monkeypatch.setattr(pictures.os, "fsync", fail)
        with pytest.raises(kind):
            write_file(target, b"third")
        assert target.read_bytes() == b"second" and os.listdir(target.parent) == ["a.bin"]


def test_a_full_disk_and_a_file_in_the_way(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="to write .*; got Not a directory|File exists"):
        write_file(tmp_path / "file" / "a.png", b"x")
    if os.path.exists("/dev/full"):
        with open("/dev/full", "wb", buffering=0) as full, pytest.raises(OSError):
            full.write(b"x")  # the errno that the monkeypatched test above stands for
    if os.access("/proc/version", os.R_OK):
        with pytest.raises(OutputError, match="to write /proc/"):
            write_file("/proc/facetrt.png", b"x")


def test_without_pillow(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(MissingPackageError, match="pip install pillow"):
        encode_picture(RGB, ".png")
