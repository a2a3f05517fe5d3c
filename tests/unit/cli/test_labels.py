"""Labels of images that are named on the command line."""

import pytest
from test_main import image

from early_exit.cli.labels import labels_of
from early_exit.errors import InputError
from early_exit.records.table import UNKNOWN

CLASSES = ["cat", "dog", "7"]


def test_the_label_of_a_linked_image_is_the_links_folder(tmp_path, monkeypatch):
    original = image(tmp_path / "originals/1.png")
    for place in ("cat/1.png", "dog/1.png"):
        (tmp_path / place).parent.mkdir()
        (tmp_path / place).symlink_to(original)
    monkeypatch.chdir(tmp_path / "cat")
    names = [str(tmp_path / "cat/1.png"), "1.png", "../dog/1.png", "../cat/../dog/1.png"]
    assert labels_of(names, "folders", CLASSES) == [0, 0, 1, 1]
    (tmp_path / "cat/more").mkdir()
    monkeypatch.chdir(tmp_path / "cat/more")
    assert labels_of(["../1.png"], "folders", CLASSES) == [0]


def test_a_table_that_has_none_of_the_images_is_refused(tmp_path):
    table = tmp_path / "labels.csv"
    table.write_text("image,label\nelsewhere/1.png,cat\n")
    with pytest.raises(InputError, match=r"labels\.csv: has a label of none of the 2 images"):
        labels_of(["1.png", "2.png"], str(table), CLASSES)
    assert labels_of([], str(table), CLASSES) == []


def test_labels_by_table_and_by_folder(tmp_path):
    names = [image(tmp_path / name) for name in ("cat/1.png", "dog/2.png", "7/3.png")]
    assert labels_of(names, None, CLASSES) == [UNKNOWN] * 3
    assert labels_of(names, "folders", CLASSES) == [0, 1, 2]
    table = tmp_path / "labels.csv"
    # A name before a number: the class 7 is the last one. 1 is a number.
    table.write_text(f"image,label,by\ncat/1.png,7,me\n{names[1]},1,me\n")
    assert labels_of(names, str(table), CLASSES) == [2, 1, UNKNOWN]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,label\na.png,bird\n", "a.png: 'bird' is no class; these are: cat, dog, 7"),
        ("image,label\na.png,3\n", "'3' is no class"),
        ("image,class\na.png,cat\n", "needs the columns image and label"),
        ("image,label\n", "needs the columns"),
        ("label,image\ncat\n", "line 2 names no image"),
        ("image,label\na.png\n", "'' is no class"),
        (None, "No such file"),
    ],
)
def test_invalid_labels_are_named(tmp_path, text, message):
    table = tmp_path / "labels.csv"
    if text is not None:
        table.write_text(text)
    with pytest.raises(InputError) as error:
        labels_of(["a.png"], str(table), CLASSES)
    assert message in str(error.value)
    assert "labels.csv" in str(error.value)


def test_a_folder_that_is_no_class_is_named(tmp_path):
    with pytest.raises(InputError, match="'bird' is no class"):
        labels_of([image(tmp_path / "bird/1.png")], "folders", CLASSES)


def test_an_image_has_one_label(tmp_path):
    names = [image(tmp_path / "1.png"), image(tmp_path / "2.png")]
    table = tmp_path / "labels.csv"
    table.write_text("image,label\n1.png,cat\n./1.png,cat\n2.png,dog\n")
    assert labels_of(names, str(table), CLASSES) == [0, 1]
    table.write_text("image,label\n1.png,cat\n2.png,dog\n./1.png,dog\n")
    with pytest.raises(InputError, match=r"line 4 gives \./1\.png another label than a line"):
        labels_of(names, str(table), CLASSES)


def test_a_path_from_here_comes_before_one_from_the_tables_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    image(tmp_path / "sub/1.png")
    (tmp_path / "sub/labels.csv").write_text("image,label\n1.png,cat\nsub/1.png,dog\n")
    assert labels_of(["sub/1.png"], "sub/labels.csv", CLASSES) == [1]


@pytest.mark.parametrize(
    "text",
    [
        "image,label\na\0b.png,cat\n",
        "image,label\na.png," + "9" * 5000 + "\n",
        "image,label\na.png,\u0663\n",
        "image,label\na.png,\x1b[2J\n",
        "image,label\n" + "a" * 200_000 + ",cat\n",
        "\ud800",
    ],
)
def test_a_table_of_labels_never_prints_a_traceback(tmp_path, text):
    table = tmp_path / "labels.csv"
    table.write_bytes(text.encode(errors="surrogatepass"))
    (tmp_path / "loop.png").symlink_to("loop.png")
    with pytest.raises(InputError) as error:
        labels_of([str(tmp_path / "loop.png"), "a.png"], str(table), CLASSES)
    assert "labels.csv" in str(error.value)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 700
