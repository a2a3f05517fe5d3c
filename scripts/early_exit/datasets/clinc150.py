"""CLINC150 (Larson et al. 2019): 22,500 short queries to an assistant, 150 intents.

The official splits are used: 15,000 queries to train on, 3,000 (validation) for calibration, 4,500
to test. The queries of no intent ("out of scope") are read apart; no split has them. Licence: CC BY
3.0, https://github.com/clinc/oos-eval.
"""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from early_exit.datasets import texts
from early_exit.datasets.base import Contents
from early_exit.datasets.parts import check_settings
from early_exit.io.downloads import check_files, fetch
from early_exit.io.files import alone
from early_exit.structures.examples import EXAMPLES

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from early_exit.datasets.base import Split

SETTINGS = ()
FOLDER, FILE = "clinc150", "data_full.json"
SHA256 = "36923c3705a59e08fe9c3883d8bc2dd966ef93e22cb78ac41171782a698d56e0"
SIZE = 2_495_390
COMMIT = "828f8093932c8fe6ca7936c3d2e52903b1c523de"
MIRRORS = (
    f"https://raw.githubusercontent.com/clinc/oos-eval/{COMMIT}/data/{FILE}",
    f"https://github.com/clinc/oos-eval/raw/{COMMIT}/data/{FILE}",
)
TOKENIZER = "tokenizer.json"
# New samples are lines of text.
TEXT = True
# Keys of the file, by split.
PARTS = {"train": "train", "calibration": "val", "test": "test"}
OUT_OF_SCOPE = {"train": "oos_train", "calibration": "oos_val", "test": "oos_test"}


def prepare(data_dir: Path, settings: dict[str, Any]) -> Contents:
    """Check the file, download it if it is missing, and learn the tokenizer.

    Raises
    ------
    InputError
        If the file is damaged, no mirror has it, or the splits, which are official, are given a
        size.
    """
    path = data_dir / FOLDER / FILE
    check_settings(tuple(PARTS), {"test": None, **settings}, "CLINC150")
    if not path.exists():
        # Two experiments may need it at the same time.
        with alone(path.parent):
            if not path.exists():
                fetch(path, settings["mirrors"] or MIRRORS, SHA256, SIZE)
    content = _content(path)
    learnt = _tokenizer(path)
    made = hashlib.sha256(learnt.to_str().encode()).hexdigest()
    files = {f"{FOLDER}/{FILE}": f"sha256:{SHA256}", TOKENIZER: f"sha256:{made}"}
    first = texts.arrays(queries(data_dir, "train")[0][:EXAMPLES], learnt)
    state = {TOKENIZER: learnt.to_str()}
    return Contents(_class_names(content), None, files, first, state)


def load(data_dir: Path, split: str, settings: dict[str, Any]) -> Split:
    """Read one split; see :mod:`early_exit.datasets.load`."""
    import torch

    from early_exit.datasets.base import Split

    path = data_dir / FOLDER / FILE
    content = _content(path)
    names = {name: number for number, name in enumerate(_class_names(content))}
    asked, intents = queries(data_dir, split)
    inputs = texts.arrays(asked, _tokenizer(path))
    return Split(
        {name: torch.from_numpy(array) for name, array in inputs.items()},
        torch.tensor([names[intent] for intent in intents]),
        _index(content, split),
    )


def prepare_new(raw: list[Any], manifest: dict[str, Any]) -> dict[str, Any]:
    """Inputs of new texts, by the tokenizer in the manifest.

    Raises
    ------
    InputError
        If a text is no string, or has no word.
    """
    return texts.arrays(raw, texts.opened(manifest["state"][TOKENIZER]))


def queries(data_dir: Path, split: str) -> tuple[list[str], list[str]]:
    """The queries of a split, and their intents."""
    found = _content(data_dir / FOLDER / FILE)[PARTS[split]]
    return [query for query, _ in found], [intent for _, intent in found]


def tokenizer(data_dir: Path) -> Tokenizer:
    """The tokenizer of the training queries; the manifest keeps its ``to_str()``.

    Raises
    ------
    InputError
        If the data set's file is missing or damaged.
    """
    return _tokenizer(data_dir / FOLDER / FILE)


def out_of_scope(data_dir: Path, split: str) -> list[str]:
    """Queries of no intent that belong to a split: 100, 100 and 1,000."""
    return [query for query, _ in _content(data_dir / FOLDER / FILE)[OUT_OF_SCOPE[split]]]


def _content(path: Path) -> dict[str, list[list[str]]]:
    """The queries with their intents, once the checksum is verified."""
    check_files(path.parent, {FILE: f"sha256:{SHA256}"}, f"delete {path} to download it again")
    return json.loads(path.read_text(encoding="utf-8"))


@lru_cache(maxsize=1)
def _tokenizer(path: Path) -> Tokenizer:
    return texts.learnt([query for query, _ in _content(path)[PARTS["train"]]])


def _class_names(content: dict[str, list[list[str]]]) -> list[str]:
    return sorted({intent for _, intent in content[PARTS["train"]]})


def _index(content: dict[str, list[list[str]]], split: str) -> Any:
    """Indices of a split's queries; they run through train, calibration and test."""
    import torch

    start = 0
    for name, key in PARTS.items():
        if name == split:
            break
        start += len(content[key])
    return torch.arange(start, start + len(content[PARTS[split]]))
