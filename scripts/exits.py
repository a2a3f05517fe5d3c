"""Step exits: run the network over a split, or a shard of it; record every exit's outputs."""

from dataclasses import replace

from early_exit.datasets.load import load_split
from early_exit.inference.exits import all_outputs
from early_exit.networks.checkpoint import load_network
from early_exit.records import shards
from early_exit.records.parquet import write_records
from early_exit.records.table import from_logits
from job.engine import ready_to_run
from job.inputs import Inputs
from job.run import run_job


def main(snakemake):
    inputs, wildcards, params = Inputs(snakemake), snakemake.wildcards, snakemake.params
    engine, inference, _ = ready_to_run(params.inference, inputs)
    network, _ = inputs.network(load_network)
    data = load_split(params.data_dir, wildcards.split, params.dataset, inputs.manifest)
    shard = {name: int(n) for name, n in wildcards.items() if name in ("shard", "shards")}
    if shard:
        samples = len(data)
        data = data.part(shards.rows(samples, inference["batch_size"], **shard))
        shard["samples"] = samples
    logits, confidence = all_outputs(network, data.inputs, inference["batch_size"], engine)
    provenance = inputs.provenance() | {"split": wildcards.split, **shard}
    index, label = data.index.numpy(), data.labels.numpy()
    records = from_logits(index, label, logits, provenance, whole=not shard, confidence=confidence)
    write_records(
        snakemake.output.records, records if params.logits else replace(records, logits=None)
    )


if __name__ == "__main__":
    run_job(main, snakemake)  # noqa: F821
