"""Reading image files: shape, crop, orientation and errors."""

import io
import os
import socket
import struct

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from early_exit.datasets.images import load_image
from early_exit.errors import InputError
from early_exit.io import images


def saved(path, array, **options):
    Image.fromarray(array).save(path, **options)
    return path


def test_an_image_of_the_same_size_is_unchanged(tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    read = load_image(saved(tmp_path / "a.png", array), [3, 5, 7])
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, array.transpose(2, 0, 1))


def test_the_centre_is_cropped(tmp_path):
    wide = np.zeros((4, 8, 3), np.uint8)
    wide[:, 2:6] = 200
    read = load_image(saved(tmp_path / "a.png", wide), [3, 4, 4])
    assert (read == 200).all()


def test_grey_becomes_colour_and_colour_grey(tmp_path):
    grey = np.full((4, 4), 77, np.uint8)
    assert (load_image(saved(tmp_path / "a.png", grey), [3, 4, 4]) == 77).all()
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 255
    read = load_image(saved(tmp_path / "b.png", red), [1, 4, 4])
    assert read.shape == (1, 4, 4)
    assert (read == 76).all()  # 0.299 of red, as ITU-R 601 weighs it


def test_the_exif_orientation_is_applied(tmp_path):
    upright = np.zeros((6, 6, 3), np.uint8)
    upright[:3] = 255
    tags = Image.Exif()
    tags[0x0112] = 3  # upside down
    path = saved(tmp_path / "a.png", upright[::-1], exif=tags)
    np.testing.assert_array_equal(load_image(path, [3, 6, 6]), upright.transpose(2, 0, 1))


def test_open_files_are_read():
    content = io.BytesIO()
    Image.fromarray(np.full((3, 3, 3), 9, np.uint8)).save(content, format="png")
    content.seek(0)
    assert (load_image(content, [3, 3, 3]) == 9).all()


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
def test_other_files_are_an_error(tmp_path, content):
    path = tmp_path / "bad.png"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"bad\.png: no image that can be read"):
        load_image(path, [3, 4, 4])


def test_a_truncated_image_is_an_error(tmp_path):
    path = saved(tmp_path / "a.jpg", np.zeros((64, 64, 3), np.uint8))
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(InputError, match="no image that can be read"):
        load_image(path, [3, 4, 4])


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        load_image(tmp_path / "none.png", [3, 4, 4])


RAMP = np.linspace(0, 65535, 1024).reshape(32, 32).astype(np.uint16)
# In 8 bits.
EVEN = np.round(RAMP / 257)


def as_big_endian(path):
    Image.fromarray(RAMP.astype(">u2")).save(path.with_suffix(".tif"))
    return path.with_suffix(".tif")


def as_png(path):
    Image.fromarray(RAMP).save(path.with_suffix(".png"))
    return path.with_suffix(".png")


def as_tiff(path, **options):
    Image.fromarray(RAMP).save(path.with_suffix(".tif"), **options)
    return path.with_suffix(".tif")


def as_deflated_tiff(path):
    return as_tiff(path, compression="tiff_adobe_deflate")


def white_is_zero(path):
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[images.PHOTOMETRIC] = images.WHITE_IS_ZERO
    Image.fromarray(65535 - RAMP).save(path.with_suffix(".tif"), tiffinfo=tags)
    return path.with_suffix(".tif")


def tiff(path, content, size, bits, *more):
    """A grey TIFF that Pillow can read but not write; ``more`` are tags and their values."""
    width, height = size
    entries = [(256, width), (257, height), (258, bits), (259, 1), (262, 1), (273, 8), (277, 1)]
    entries += [(278, height), (279, len(content)), *more]
    directory = struct.pack("<H", len(entries))
    directory += b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    head = b"II*\0" + struct.pack("<I", 8 + len(content))
    path.with_suffix(".tif").write_bytes(head + content + directory + bytes(4))
    return path.with_suffix(".tif")


def as_12_bits(path):
    values = (RAMP >> 4).ravel().astype(np.uint32)
    first, second = values[::2], values[1::2]
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=1)
    return tiff(path, packed.astype(np.uint8).tobytes(), (32, 32), 12)


def as_pgm(path, maxval=65535):
    values = np.round(RAMP / 65535 * maxval).astype(">u2")
    path.with_suffix(".pgm").write_bytes(f"P5 32 32 {maxval}\n".encode() + values.tobytes())
    return path.with_suffix(".pgm")


def as_pgm_of_1000(path):
    return as_pgm(path, 1000)


def as_colour_of_16_bits(path):
    values = np.repeat(RAMP[..., None], 3, axis=2).astype(">u2")
    path.with_suffix(".ppm").write_bytes(b"P6 32 32 65535\n" + values.tobytes())
    return path.with_suffix(".ppm")


@pytest.mark.parametrize(
    "write",
    [
        as_png,
        as_tiff,
        as_deflated_tiff,
        as_big_endian,
        white_is_zero,
        as_12_bits,
        as_pgm,
        as_pgm_of_1000,
        as_colour_of_16_bits,
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_more_than_8_bits_are_scaled(tmp_path, write, channels):
    read = load_image(write(tmp_path / "a"), [channels, 32, 32])
    assert (abs(read.astype(float) - EVEN).max(axis=(1, 2)) <= 1).all()
    assert (read[0, 0, 0], read[0, -1, -1]) == (0, 255)


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_an_unknown_white_level_is_an_error(tmp_path, kind):
    path = tmp_path / "a.tif"
    Image.fromarray((np.ones((8, 8)) / 2).astype(kind)).save(path)
    with pytest.raises(InputError, match=r"a\.tif: .*without a known white; save it with 8 bits"):
        load_image(path, [3, 8, 8])


def test_signed_16_bits_are_an_error(tmp_path):
    sample_format = (339, 2)
    path = tiff(tmp_path / "a", RAMP.astype("<i2").tobytes(), (32, 32), 16, sample_format)
    with pytest.raises(InputError, match="without a known white"):
        load_image(path, [3, 32, 32])


def colours():
    """A smooth image whose four corners differ."""
    across, down = np.meshgrid(np.linspace(0, 255, 16), np.linspace(0, 255, 16))
    return np.stack([across, down, 255 - across], axis=2).astype(np.uint8)


@pytest.mark.parametrize(
    ("mode", "name", "tolerance"),
    [
        ("RGBA", "a.png", 0),
        ("RGBA", "a.tif", 0),
        ("RGBA", "a.webp", 20),
        ("CMYK", "a.tif", 1),
        ("CMYK", "a.jpg", 20),
        ("YCbCr", "a.tif", 3),
        ("P", "a.png", 40),
        ("P", "a.gif", 40),
        ("RGB", "a.bmp", 0),
        ("RGB", "a.ppm", 0),
        ("RGB", "a.avif", 20),
    ],
)
def test_colours_are_read_in_every_mode(tmp_path, mode, name, tolerance):
    # Half of it is transparent, which is ignored.
    image = Image.fromarray(colours())
    if mode == "RGBA":
        image.putalpha(Image.fromarray(np.tile([0, 255], (16, 8)).astype(np.uint8)))
    options = {"lossless": True, "exact": True} if name == "a.webp" else {}
    image.convert(mode).save(tmp_path / name, **options)
    read = load_image(tmp_path / name, [3, 16, 16])
    assert abs(read.transpose(1, 2, 0).astype(int) - colours()).max() <= tolerance


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P"])
def test_grey_is_read_in_every_mode(tmp_path, mode):
    grey = np.repeat(np.repeat([[0, 255], [255, 0]], 8, axis=0), 8, axis=1).astype(np.uint8)
    image = Image.fromarray(grey).convert(mode)
    options = {"transparency": bytes(range(256))} if mode == "P" else {}
    image.save(tmp_path / "a.png", **options)
    assert (load_image(tmp_path / "a.png", [1, 16, 16])[0] == grey).all()


@pytest.mark.parametrize("bits", [2, 4])
def test_few_bits_are_scaled(tmp_path, bits):
    values = np.tile(np.arange(2**bits, dtype=np.uint8), (4, 1))
    single = np.unpackbits(values[..., None], axis=2)[..., 8 - bits :]
    packed = np.packbits(single.reshape(4, -1), axis=1).tobytes()
    read = load_image(tiff(tmp_path / "a", packed, (2**bits, 4), bits), [1, 4, 2**bits])
    assert (read[0] == values * (255 // (2**bits - 1))).all()


DAMAGED_EXIF = bytes.fromhex(
    "0112 0003 00000001 00060000 0128 0002 00000002 32000000 00000000".replace(" ", "")
)


def test_a_damaged_tag_does_not_hide_the_orientation(tmp_path):
    upright = colours()
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x02" + DAMAGED_EXIF
    Image.fromarray(upright).save(tmp_path / "a.png", exif=exif)
    read = load_image(tmp_path / "a.png", [3, 16, 16])
    # Orientation 6: rotate clockwise.
    assert (read.transpose(1, 2, 0) == np.rot90(upright, -1)).all()


@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0nonsense", b"\xff" * 90])
def test_invalid_exif_is_ignored(tmp_path, exif):
    Image.fromarray(colours()).save(tmp_path / "a.png", exif=exif)
    read = load_image(tmp_path / "a.png", [3, 16, 16])
    assert (read.transpose(1, 2, 0) == colours()).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation(tmp_path, orientation):
    tags = Image.Exif()
    tags[images.ORIENTATION] = orientation
    for name in ("a.png", "a.tif"):
        Image.fromarray(colours()).save(tmp_path / name, exif=tags)
    turned = colours()
    if orientation in (5, 6, 7, 8):
        turned = turned.transpose(1, 0, 2)
    turned = turned[::-1] if orientation in (3, 4, 7, 8) else turned
    turned = turned[:, ::-1] if orientation in (2, 3, 6, 7) else turned
    for name in ("a.png", "a.tif"):
        read = load_image(tmp_path / name, [3, 16, 16])
        assert (read.transpose(1, 2, 0) == turned).all(), name


def test_special_files_are_an_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe.png")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket.png")
        for name, what in [
            ("pipe.png", "a pipe"),
            ("socket.png", "a socket"),
            ("/dev/zero", "a device"),
            (".", "a folder"),
        ]:
            with pytest.raises(InputError, match=f"{what}, not a regular file"):
                load_image(name, [3, 4, 4])


def test_a_file_name_cannot_forge_a_line():
    for name in ("a\nearly-exit: b.png", "a\x1b[2J.png", "a\u2028.png", "\udcff.png", "a\u202eb"):
        with pytest.raises(InputError) as error:
            load_image(name, [3, 4, 4])
        assert str(error.value).isprintable()
    with pytest.raises(InputError, match="''"):
        load_image("", [3, 4, 4])
