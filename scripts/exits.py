"""Stage exits: run the network over a split once, and keep what every exit says."""

from early_exit import datasets, networks
from early_exit.engine import Engine
from early_exit.extraction import all_exits
from early_exit.files import read_json, sha256
from early_exit.records import from_logits, write_records
from stage_runner import run_stage, use_threads


def main(snakemake):
    use_threads(snakemake.threads)
    split = snakemake.wildcards.split
    params = snakemake.params
    manifest = read_json(snakemake.input.manifest)
    network, _ = networks.load(snakemake.input.network)
    data = datasets.load(params.data_dir, split, params.dataset)
    inference = params.inference
    # The records are the reference: in full precision, whatever the policy is run with.
    engine = Engine(inference["device"], "fp32", inference["memory_format"])
    logits = all_exits(network, data.images, inference["batch_size"], engine)
    identity = {
        "network": sha256(snakemake.input.network),
        "data": manifest["digest"],
        "split": split,
    }
    records = from_logits(data.index.numpy(), data.labels.numpy(), logits, identity)
    write_records(snakemake.output.records, records)


if __name__ == "__main__":
    run_stage(main, snakemake)  # noqa: F821
