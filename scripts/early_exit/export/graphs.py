"""Export of a network and its policy, as files that need neither this project nor torch.

Each stage and each head is a separate ONNX graph, so that samples can exit between them.
:mod:`early_exit.export.runner` runs them and is copied beside them.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch.utils import _pytree as pytree

from early_exit import __version__
from early_exit.export import runner
from early_exit.inference.backends.graph_file import read_graphs_file
from early_exit.inference.backends.tensors import as_exported
from early_exit.inference.decisions import Decisions
from early_exit.inference.graphs import OPSET, export_graphs
from early_exit.inference.single import FILE as SINGLE
from early_exit.inference.single import Parts, single_graph
from early_exit.io import images
from early_exit.io.files import sha256, write_json
from early_exit.networks import MultiExitNetwork
from early_exit.policy.policy import Policy
from early_exit.records.uncertainty import backend
from early_exit.records.uncertainty.measures import NAMES
from early_exit.structures.inputs import InputSpec
from early_exit.structures.tree import Structure

FORMAT = 1
GRAPHS = "graphs"
# The code in an export: the first file loads the second.
CODE = {"runner.py": Path(runner.__file__), "images.py": Path(images.__file__)}
# Modules of exit criteria; in the export their package has another name.
CRITERIA = ("backend", "features", *(name for name in NAMES if name not in runner.MEASURES))
PACKAGE, EXPORTED = "early_exit.records.uncertainty", "early_exit_criteria"
# Packages that the runner needs, and those that make the graphs.
NEEDED = ("numpy", "onnxruntime", "pillow")
MADE_BY = ("torch", "onnx", "onnxscript")


def export(
    network: MultiExitNetwork,
    policy_file: Path,
    policy: dict[str, Any],
    manifest: dict[str, Any],
    folder: Path,
    run_by: Sequence[str] = ("onnxruntime", "fp32"),
    listed: Path | None = None,
    single: bool = False,
) -> None:
    """Write the export to ``folder``, which is empty.

    Parameters
    ----------
    policy_file, policy
        The policy file, and its content.
    manifest
        The data set's manifest: ``shape``, ``class_names`` and, if known, ``mean`` and ``std``.
    run_by
        Backend and precision that the policy was found for.
    listed
        The list of the graphs that the policy was found for; without it they are made of the
        network, in fp32.
    single
        Whether to add :mod:`early_exit.inference.single`'s graph for one sample at a time.

    Raises
    ------
    InputError
        If that graph is asked for and cannot be made.
    """
    spec = InputSpec.read(manifest)
    if listed is None:
        graphs = export_graphs(network, spec, folder / GRAPHS)
    else:
        graphs = _copied(listed, folder)
    backend, precision = run_by
    needed = (*NEEDED, "openvino") if backend == "openvino" else NEEDED
    shutil.copyfile(policy_file, folder / "policy.json")
    for name, content in code().items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    versions = {name: version(name) for name in (*needed, *MADE_BY)}
    tested = "".join(f"{name}  # {versions[name]} was tested\n" for name in needed)
    (folder / "requirements.txt").write_text(tested, encoding="utf-8")
    text = Path(__file__).with_name("readme_template.md").read_text(encoding="utf-8")
    filled = _filled(text, policy, manifest, spec, run_by, single)
    (folder / "README.md").write_text(filled, encoding="utf-8")
    criteria = [name for name in code() if name.startswith(runner.CRITERIA)]
    files = [*graphs["stages"], *graphs["heads"], "policy.json", *criteria]
    if single:
        _write_single(folder, Policy.from_json(policy["policy"]), graphs, manifest, spec)
        files.append(SINGLE)
    write_json(
        folder / "manifest.json",
        {
            "format": FORMAT,
            "version": __version__,
            "graphs": graphs,
            "backend": backend,
            "precision": precision,
            "input": _input(spec, manifest),
            "class_names": manifest["class_names"],
            "measure": policy["policy"]["measure"],
            "temperatures": policy["policy"]["temperatures"],
            "opset": OPSET,
            "made_by": versions,
            "files": {name: sha256(folder / name) for name in files},
            "identity": policy["identity"],
        },
    )


def _write_single(
    folder: Path,
    policy: Policy,
    graphs: dict[str, Any],
    manifest: dict[str, Any],
    spec: InputSpec,
) -> None:
    scaling = {key: manifest.get(key) for key in ("mean", "std")} if spec.images else None
    names = [] if spec.images else [own["name"] for own in _arrays(as_exported(spec.examples))]
    model = single_graph(Decisions.of(policy), Parts.of(graphs, folder), scaling, names)
    (folder / SINGLE).write_bytes(model.SerializeToString(deterministic=True))


def _copied(listed: Path, folder: Path) -> dict[str, Any]:
    """Copy the listed graphs to the export; returns what its manifest notes of them."""
    content = read_graphs_file(listed)
    (folder / GRAPHS).mkdir(parents=True)
    for name in (*content["stages"], *content["heads"]):
        shutil.copyfile(listed.parent / name, folder / GRAPHS / Path(name).name)
    names = {
        kind: [f"{GRAPHS}/{Path(name).name}" for name in content[kind]]
        for kind in ("stages", "heads")
    }
    return names | {key: content[key] for key in ("shared", "earlier") if key in content}


def code() -> dict[str, bytes]:
    """The files of code in an export, by their names there."""
    found = {name: source.read_bytes() for name, source in CODE.items()}
    folder = Path(backend.__file__).parent
    found[f"{runner.CRITERIA}/__init__.py"] = b""
    for name in CRITERIA:
        text = (folder / f"{name}.py").read_text(encoding="utf-8").replace(PACKAGE, EXPORTED)
        found[f"{runner.CRITERIA}/{name}.py"] = text.encode()
    return found


def _input(spec: InputSpec, manifest: dict[str, Any]) -> dict[str, Any]:
    """What the runner takes: images, or ``arrays`` in the order of the first graph's inputs."""
    if not spec.images:
        return {"arrays": _arrays(as_exported(spec.examples))}
    return {
        "shape": list(spec.shape),
        "scaling": "image / 255, then (scaled - mean) / std where these are given",
        "mean": manifest.get("mean"),
        "std": manifest.get("std"),
    }


def _arrays(examples: Structure) -> list[dict[str, Any]]:
    """Name, type and shape of a sample of each array; a name is a key, or a position from 0."""
    found = []
    for path, one in pytree.tree_flatten_with_path(examples)[0]:
        name = ".".join(str(getattr(key, "key", getattr(key, "idx", ""))) for key in path)
        dtype = str(one.dtype).removeprefix("torch.")
        found.append({"name": name or "inputs", "dtype": dtype, "shape": list(one.shape[1:])})
    return found


def _input_in_words(spec: InputSpec) -> str:
    """What the runner takes, for the README."""
    if spec.images:
        return f"uint8 images of {'x'.join(map(str, spec.shape))} (channels x height x width)"
    shown = [
        f"`{own['name']}` ({own['dtype']}, {'x'.join(map(str, own['shape'])) or 'one number'})"
        for own in _arrays(as_exported(spec.examples))
    ]
    return f"arrays with a row for each sample: {', '.join(shown)}"


def _filled(
    text: str,
    policy: dict[str, Any],
    manifest: dict[str, Any],
    spec: InputSpec,
    run_by: Sequence[str],
    single: bool,
) -> str:
    """The export's README, its fields filled in."""
    # Not known after a recalibration without labels.
    accuracy = policy["calibration"]["accuracy"]
    return text.format(
        dataset=manifest.get("dataset", "a data set"),
        classes=len(manifest["class_names"]),
        shape=_input_in_words(spec),
        backend=run_by[0],
        precision=run_by[1],
        files="IMAGE..." if spec.images else "--npz FILE",
        given="images" if spec.images else "inputs",
        exits=len(policy["policy"]["thresholds"]) + 1,
        measure=policy["policy"]["measure"],
        accuracy="not known" if accuracy is None else f"{accuracy:.2%}",
        version=__version__,
        single=f"| `{SINGLE}` | all of it for one sample at a time, with an `If` at each exit;"
        " returns `prediction`, `exit` (from 0) and `uncertainty` |\n"
        if single
        else "",
    )
