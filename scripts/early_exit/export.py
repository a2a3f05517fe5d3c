"""A network and its policy as files that need neither this project nor torch.

Each stage and each head is an ONNX graph of its own, so that samples can leave between them. What
runs them is :mod:`early_exit.deployed.runner`, which is copied beside them.
"""

from __future__ import annotations

import io
import logging
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import nn

from early_exit import __version__, deployed
from early_exit.errors import InputError
from early_exit.files import sha256, write_json
from early_exit.networks import MultiExitNetwork

FORMAT = 1
# The version of the operators that graphs are written in.
OPSET = 20
GRAPHS = "graphs"
# What the runner needs, and what made the graphs.
NEEDED = ("numpy", "onnxruntime", "pillow")
MADE_BY = ("torch", "onnx", "onnxscript")


def export_graphs(
    network: MultiExitNetwork, shape: list[int], folder: Path
) -> dict[str, list[str]]:
    """Write ``stage_1.onnx``, ``head_1.onnx`` ... to ``folder``; their names, in order.

    The first axis of each input, ``input``, is the batch, and may have any length from 1.

    Raises
    ------
    InputError
        If a stage or head cannot be expressed in ONNX.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names: dict[str, list[str]] = {"stages": [], "heads": []}
    # Two of them: an axis of length 1 would be taken for one that never changes.
    features = torch.zeros(2, *shape)
    network = network.eval().cpu().float()
    for k, (stage, head) in enumerate(zip(network.stages, network.heads, strict=True), start=1):
        _export(stage, features, folder / f"stage_{k}.onnx")
        with torch.inference_mode():
            features = stage(features)
        features = features.clone()
        _export(head, features, folder / f"head_{k}.onnx")
        names["stages"].append(f"{folder.name}/stage_{k}.onnx")
        names["heads"].append(f"{folder.name}/head_{k}.onnx")
    return names


def _export(module: nn.Module, features: torch.Tensor, path: Path) -> None:
    try:
        with _quiet():
            program = torch.onnx.export(
                module,
                (features,),
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                input_names=["input"],
                output_names=["output"],
                opset_version=OPSET,
                verbose=False,
            )
    # What an operator that ONNX does not know makes the exporter raise is not one type.
    except Exception as error:
        reason = str(error).strip().splitlines()[0][:160]
        raise InputError(
            f"export: {path.stem} cannot be written as ONNX ({type(error).__name__}: {reason});"
            " use operators that ONNX has, with a batch of any size"
        ) from error
    model = _plain(program.model_proto)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString(deterministic=True))


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter says much about itself, on every channel."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def _plain(model: onnx.ModelProto) -> onnx.ModelProto:
    """Without notes on where an operator came from: they name paths of this machine."""
    model.doc_string = ""
    graph = model.graph
    for part in (
        model,
        graph,
        *graph.node,
        *graph.initializer,
        *graph.value_info,
        *graph.input,
        *graph.output,
    ):
        part.doc_string = ""
        del part.metadata_props[:]
    return model


def export(
    network: MultiExitNetwork,
    policy_file: Path,
    policy: dict[str, Any],
    manifest: dict[str, Any],
    folder: Path,
) -> None:
    """Write the whole export to ``folder``, which is empty.

    Parameters
    ----------
    policy_file, policy
        The policy file, and what it says.
    manifest
        The data set's: ``shape``, ``class_names``, and where they are known ``mean`` and ``std``.
    """
    graphs = export_graphs(network, manifest["shape"], folder / GRAPHS)
    shutil.copyfile(policy_file, folder / "policy.json")
    own = Path(deployed.__file__).parent
    shutil.copyfile(own / "runner.py", folder / "runner.py")
    versions = {name: version(name) for name in (*NEEDED, *MADE_BY)}
    tested = "".join(f"{name}  # {versions[name]} was tested\n" for name in NEEDED)
    (folder / "requirements.txt").write_text(tested, encoding="utf-8")
    text = (own / "README.md").read_text(encoding="utf-8")
    (folder / "README.md").write_text(_filled(text, policy, manifest), encoding="utf-8")
    files = [*graphs["stages"], *graphs["heads"], "policy.json"]
    write_json(
        folder / "manifest.json",
        {
            "format": FORMAT,
            "version": __version__,
            "graphs": graphs,
            "input": {
                "shape": manifest["shape"],
                "scaling": "picture / 255, then (scaled - mean) / std where these are given",
                "mean": manifest.get("mean"),
                "std": manifest.get("std"),
            },
            "class_names": manifest["class_names"],
            "measure": policy["policy"]["measure"],
            "temperatures": policy["policy"]["temperatures"],
            "opset": OPSET,
            "made_by": versions,
            "files": {name: sha256(folder / name) for name in files},
            "identity": policy["identity"],
        },
    )


def _filled(text: str, policy: dict[str, Any], manifest: dict[str, Any]) -> str:
    """The export's README, with what is particular to it."""
    return text.format(
        dataset=manifest.get("dataset", "a data set"),
        classes=len(manifest["class_names"]),
        shape="x".join(map(str, manifest["shape"])),
        exits=len(policy["policy"]["thresholds"]) + 1,
        measure=policy["policy"]["measure"],
        accuracy=f"{policy['calibration']['accuracy']:.2%}",
        version=__version__,
    )
