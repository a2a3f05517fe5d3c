"""Step network: import a checkpoint, loaded strictly, as safetensors."""

from contextlib import nullcontext
from pathlib import Path

from early_exit.io.downloads import fetch
from early_exit.io.files import alone
from early_exit.networks.build import build_network, describe_network
from early_exit.networks.checkpoint import load_checkpoint, save_network, trained_on_other
from early_exit.networks.checks import check_confidence
from early_exit.structures.inputs import InputSpec
from job.run import read_manifest, run_job, warn
from job.weights import first_of, weights_checksum


def main(snakemake):
    manifest, _ = read_manifest(snakemake.input.manifest, snakemake.params.dataset)
    settings = snakemake.params.network
    setting = settings["checkpoint"]
    # The input is where the file of the setting was found.
    path = first_of(snakemake.input.get("checkpoint"))
    path = path or downloaded(setting, Path(snakemake.params.data_dir))
    key = setting.get("key") if isinstance(setting, dict) else None
    spec, arguments = InputSpec.read(manifest), settings.get("arguments")
    network = build_network(settings["name"], manifest["classes"], spec, arguments, warn)
    check_confidence(network, spec.batch(2), snakemake.params.measure)
    load_checkpoint(network, path, key)
    if warning := trained_on_other(path, manifest["digest"]):
        warn(warning)
    provenance = {
        **describe_network(settings),
        "classes": manifest["classes"],
        **spec.described(),
        "data": manifest["digest"],
        "checkpoint": weights_checksum(path),
        **({"key": key} if key else {}),
    }
    save_network(network, snakemake.output.network, provenance)


def downloaded(checkpoint, data_dir):
    """Path of a checkpoint in `data_dir/weights/`, downloaded if missing."""
    path = data_dir / "weights" / checkpoint["file"]
    # Two experiments may download it at the same time; an existing one may be read-only.
    with nullcontext() if path.exists() else alone(path.parent):
        return fetch(path, checkpoint["urls"], checkpoint["sha256"])


if __name__ == "__main__":
    run_job(main, snakemake)  # noqa: F821
