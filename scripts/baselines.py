"""Step baselines: compare policies at several budgets with smaller networks trained alone."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from early_exit.datasets.load import load_split
from early_exit.errors import AGAIN, InputError
from early_exit.inference.backends.graph_file import FOLDER, write_graphs_file
from early_exit.inference.baselines import against_smaller, policies_of_budgets
from early_exit.io.files import write_table
from early_exit.networks.checkpoint import load_network
from job.engine import ready_to_run
from job.record_inputs import RecordInputs
from job.run import run_job


def main(snakemake):
    inputs, params = RecordInputs(snakemake), snakemake.params
    engine, inference, _ = ready_to_run(params.inference, inputs)
    criterion = inputs.criterion()
    records, calibration = (
        inputs.records(criteria=[criterion]),
        inputs.records("calibration", criteria=[criterion]),
    )
    costs, settings = inputs.costs(), params.baselines
    policies = policies_of_budgets(
        settings["method"], calibration, costs, criterion, settings["budgets"]
    )
    (network, _), smaller = inputs.network(load_network), {}
    for path, (cut_network, described) in inputs.other_networks("baselines", load_network):
        if "cut" not in described:
            raise InputError(f"{path}: not a network cut after an exit", AGAIN)
        smaller[described["cut"]] = made_ready(cut_network, engine, inference["backend"])
    data = load_split(params.data_dir, "test", params.dataset, inputs.manifest).inputs
    table = against_smaller(engine.ready(network), smaller, policies, records, data, costs, engine)
    write_table(snakemake.output.baselines, table, inputs.provenance("records"))


def made_ready(network, engine, backend):
    """A smaller network as the engine runs it; graphs of it are made on the fly."""
    if backend == "torch":
        return engine.ready(network)
    from early_exit.inference.graphs import export_graphs

    with TemporaryDirectory() as folder:
        path = Path(folder) / "graphs.json"
        names = export_graphs(network, engine.spec, path.parent / FOLDER)
        write_graphs_file(path, names, {})
        return replace(engine, graphs=path).ready(network)


if __name__ == "__main__":
    run_job(main, snakemake)  # noqa: F821
