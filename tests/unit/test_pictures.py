"""Reading picture files: shape, place, turning, and what is refused."""

import io

import numpy as np
import pytest
from PIL import Image

from early_exit.errors import InputError
from early_exit.pictures import read_picture


def saved(path, array, **options):
    Image.fromarray(array).save(path, **options)
    return path


def test_a_picture_of_the_right_size_comes_as_it_is(tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    read = read_picture(saved(tmp_path / "a.png", array), [3, 5, 7])
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, array.transpose(2, 0, 1))


def test_the_centre_is_taken(tmp_path):
    wide = np.zeros((4, 8, 3), np.uint8)
    wide[:, 2:6] = 200
    read = read_picture(saved(tmp_path / "a.png", wide), [3, 4, 4])
    assert (read == 200).all()


def test_grey_becomes_colour_and_colour_grey(tmp_path):
    grey = np.full((4, 4), 77, np.uint8)
    assert (read_picture(saved(tmp_path / "a.png", grey), [3, 4, 4]) == 77).all()
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 255
    read = read_picture(saved(tmp_path / "b.png", red), [1, 4, 4])
    assert read.shape == (1, 4, 4)
    assert (read == 76).all()  # 0.299 of red, as ITU-R 601 weighs it


def test_it_is_turned_as_its_camera_says(tmp_path):
    upright = np.zeros((6, 6, 3), np.uint8)
    upright[:3] = 255
    tags = Image.Exif()
    tags[0x0112] = 3  # upside down
    path = saved(tmp_path / "a.png", upright[::-1], exif=tags)
    np.testing.assert_array_equal(read_picture(path, [3, 6, 6]), upright.transpose(2, 0, 1))


def test_what_is_in_memory_is_read_too():
    content = io.BytesIO()
    Image.fromarray(np.full((3, 3, 3), 9, np.uint8)).save(content, format="png")
    content.seek(0)
    assert (read_picture(content, [3, 3, 3]) == 9).all()


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
def test_what_is_no_picture_is_named(tmp_path, content):
    path = tmp_path / "bad.png"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"bad\.png: no picture that can be read"):
        read_picture(path, [3, 4, 4])


def test_half_a_picture_is_refused(tmp_path):
    path = saved(tmp_path / "a.jpg", np.zeros((64, 64, 3), np.uint8))
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(InputError, match="no picture that can be read"):
        read_picture(path, [3, 4, 4])


def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        read_picture(tmp_path / "none.png", [3, 4, 4])
