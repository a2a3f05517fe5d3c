"""Stage cost: MACs and measured time of each stage and each head."""

import platform

import torch

from early_exit import networks
from early_exit.cost import price
from early_exit.files import sha256, write_json, write_table
from early_exit.origin import check_same_origin
from stage_engine import ready_to_run
from stage_runner import read_manifest, run_stage


def main(snakemake):
    settings = snakemake.params.cost
    engine, inference, waits = ready_to_run(snakemake.params.inference)
    manifest, described = read_manifest(snakemake.input.manifest)
    network, made_by = networks.load(snakemake.input.network)
    check_same_origin(described, (snakemake.input.network, {"data": made_by["data"]}))
    costs = price(
        network,
        manifest["shape"],
        sorted({*settings["batch_sizes"], inference["batch_size"]}),
        settings["repeats"],
        snakemake.params.measure,
        engine,
    )
    identity = {"network": sha256(snakemake.input.network), "data": manifest["digest"]}
    write_table(snakemake.output.costs, costs, identity)
    machine = {
        "identity": identity | {"costs": sha256(snakemake.output.costs)},
        "machine": platform.machine(),
        "processor": processor(),
        "torch": torch.__version__,
        **inference,
        "regroup": waits or 0,
        **settings,
    }
    write_json(snakemake.output.machine, machine)


def processor():
    """The processor's name, as well as the system tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            names = [
                line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")
            ]
    except OSError:
        names = []
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    run_stage(main, snakemake)  # noqa: F821
