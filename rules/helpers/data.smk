# Inputs and params of the rules in data.smk.
from zlib import crc32

from early_exit.io.checksums import checksum


def made_dataset(wildcards):
    """The data set's own path, if a rule makes it; else nothing."""
    own = experiment(wildcards)["dataset"]["path"]
    return local(own) if own is not None and made(own) else []


def dataset_checksum(wildcards):
    """Checksum of the data set's own path, if it has one and no rule makes it."""
    own = experiment(wildcards)["dataset"]["path"]
    if own is None or made(own):
        return None
    if not Path(own).exists():
        sys.exit(
            f"error: config: experiments.{wildcards.experiment}.dataset.path: there is no folder or"
            f" file called {own!r} (paths start from {Path.cwd().name}/, where snakemake runs)"
        )
    path = Path(own).resolve()
    cache = Path(".snakemake/checksums") / f"{crc32(str(path).encode()):08x}.json"
    try:
        return checksum(path, cache)
    except InputError as error:
        sys.exit(f"error: config: experiments.{wildcards.experiment}.dataset.path: {error}")


def mirrors(wildcards, input):
    """URLs of the data set's archive; the result does not depend on them."""
    return experiment(wildcards)["dataset"]["mirrors"]
