"""Step latency: time single samples under the chosen policy, others, and in the full network."""

from early_exit.datasets.load import load_split
from early_exit.inference.latency import handful, latency_table
from early_exit.io.files import write_table
from early_exit.networks.checkpoint import load_network
from early_exit.policy.operating_point import OperatingPoint
from job.engine import ready_to_run
from job.record_inputs import RecordInputs
from job.run import run_job


def main(snakemake):
    inputs, params, settings = RecordInputs(snakemake), snakemake.params, snakemake.params.latency
    engine, _, _ = ready_to_run(params.inference, inputs)
    needed = [*OperatingPoint.COLUMNS, "calibration_accuracy", "calibration_cost", "chosen"]
    points = handful(inputs.table("points", needed), settings["policies"])
    chosen = inputs.policy().criterion
    criteria = [chosen, *(own for own in inputs.criteria() if own.measure != chosen.measure)]
    records = inputs.records(criteria=criteria)
    network = engine.ready(inputs.network(load_network)[0])
    data = load_split(params.data_dir, "test", params.dataset, inputs.manifest).inputs
    table = latency_table(
        network, points, criteria, records, data, inputs.costs(), settings["samples"], engine
    )
    write_table(snakemake.output.latency, table, inputs.provenance("records"))


if __name__ == "__main__":
    run_job(main, snakemake)  # noqa: F821
