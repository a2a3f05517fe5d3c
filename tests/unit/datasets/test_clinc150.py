"""CLINC150, on a small file in its format."""

import hashlib
import json
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from early_exit.datasets import clinc150, texts
from early_exit.errors import InputError

SETTINGS = {"name": "clinc150", "calibration": None, "split_seed": 42, "mirrors": None}
QUERIES = {
    "train": [["what is my balance", "balance"], ["say money in french", "translate"]],
    "val": [["my balance please", "balance"]],
    "test": [["in french please", "translate"], ["balance", "balance"], ["money", "translate"]],
    "oos_train": [["who won", "oos"]],
    "oos_val": [],
    "oos_test": [["how far is mars", "oos"]],
}


@pytest.fixture
def served(tmp_path, monkeypatch):
    """Settings with the address of a file whose checksum replaces the real one."""
    folder = tmp_path / "served"
    folder.mkdir()
    content = json.dumps(QUERIES).encode()
    (folder / clinc150.FILE).write_bytes(content)
    monkeypatch.setattr(clinc150, "SHA256", hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(clinc150, "SIZE", len(content))
    handler = partial(SimpleHTTPRequestHandler, directory=folder)
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *arguments: None)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield SETTINGS | {"mirrors": [f"http://127.0.0.1:{server.server_port}/{clinc150.FILE}"]}
    server.shutdown()
    server.server_close()


def test_from_the_address_to_the_splits(served, tmp_path):
    contents = clinc150.prepare(tmp_path / "data", served)
    assert contents.class_names == ["balance", "translate"]
    assert list(contents.files) == ["clinc150/data_full.json", "tokenizer.json"]
    tokenizer = clinc150.tokenizer(tmp_path / "data")
    index = []
    for split, key in (("train", "train"), ("calibration", "val"), ("test", "test")):
        found = clinc150.load(tmp_path / "data", split, served)
        queries = [query for query, _ in QUERIES[key]]
        expected = texts.arrays(queries, tokenizer)
        assert all((found.inputs[name].numpy() == expected[name]).all() for name in expected)
        kinds = {name: own.shape[1:] for name, own in contents.inputs.items()}
        assert kinds == {name: tuple(own.shape[1:]) for name, own in found.inputs.items()}
        assert [contents.class_names[label] for label in found.labels] == [
            intent for _, intent in QUERIES[key]
        ]
        index += found.index.tolist()
    assert index == list(range(6))


def test_the_tokenizer_is_learnt_from_train_alone(served, tmp_path):
    contents = clinc150.prepare(tmp_path / "data", served)
    learnt = texts.learnt([query for query, _ in QUERIES["train"]]).to_str()
    assert clinc150.tokenizer(tmp_path / "data").to_str() == learnt
    digest = hashlib.sha256(learnt.encode()).hexdigest()
    assert contents.files["tokenizer.json"] == f"sha256:{digest}"


def test_queries_out_of_scope_are_read_apart(served, tmp_path):
    clinc150.prepare(tmp_path / "data", served)
    assert clinc150.out_of_scope(tmp_path / "data", "test") == ["how far is mars"]
    assert clinc150.out_of_scope(tmp_path / "data", "calibration") == []


def test_a_present_file_is_not_downloaded_nor_written(served, tmp_path):
    clinc150.prepare(tmp_path / "data", served)
    folder = tmp_path / "data/clinc150"
    before = sorted(folder.iterdir())
    (tmp_path / "served" / clinc150.FILE).unlink()
    clinc150.prepare(tmp_path / "data", served)
    assert sorted(folder.iterdir()) == before


def test_a_damaged_file_is_an_error_and_not_parsed(served, tmp_path):
    clinc150.prepare(tmp_path / "data", served)
    (tmp_path / "data/clinc150/data_full.json").write_text("{not json")
    for split in ("train", "test"):
        with pytest.raises(InputError, match=r"data_full.json: damaged"):
            clinc150.load(tmp_path / "data", split, served)
    with pytest.raises(InputError, match=r"data_full.json: damaged"):
        clinc150.prepare(tmp_path / "data", served)


def test_another_file_is_an_error(served, tmp_path, monkeypatch):
    monkeypatch.setattr(clinc150, "SHA256", "0" * 64)
    with pytest.raises(InputError, match="wrong checksum"):
        clinc150.prepare(tmp_path / "data", served)
    assert not (tmp_path / "data/clinc150/data_full.json").exists()


def test_the_official_splits_have_their_size(served, tmp_path):
    with pytest.raises(InputError, match=r"dataset.calibration: CLINC150 has calibration"):
        clinc150.prepare(tmp_path / "data", served | {"calibration": 10})
