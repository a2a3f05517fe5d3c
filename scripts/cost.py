"""Step cost: measure MACs and time of each stage and each head."""

import platform

import torch

from early_exit.inference.cost import measure_costs
from early_exit.inference.processor import flags, processor
from early_exit.io.files import sha256, write_json, write_table
from early_exit.networks.checkpoint import load_network
from early_exit.structures.inputs import InputSpec
from job.engine import ready_to_run
from job.inputs import Inputs
from job.run import run_job, warn


def main(snakemake):
    inputs, settings = Inputs(snakemake), snakemake.params.cost
    engine, inference, regroup = ready_to_run(snakemake.params.inference, inputs)
    network, _ = inputs.network(load_network)
    costs = measure_costs(
        network,
        InputSpec.read(inputs.manifest),
        sorted({*settings["batch_sizes"], inference["batch_size"]}),
        settings["repeats"],
        snakemake.params.measure,
        engine,
        warn,
    )
    provenance = inputs.provenance()
    write_table(snakemake.output.costs, costs, provenance)
    machine = {
        "identity": provenance | {"costs": sha256(snakemake.output.costs)},
        "machine": platform.machine(),
        "processor": processor(),
        "flags": flags(),
        "torch": torch.__version__,
        **inference,
        "regroup": regroup or 0,
        **settings,
    }
    write_json(snakemake.output.machine, machine)


if __name__ == "__main__":
    run_job(main, snakemake)  # noqa: F821
