"""Images of every format, mode and size, damaged at random: read rightly, or refused in one line.

By the folder data set, arrays, and what `predict` reads; nothing behind a bad one is lost.
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from early_exit.cli.images import Reader, find
from early_exit.datasets.images import load_image
from early_exit.datasets.load import SPLITS, load_split, prepare_dataset
from early_exit.io.images import ORIENTATION
from fuzzing import CASES, generator, taken_or_refused

pytestmark = pytest.mark.faults

# Modes and options that Pillow writes for each format; those that are refused have no options.
LOSSY, REFUSED = 12, None
WRITTEN = [
    *(("png", mode, {}, 0) for mode in ("1", "L", "LA", "P", "RGB", "RGBA")),
    ("png", "I;16", {}, 1),
    *(("bmp", mode, {}, 0) for mode in ("1", "L", "P", "RGB", "RGBA")),
    *(("gif", mode, {}, 0) for mode in ("1", "L", "P")),
    *(("ppm", mode, {}, 0) for mode in ("1", "L", "RGB")),
    ("ppm", "I;16", {}, 1),
    *(("tiff", mode, {}, 0) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr")),
    *(("tiff", mode, {}, 1) for mode in ("I;16", "I;16B")),
    ("tiff", "LAB", {}, 1),
    *(("tiff", mode, {}, REFUSED) for mode in ("F", "I")),
    *(
        ("tiff", mode, {"compression": kind}, 1 if mode == "I;16" else 0)
        for mode in ("L", "RGB", "RGBA", "I;16")
        for kind in ("tiff_lzw", "tiff_adobe_deflate", "packbits")
    ),
    ("tiff", "1", {"compression": "group4"}, 0),
    ("tiff", "RGB", {"compression": "jpeg"}, LOSSY),
    *(("webp", mode, {"lossless": True, "exact": True}, 0) for mode in ("RGB", "RGBA")),
    *(("webp", mode, {"quality": 95}, LOSSY) for mode in ("RGB", "L")),
    *(("jpeg", mode, {"quality": 95}, LOSSY) for mode in ("L", "RGB", "CMYK")),
    ("jpeg", "RGB", {"quality": 95, "progressive": True}, LOSSY),
    *(("avif", mode, {"quality": 95}, LOSSY) for mode in ("L", "RGB")),
]
WITH_TURNS = ("png", "jpeg", "webp", "tiff", "avif")
PIXELS = 1 << 22
SHAPE = (3, 8, 8)


@dataclass
class Made:
    """An image file, and what must be read from it."""

    content: bytes
    suffix: str
    right: Image.Image | None
    tolerance: float | None


def made(rng: np.random.Generator) -> Made:
    """A random image, smooth enough for what is lossy."""
    suffix, mode, options, tolerance = WRITTEN[rng.integers(len(WRITTEN))]
    height, width = rng.integers(1, 40, 2)
    across, down = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    weights = rng.uniform(0, 1, (3, 3))
    values = np.stack([a * across + b * down + c for a, b, c in weights], axis=2) / 3
    if mode.startswith("I;16"):
        deep = np.round(values[..., 0] * 65535).astype(">u2" if mode == "I;16B" else np.uint16)
        drawn = Image.fromarray(deep)
        right = Image.fromarray(np.round(deep / 257).astype(np.uint8)).convert("RGB")
    elif mode in ("F", "I"):
        kind = np.float32 if mode == "F" else np.int32
        drawn, right = Image.fromarray((values[..., 0] * 255).astype(kind)), None
    else:
        colour = Image.fromarray(np.round(values * 255).astype(np.uint8))
        drawn = colour.convert(mode)
        right = drawn.convert("RGB")
    if suffix in WITH_TURNS and rng.random() < 0.3:
        tags = Image.Exif()
        tags[ORIENTATION] = int(rng.integers(1, 9))
        options = options | {"exif": tags}
        if right is not None:
            right.getexif()[ORIENTATION] = tags[ORIENTATION]
            right = ImageOps.exif_transpose(right)
    file = io.BytesIO()
    drawn.save(file, format=suffix, **options)
    return Made(file.getvalue(), suffix, right, tolerance)


def damaged(rng: np.random.Generator, content: bytes) -> bytes:
    """Bits flipped, cut, numbers at their extremes, pieces taken away, put in or repeated."""
    changed = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        place = int(rng.integers(len(changed) or 1))
        # Heads say most.
        place = min(place, int(rng.integers(1, 64))) if rng.random() < 0.5 else place
        length = int(rng.integers(1, 24))
        match rng.integers(7):
            case 0:
                for at in rng.integers(0, len(changed) or 1, rng.integers(1, 12)):
                    if changed:
                        changed[at] ^= 1 << int(rng.integers(8))
            case 1:
                del changed[place:]
            case 2:
                extreme = rng.choice([0, 1, 2**31 - 1, 2**32 - 1, 2**16])
                changed[place : place + 4] = int(extreme).to_bytes(4, rng.choice(["big", "little"]))
            case 3:
                changed[place : place + length] = rng.bytes(length)
            case 4:
                del changed[place : place + length]
            case 5:
                changed[place:place] = changed[place : place + 8 * length]
            case 6:
                changed[place : place + 8 * length] = bytes(8 * length)
    return bytes(changed)


def check_refusal(refusal: str) -> None:
    """The limits of a case are Python errors, too, and must not be among what was refused."""
    for word in ("took more than", "MemoryError", "Traceback", "BytesIO object"):
        assert word not in refusal, refusal


def mean_error(read: np.ndarray, right: Image.Image, shape: tuple[int, int, int]) -> float:
    _, height, width = shape
    fitted = ImageOps.fit(right, (width, height), Image.Resampling.BILINEAR)
    if shape[0] == 1:
        fitted = fitted.convert("L")
    expected = np.asarray(fitted).reshape(height, width, shape[0]).transpose(2, 0, 1)
    return float(abs(read.astype(float) - expected).mean())


def test_whole_images_are_read_rightly(tally):
    for case in range(CASES):
        rng = generator("images", case)
        image = made(rng)
        own_size = image.right.size[::-1] if image.right else (8, 8)
        size = own_size if rng.random() < 0.6 else tuple(map(int, rng.integers(1, 50, 2)))
        shape = (3 if rng.random() < 0.7 else 1, *size)
        read, refusal = taken_or_refused(load_image, io.BytesIO(image.content), shape, PIXELS)
        where = (case, image.suffix, image.right, shape)
        if image.tolerance is REFUSED:
            assert refusal and "without a known white" in refusal, where
            continue
        assert refusal is None, (where, refusal)
        assert (read.dtype, read.shape) == (np.uint8, shape)
        # Between colours and grey, before or after resizing, half a step may be lost.
        assert mean_error(read, image.right, shape) <= image.tolerance + 1, where
        tally["fuzzed images"] += 1


def test_damaged_images_are_read_or_refused(tally, tmp_path, capfd):
    taken = 0
    for case in range(CASES):
        rng = generator("damaged images", case)
        image = made(rng)
        # By another name, too: what it is stands in it.
        suffix = image.suffix if rng.random() < 0.7 else rng.choice(["png", "jpg", "tif", "avif"])
        path = tmp_path / f"{case}.{suffix}"
        path.write_bytes(damaged(rng, image.content))
        read, refusal = taken_or_refused(load_image, path, SHAPE, PIXELS)
        if refusal is None:
            assert (read.dtype, read.shape) == (np.uint8, SHAPE)
            taken += 1
        else:
            assert refusal.startswith(f"{path}: no image that can be read (")
            check_refusal(refusal)
        tally["fuzzed images"] += 1
    # Nothing is said where results are; libtiff tells standard error what it finds.
    assert capfd.readouterr().out == ""
    assert 0.02 * CASES < taken < 0.9 * CASES


def test_what_predict_reads_goes_on_behind_a_bad_image(tally, tmp_path, capsys):
    good = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), 77, np.uint8)).save(good, format="png")
    for case in range(0, CASES, 10):
        rng = generator("predict", case)
        folder = tmp_path / str(case)
        folder.mkdir()
        for number in range(10):
            (folder / f"{number}0 good.png").write_bytes(good.getvalue())
            image = made(rng)
            bad = folder / f"{number}1 bad.{image.suffix}"
            match rng.integers(12):
                case 0:
                    os.mkfifo(bad)
                case 1:
                    bad.symlink_to("nowhere")
                case 2:
                    bad = folder / f"{number}1\nforged\x1b[2J.png"
                    bad.write_bytes(damaged(rng, image.content))
                case _:
                    bad.write_bytes(damaged(rng, image.content))
        names, refusal = taken_or_refused(find, [str(folder)])
        assert refusal is None
        reader = Reader(list(SHAPE), names, int(rng.integers(1, 9)), PIXELS)
        batches, refusal = taken_or_refused(lambda r=reader: list(r.batches()))
        assert refusal is None
        read = {p: image for batch in batches for p, image in zip(*batch, strict=True)}
        assert len(names) == 20
        for place, name in enumerate(names):
            if "good" in name:
                assert (read[place] == 77).all()
        told = capsys.readouterr().err.splitlines()
        assert (len(read), reader.good, len(told)) == (20 - reader.bad, len(read), reader.bad)
        for line in told:
            assert line.isprintable()
            assert line.startswith(f"early-exit: {folder}/")
            check_refusal(line)
        tally["fuzzed images"] += 10


def test_a_folder_with_damaged_images_is_read_or_refused(tally, tmp_path):
    for case in range(0, CASES, 5):
        rng = generator("folder", case)
        folder = tmp_path / str(case)
        right = {}
        for name in ("ant", "bee"):
            (folder / name).mkdir(parents=True)
            for number in range(3):
                image = made(rng)
                place = folder / name / f"{number}.{image.suffix}"
                is_damaged = rng.random() < 0.15
                place.write_bytes(damaged(rng, image.content) if is_damaged else image.content)
                right[place] = None if is_damaged else image
        settings = {"name": "folder", "size": 8, "calibration": 1, "test": 1, "split_seed": 1}
        settings["max_pixels"] = PIXELS
        manifest, refusal = taken_or_refused(prepare_dataset, folder, settings)
        refused = [p for p, i in right.items() if i is not None and i.tolerance is REFUSED]
        if refusal is not None:
            named = Path(refusal.partition(": no image")[0])
            assert right[named] is None or named in refused, refusal
            check_refusal(refusal)
        else:
            assert not refused
            assert manifest["class_names"] == ["ant", "bee"]
            files = list(right)
            for split in SPLITS:
                data, refusal = taken_or_refused(load_split, folder, split, settings)
                assert refusal is None
                assert isinstance(data.inputs, torch.Tensor)
                for one, index in zip(data.inputs.numpy(), data.index.tolist(), strict=True):
                    image = right[files[index]]
                    if image:
                        assert mean_error(one, image.right, SHAPE) <= image.tolerance + 1
        tally["fuzzed images"] += 6


KINDS = [np.uint8] * 24 + [np.uint16, np.int64, np.float16, np.float32, bool, "U3", "M8[s]", ">u1"]
LABELS = [np.int64] * 20 + [np.uint8, np.uint64, np.float64, bool, "U3", ">i4", object]


def arrays(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Arrays for a data set, right or not."""
    found = {}
    channels, size = int(rng.choice([1, 3, 3, 3, 3, 4])), int(rng.integers(4, 9))
    for prefix in ("", *(p for p in ("val_", "test_", "valid_") if rng.random() < 0.2)):
        number = int(rng.integers(6, 30))
        images = rng.integers(0, 256, (number, size, size, channels))
        images = images.transpose(0, 3, 1, 2) if rng.random() < 0.3 else images
        images = images[..., 0] if rng.random() < 0.1 else images
        labels = np.arange(number) % 3 + int(rng.choice([0] * 8 + [1, -1, 10**9]))
        kind = KINDS[rng.integers(len(KINDS))]
        found[f"{prefix}images"] = images.astype("i8" if kind == "M8[s]" else kind).astype(kind)
        found[f"{prefix}labels"] = labels.astype(LABELS[rng.integers(len(LABELS))])
        if rng.random() < 0.05:
            found[f"{prefix}labels"] = found[f"{prefix}labels"][1:]
    if rng.random() < 0.4:
        strange = rng.choice(["c", "c\n", "c\x1b[2J", "", "a", "\u202e"])
        found["class_names"] = np.array(["a", "b", strange])
    return found


def test_arrays_are_read_rightly_or_refused(tally, tmp_path):
    taken = 0
    path = tmp_path / "own.npz"
    settings = {"name": "npz", "calibration": None, "test": None, "split_seed": 1}
    for case in range(CASES):
        rng = generator("arrays", case)
        given = arrays(rng)
        (np.savez if rng.random() < 0.5 else np.savez_compressed)(path, **given)
        is_damaged = rng.random() < 0.4
        if is_damaged:
            path.write_bytes(damaged(rng, path.read_bytes()))
        manifest, refusal = taken_or_refused(prepare_dataset, path, settings)
        tally["fuzzed images"] += 1
        if refusal is not None:
            check_refusal(refusal)
            continue
        taken += 1
        channels, *sides = manifest["shape"]
        assert channels in (1, 3) or channels < min(sides)
        # Checksums in the file find a changed array, but not a part that has lost its name.
        prefixes = [p for p in ("", "val_", "test_") if f"{p}images" in given]
        assert is_damaged or "valid_images" not in given
        together = {}
        for split in SPLITS:
            data, refusal = taken_or_refused(load_split, path, split, settings)
            assert refusal is None
            for index, *both in zip(data.index.tolist(), data.inputs, data.labels, strict=True):
                together[index] = both
        labels = np.concatenate([given[f"{p}labels"] for p in prefixes]).astype(np.int64)
        assert is_damaged or len(together) == len(labels)
        images = [given[f"{p}images"] for p in prefixes]
        flat = [image for part in images for image in part]
        for index, (image, label) in list(together.items())[: len(images[0])]:
            if index < len(images[0]):
                assert int(label) == labels[index]
                assert sorted(image.flatten().tolist()) == sorted(flat[index].ravel().tolist())
    assert 0.05 * CASES < taken < 0.9 * CASES
