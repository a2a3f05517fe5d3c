"""Step graphs: write an ONNX graph of each stage and each head, for runtimes other than torch."""

from pathlib import Path

from early_exit.inference.backends.graph_file import FOLDER, write_graphs_file
from early_exit.inference.graphs import export_graphs
from early_exit.networks.checkpoint import load_network
from early_exit.structures.inputs import InputSpec
from job.inputs import Inputs
from job.run import run_job


def main(snakemake):
    inputs, path = Inputs(snakemake), Path(snakemake.output.graphs)
    network, _ = inputs.network(load_network)
    names = export_graphs(network, InputSpec.read(inputs.manifest), path.parent / FOLDER)
    write_graphs_file(path, names, inputs.provenance())


if __name__ == "__main__":
    run_job(main, snakemake)  # noqa: F821
