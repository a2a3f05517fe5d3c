"""Stage exits: run the network over a split, or a shard of it, and keep what every exit says."""

from dataclasses import replace

from early_exit import datasets, networks, shards
from early_exit.engine import Engine, scaling
from early_exit.extraction import all_exits
from early_exit.files import sha256
from early_exit.origin import check_same_origin
from early_exit.records import from_logits, write_records
from stage_runner import read_manifest, run_stage, use_threads


def main(snakemake):
    use_threads(snakemake.threads)
    wildcards, params = snakemake.wildcards, snakemake.params
    manifest, described = read_manifest(snakemake.input.manifest, params.dataset)
    network, made_by = networks.load(snakemake.input.network)
    check_same_origin(described, (snakemake.input.network, {"data": made_by["data"]}))
    data = datasets.load(params.data_dir, wildcards.split, params.dataset)
    inference = params.inference
    place = {name: int(n) for name, n in wildcards.items() if name in ("shard", "shards")}
    if place:
        whole = len(data)
        data = data.part(shards.rows(whole, inference["batch_size"], **place))
        place["samples"] = whole
    # The records are the reference: in full precision, whatever the policy is run with.
    engine = Engine(inference["device"], "fp32", inference["memory_format"], **scaling(manifest))
    logits = all_exits(network, data.images, inference["batch_size"], engine)
    identity = {
        "network": sha256(snakemake.input.network),
        "data": manifest["digest"],
        "split": wildcards.split,
        **place,
    }
    index, label = data.index.numpy(), data.labels.numpy()
    records = from_logits(index, label, logits, identity, whole=not place)
    write_records(
        snakemake.output.records, records if params.logits else replace(records, logits=None)
    )


if __name__ == "__main__":
    run_stage(main, snakemake)  # noqa: F821
