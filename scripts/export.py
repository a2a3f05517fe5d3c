"""Stage export: the network and its policy as files that need neither this project nor torch."""

import shutil
from pathlib import Path

from early_exit import networks
from early_exit.export import GRAPHS, export
from early_exit.files import read_json, sha256
from early_exit.origin import check_same_origin
from stage_inputs import origin
from stage_runner import read_manifest, run_stage


def main(snakemake):
    files, folder = snakemake.input, Path(snakemake.output.manifest).parent
    manifest, data = read_manifest(files.manifest, snakemake.params.dataset)
    policy = read_json(files.policy, ["policy", "identity", "calibration"])
    network, _ = networks.load(files.network)
    check_same_origin(
        origin(files.policy), data, (files.network, {"network": sha256(files.network)})
    )
    # What a job that was killed left behind.
    new = folder / ".new"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        export(network, Path(files.policy), policy, manifest, new)
        shutil.rmtree(folder / GRAPHS, ignore_errors=True)
        # The manifest last: it says that all the others are there.
        for path in sorted(new.iterdir(), key=lambda path: path.name == "manifest.json"):
            path.replace(folder / path.name)
    finally:
        shutil.rmtree(new, ignore_errors=True)


if __name__ == "__main__":
    run_stage(main, snakemake)  # noqa: F821
