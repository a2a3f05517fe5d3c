"""Image files beyond limits, of other formats, damaged, or of rare kinds."""

import io
import os
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image
from test_images import colours, saved

from early_exit.datasets.images import load_image
from early_exit.errors import InputError


def test_an_empty_file_is_an_error(tmp_path):
    (tmp_path / "a.png").touch()
    for source in (tmp_path / "a.png", io.BytesIO()):
        with pytest.raises(InputError, match=r"\(empty \(0 bytes\)\)$") as error:
            load_image(source, [3, 4, 4])
        assert "BytesIO" not in str(error.value)


def test_a_small_file_of_many_pixels_is_an_error(tmp_path):
    path = tmp_path / "a.tif"
    Image.new("1", (13300, 13300)).save(path, compression="group4")
    assert path.stat().st_size < 60_000
    tracemalloc.start()
    with pytest.raises(InputError, match=r"13300 x 13300 pixels, more than the 67,108,864"):
        load_image(path, [3, 4, 4])
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


def test_the_pixel_limit_is_a_setting(tmp_path):
    path = saved(tmp_path / "a.png", np.zeros((10, 10), np.uint8))
    assert load_image(path, [3, 4, 4], 100).shape == (3, 4, 4)
    with pytest.raises(InputError, match=r"10 x 10 pixels, .* or raise max_pixels"):
        load_image(path, [3, 4, 4], 99)


def test_a_file_too_large_for_its_pixels_is_not_read(tmp_path):
    path = tmp_path / "a.webp"
    with path.open("wb") as file:
        file.write(b"RIFF\xff\xff\xff\x7fWEBPVP8 ")
        file.truncate(2**40)
    with pytest.raises(InputError, match=r"1,099,511,627,776 bytes, more than the 536,870,912"):
        load_image(path, [3, 4, 4])


def test_a_jpeg_of_endless_scans_is_not_read(tmp_path):
    path = tmp_path / "a.jpg"
    Image.fromarray(colours()).save(path, progressive=True)
    content = path.read_bytes()
    last = content.rindex(b"\xff\xda")
    assert load_image(path, [3, 4, 4]).shape == (3, 4, 4)
    path.write_bytes(content[:last] + content[last:-2] * 101 + content[-2:])
    with pytest.raises(InputError, match="a JPEG with more than the 100 scans"):
        load_image(path, [3, 4, 4])
    # Data after the image, such as a short film, has no scans.
    path.write_bytes(content + b"\xff\xda\0\x02" * 1000)
    assert load_image(path, [3, 4, 4]).shape == (3, 4, 4)


@pytest.mark.parametrize("name", ["a.eps", "a.dds", "a.tga", "a.jp2", "a.ico", "a.pcx", "a.spider"])
def test_other_formats_are_an_error_with_a_list(tmp_path, name):
    path = tmp_path / name
    if name == "a.spider":
        Image.new("F", (16, 16)).save(path, format="SPIDER")
    else:
        Image.fromarray(colours()).save(path)
    with pytest.raises(InputError, match="none of the formats AVIF, BMP, GIF, JPEG, PNG"):
        load_image(path, [3, 4, 4])


@pytest.mark.parametrize("name", ["a.avif", "a.webp", "a.tif", "a.gif", "a.bmp"])
def test_damage_is_an_input_error(tmp_path, name):
    Image.fromarray(colours()).save(tmp_path / name)
    content = (tmp_path / name).read_bytes()
    for length in range(0, len(content), max(1, len(content) // 60)):
        (tmp_path / name).write_bytes(content[:length])
        try:
            load_image(tmp_path / name, [3, 4, 4])
        except InputError as error:
            assert str(error).isprintable()


HALVES = np.repeat([[200], [0]], 8, axis=0).repeat(16, axis=1).astype(np.uint8)


def halves(kind, image=None, **options):
    """An image file, bright at the top and dark at the bottom."""
    colour = np.stack([HALVES] * 3, axis=2)
    file = io.BytesIO()
    (image or Image.fromarray(colour)).save(file, format=kind, **options)
    return file.getvalue()


def dark():
    return {"save_all": True, "append_images": [Image.new("RGB", (16, 16))]}


def chunk(kind, content):
    body = kind + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


def with_chunk(content):
    original = halves("png")
    return original[:33] + content + original[33:]


UPSIDE_DOWN = b'<x:xmpmeta><rdf:Description tiff:Orientation="3"/></x:xmpmeta>'
# A directory of tags that refers to itself, with an orientation.
ROUND = "0002 876900040000000100000008 011200030000000100030000 00000008".replace(" ", "")
PLAIN = b"P2 16 16 255\n" + b" ".join(b"%d" % value for value in HALVES.ravel())


@pytest.mark.parametrize(
    "content",
    [
        halves("gif", **dark()),
        halves("webp", lossless=True, **dark()),
        halves("png", **dark()),
        halves("mpo", quality=95, **dark()),
        halves("avif", quality=95, **dark()),
        halves("tiff", big_tiff=True),
        halves("tiff", compression="zstd"),
        halves("tiff", compression="tiff_lzw", tiffinfo={317: 2}),
        halves("png")[:-12],
        halves("png") + os.urandom(1000),
        halves("png", Image.fromarray(HALVES), transparency=200),
        halves("png", Image.fromarray(HALVES).convert("P"), transparency=bytes(range(256))),
        halves("jpeg", quality=95, icc_profile=os.urandom(70_000)),
        halves("jpeg", quality=95, exif=b"Exif\0\0MM" + os.urandom(60_000)),
        halves(
            "png", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\x01\x13\0\3\0\0\0\1\0\6\0\0" * 65535
        ),
        with_chunk(chunk(b"IDAT", b"")),
        PLAIN,
        PLAIN.replace(b"\n", b"\n" + b" " * 1_000_000),
        PLAIN.replace(b" 16", b" # a comment\n#\n 16", 1),
        b"P5 16 16 200\n" + bytes(HALVES),
    ],
)
def test_more_kinds_of_files_are_read(content):
    read = load_image(io.BytesIO(content), [3, 16, 16])
    bright = 255 if content.startswith(b"P5") else 200
    assert abs(read[:, :7].astype(int) - bright).max() <= 8
    assert read[:, 9:].max() <= 8


@pytest.mark.parametrize(
    "content",
    [
        halves("jpeg", quality=95, xmp=UPSIDE_DOWN),
        halves("png", exif=b"Exif\0\0MM\0*\0\0\0\x08" + bytes.fromhex(ROUND)),
    ],
)
def test_the_orientation_is_found_in_other_metadata(content):
    assert load_image(io.BytesIO(content), [1, 16, 16])[0, :7].max() <= 8


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (with_chunk(chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10_000_000)))), "too large"),
        (with_chunk(chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(10_000_000)))), "too large"),
        (b"P6\n#" + b"x" * 100_000 + b"\n1 1 255\nabc", "a PPM with a header of more than"),
        (b"P6\n" + b"#\n" * 100_000 + b"1 1 255\nabc", "a PPM with a header of more than"),
        (b"P6 " + b"9" * 5000 + b" 1 255\n", "Token too long"),
        (b"Pf 2 2 -1.0\n" + bytes(16), "floating-point numbers"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 1\n", "none of the"),
        (b"<!DOCTYPE html><html>404</html>", "none of the formats"),
        (b"\0\0\0\x18ftypheic" + bytes(100), "none of the formats"),
        (halves("png")[:16] + bytes(4) + halves("png")[20:], "can be read"),
        (bytes(1000), "none of the formats"),
    ],
)
def test_more_kinds_of_files_are_an_error(content, message):
    with pytest.raises(InputError, match=message) as error:
        load_image(io.BytesIO(content), [3, 16, 16])
    assert str(error.value).isprintable()


@pytest.mark.parametrize("size", [(60_000, 1), (1, 60_000), (1, 1)])
def test_images_of_any_form_are_read(tmp_path, size):
    Image.new("L", size, 9).save(tmp_path / "a.png")
    assert (load_image(tmp_path / "a.png", [3, 7, 5]) == 9).all()
