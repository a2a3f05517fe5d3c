"""Read image files as arrays, within limits of size; also used by exported policies.

Needs only numpy and pillow.
"""

import io
import os
import re
import stat
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

# Other formats, such as EPS, would start decoders or programs that few images need.
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
# A few kilobytes may decode to gigabytes. Reading takes up to 16 bytes of memory a pixel.
MAX_PIXELS = 1 << 26
# Most bytes of a pixel in a file: four channels of 16 bits.
BYTES_A_PIXEL = 8
# Most scans of a JPEG. No camera writes more; each is a pass over all pixels for a few bytes.
MAX_SCANS = 100
# JPEG markers of start, scan and end; and any marker except those within pixel data.
START, SCAN, END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"
MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
# Start of PPM and related formats, a comment in their header, and its most bytes.
NETPBM, COMMENT = re.compile(rb"P[1-6Ff]"), re.compile(rb"#[^\r\n]*")
LONGEST_HEAD = 1 << 16
# Pillow's mode by number of channels.
MODES = {1: "L", 3: "RGB"}
# Modes that Pillow converts to those two only by way of another.
BETWEEN = {"La": "LA", "RGBa": "RGBA", "LAB": "RGB"}
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
ORIENTATION, BITS, PHOTOMETRIC, WHITE_IS_ZERO = 0x0112, 258, 262, 0
ROWS = 256
# Most characters of a library's message.
LONGEST = 300

# Pillow warns of skipped tags, and of sizes that are checked here.
for category in (UserWarning, Image.DecompressionBombWarning):
    warnings.filterwarnings("ignore", category=category, module=r"PIL\.")


class ImageError(Exception):
    """An image that cannot or must not be read; the message is one line, without the file name."""


def read_image(source, shape, max_pixels=MAX_PIXELS):
    """Read an image as uint8 of shape (channels, height, width): centre crop, then resize.

    The EXIF orientation is applied. Grey of 16 bits is scaled to 0..255. Transparent pixels keep
    their stored colour.

    Parameters
    ----------
    source
        A path, or an open binary file.
    shape
        Channels (1 is grey, 3 colour), height and width.
    max_pixels
        Larger images are refused before they are decoded.

    Raises
    ------
    ImageError
        If it is missing, damaged, too large, in none of the formats above, or in a mode without a
        known range of brightness.
    """
    channels, height, width = shape
    # Decoders raise various errors for damaged files.
    try:
        content = _content(source, BYTES_A_PIXEL * max_pixels)
        _check_scans(content)
        _check_head(content)
        # In memory, a wrong length in a damaged file cannot exceed the file.
        with Image.open(io.BytesIO(content), formats=_formats()) as image:
            _check_size(image, max_pixels)
            image.load()
            transpose = _orientation(image)
            image = _converted(image, MODES[channels])
        if transpose is not None:
            image = image.transpose(transpose)
        image = ImageOps.fit(image, (width, height), Image.Resampling.BILINEAR)
        return np.asarray(image).reshape(height, width, channels).transpose(2, 0, 1)
    except ImageError:
        raise
    except Image.UnidentifiedImageError as error:
        raise ImageError(f"damaged, or in none of the formats {', '.join(FORMATS)}") from error
    except Exception as error:
        raise ImageError(_reason(error)) from error


def _content(source, max_bytes):
    """Content of an open or a regular file, which must be neither empty nor too large."""
    if not isinstance(source, (str, os.PathLike)):
        _check_bytes(source.seek(0, os.SEEK_END), max_bytes)
        source.seek(0)
        return source.read()
    # Before opening: opening a pipe blocks until something writes to it.
    found = Path(source).stat()
    if not stat.S_ISREG(found.st_mode):
        raise ImageError(f"{_kind(found.st_mode)}, not a regular file")
    _check_bytes(found.st_size, max_bytes)
    return Path(source).read_bytes()


def _kind(mode):
    names = {
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFDIR: "a folder",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return names.get(stat.S_IFMT(mode), "something else")


def _check_bytes(size, max_bytes):
    if size == 0:
        raise ImageError("empty (0 bytes)")
    if size > max_bytes:
        raise ImageError(
            f"{size:,} bytes, more than the {max_bytes:,} allowed; make it smaller, or raise"
            " max_pixels"
        )


def _check_scans(content):
    """Refuse a JPEG with very many scans of the same pixels."""
    position = scans = 0
    while content.startswith(START) and (found := MARKER.search(content, position)):
        if found[0] == END:
            break
        # All markers but the start are followed by a length.
        length = int.from_bytes(content[found.end() : found.end() + 2], "big")
        position = found.end() + (0 if found[0] == START else length)
        scans += found[0] == SCAN
        if scans > MAX_SCANS:
            raise ImageError(f"a JPEG with more than the {MAX_SCANS} scans allowed")


def _check_head(content):
    """Refuse a PPM with very long comments in its header, which Pillow reads byte by byte."""
    if not NETPBM.match(content) or len(content) <= LONGEST_HEAD:
        return
    # Format, width and height.
    if len(COMMENT.sub(b"", content[:LONGEST_HEAD]).split(maxsplit=3)) < 3:
        raise ImageError(f"a PPM with a header of more than {LONGEST_HEAD:,} bytes")


def _formats():
    """The formats that this Pillow supports."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _check_size(image, max_pixels):
    width, height = image.size
    if width * height == 0:
        raise ImageError(f"has no pixels ({width} x {height})")
    if width * height > max_pixels:
        raise ImageError(
            f"{width} x {height} pixels, more than the {max_pixels:,} allowed in all; make it"
            " smaller, or raise max_pixels"
        )


def _orientation(image):
    """The transposition of the EXIF orientation, or ``None``."""
    try:
        return TURNS.get(image.getexif().get(ORIENTATION))
    # EXIF is often damaged, and nothing else of it is used.
    except Exception:
        return None


def _converted(image, mode):
    """The image with 8 bits a channel: the range of its format is scaled to 0..255."""
    if image.mode.startswith("I;16"):
        tags = getattr(image, "tag_v2", {})
        bits = tags.get(BITS, (16,))[0]
        image = _of_16_bits(image, 2**bits - 1, tags.get(PHOTOMETRIC) == WHITE_IS_ZERO)
    # Pillow scales these formats to 16 bits.
    elif image.mode == "I" and image.format in ("PNG", "PPM"):
        image = _of_16_bits(image, 2**16 - 1)
    elif image.mode in ("I", "F"):
        what = "whole numbers" if image.mode == "I" else "floating-point numbers"
        raise ImageError(
            f"its pixels are {what} without a known white; save it with 8 bits a channel, or 16"
            " without a sign"
        )
    # Transparent pixels keep their colour.
    image.info.pop("transparency", None)
    if image.mode in BETWEEN:
        image = image.convert(BETWEEN[image.mode])
    return image if image.mode == mode else image.convert(mode)


def _of_16_bits(image, white, inverted=False):
    """Scale grey of up to 16 bits to 8, a few rows at a time to save memory."""
    values = np.asarray(image)
    scaled = np.empty(values.shape, np.uint8)
    for start in range(0, len(values), ROWS):
        rows = values[start : start + ROWS].astype(np.int64).clip(0, white)
        scaled[start : start + ROWS] = (255 * rows + white // 2) // white
    return Image.fromarray(255 - scaled if inverted else scaled)


def _reason(error):
    """A library's message, on one printable line."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    text = "".join(one if one.isprintable() else "?" for one in " ".join(text.split()))
    plain = isinstance(error, OSError) and text
    text = text if plain else f"{type(error).__name__}: {text}" if text else type(error).__name__
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."
