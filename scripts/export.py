"""Step export: write network and policy as files that need neither this project nor torch."""

import shutil
from pathlib import Path

from early_exit.export.graphs import GRAPHS, export
from early_exit.export.runner import CRITERIA
from early_exit.inference.single import FILE as SINGLE
from early_exit.networks.checkpoint import load_network
from job.inputs import Inputs
from job.run import run_job


def main(snakemake):
    inputs, folder = Inputs(snakemake), Path(snakemake.output.manifest).parent
    policy = inputs.json("policy", ("policy", "identity", "calibration"))
    network, _ = inputs.network(load_network)
    # A killed job may have left the folder behind.
    new = folder / ".new"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        listed = inputs.optional("graphs")
        backend, precision = snakemake.params.run_by
        # What runs under torch is exported for onnxruntime, which agrees with it in fp32.
        run_by = ("onnxruntime" if backend == "torch" else backend, precision)
        own = inputs.manifest, new, run_by, Path(listed) if listed else None
        single = snakemake.params.single_graph
        export(network, Path(inputs.files.policy), policy, *own, single=single)
        for name in (GRAPHS, CRITERIA):
            shutil.rmtree(folder / name, ignore_errors=True)
        (folder / SINGLE).unlink(missing_ok=True)
        # The manifest last: it marks the export as complete.
        for path in sorted(new.iterdir(), key=lambda path: path.name == "manifest.json"):
            path.replace(folder / path.name)
    finally:
        shutil.rmtree(new, ignore_errors=True)


if __name__ == "__main__":
    run_job(main, snakemake)  # noqa: F821
