"""Stage network, from a checkpoint: load it strictly and keep its weights as safetensors."""

from contextlib import nullcontext
from pathlib import Path

from early_exit import networks
from early_exit.downloads import fetch
from early_exit.files import alone, sha256
from stage_runner import read_manifest, run_stage, warn


def main(snakemake):
    manifest, _ = read_manifest(snakemake.input.manifest, snakemake.params.dataset)
    settings = snakemake.params.network
    path = checkpoint_file(settings["checkpoint"], Path(snakemake.params.data_dir))
    network = networks.build(
        settings["name"], manifest["classes"], manifest["shape"], settings.get("arguments")
    )
    networks.load_checkpoint(network, path)
    if warning := networks.trained_on_other(path, manifest["digest"]):
        warn(warning)
    identity = {
        **networks.described(settings),
        "classes": manifest["classes"],
        "shape": manifest["shape"],
        "data": manifest["digest"],
        "checkpoint": sha256(path),
    }
    networks.save(network, snakemake.output.network, identity)


def checkpoint_file(checkpoint, data_dir):
    """The checkpoint's path: the user's own, or one in `data_dir/weights/`, fetched if missing."""
    if isinstance(checkpoint, str):
        return Path(checkpoint)
    path = data_dir / "weights" / checkpoint["file"]
    # Two experiments may want it at the same time; one that is there may be read-only.
    with nullcontext() if path.exists() else alone(path.parent):
        return fetch(path, checkpoint["urls"], checkpoint["sha256"])


if __name__ == "__main__":
    run_stage(main, snakemake)  # noqa: F821
