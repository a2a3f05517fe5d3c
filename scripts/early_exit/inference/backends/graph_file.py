"""The file that lists a network's graphs, ``graphs.json``, with their checksums."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from early_exit.errors import AGAIN, InputError
from early_exit.io.files import read_json, sha256, write_json

FOLDER = "parts"
KEYS = ("stages", "heads", "files", "identity")


def write_graphs_file(path: Path, names: dict[str, Any], identity: dict[str, Any]) -> None:
    """Write the list of graphs that are beside it.

    Parameters
    ----------
    names
        As :func:`early_exit.inference.graphs.export_graphs` returns them, and whatever else is to
        be noted.
    identity
        Provenance: the network and the data.
    """
    files = {name: sha256(path.parent / name) for name in (*names["stages"], *names["heads"])}
    write_json(path, names | {"files": files, "identity": identity})


def read_graphs_file(path: Path) -> dict[str, Any]:
    """Its content, its graphs checked.

    Raises
    ------
    InputError
        If it is missing or damaged, or a graph is.
    """
    content = read_json(path, KEYS)
    for name in (*content["stages"], *content["heads"]):
        file = path.parent / name
        # A manipulated list must not read files elsewhere.
        if Path(name).name != name.removeprefix(f"{FOLDER}/") or name not in content["files"]:
            raise InputError(f"{path}: lists {name}, which is no graph beside it", AGAIN)
        if not file.is_file() or sha256(file) != content["files"][name]:
            what = "damaged" if file.is_file() else "missing"
            raise InputError(f"{file}: {what}", f"delete {path} and run again")
    return content
