# Inputs and params of the rules in network.smk.

from early_exit.io.weight_files import is_index, weight_files


def weights(path):
    """Files of weights at a setting such as `network/checkpoint`; none if they are downloaded.

    Of several files, their index is the first. They must exist, unless they are the network of
    another experiment.
    """
    made = re.compile(rf"results/({WITH_NETWORK})/network/network\.safetensors")

    def value(wildcards):
        given = setting(path)(wildcards)
        if isinstance(given, dict):
            given = None if "urls" in given else given["file"]
        if given is None:
            return []
        if made.fullmatch(given):
            return given
        file = existing(wildcards, path, given)
        if not is_index(Path(file)):
            return file
        try:
            return [file, *(local(str(one)) for one in weight_files(Path(file))[1:])]
        except InputError as error:
            key = ".".join([wildcards.experiment, *path.split("/")])
            sys.exit(f"error: config: experiments.{key}: {error}")

    return value


def start_key(wildcards):
    """Key of the weights to start from, in a file that has several sets; `None` without."""
    given = experiment(wildcards)["training"]["start_from"]
    return given.get("key") if isinstance(given, dict) else None


def trained_network(wildcards):
    """Settings of the network to train, without the checkpoint, which may be shipped from it."""
    own = experiment(wildcards)["network"]
    return {k: v for k, v in own.items() if k != "checkpoint"}


def recipe(wildcards):
    """Settings of training, without device and threads."""
    own = experiment(wildcards)["training"]
    # The weights to start from, and the teacher's, are inputs. If no samples are held out, nothing
    # is said of it: recipes of networks from before then stay what they were.
    ignored = ("device", "threads", "start_from", "teacher")
    ignored += () if own["held_out"] else ("held_out",)
    return {k: v for k, v in own.items() if k not in ignored}


def training_device(wildcards, input):
    """Device of training; a change of it does not train again."""
    return experiment(wildcards)["training"]["device"]


def training_threads(wildcards, input):
    """Torch's threads, whatever cores the job gets: the order of sums depends on them."""
    return experiment(wildcards)["training"]["threads"]


def checkpoint_stem(wildcards):
    """Path of the shipped checkpoint, without suffix, from the names of network and data set."""
    return stem_of(experiment(wildcards))


def stem_of(own):
    """As `checkpoint_stem`, from the experiment's settings."""
    # For a file of the user, the class name.
    network, data = (own[key]["name"].rpartition(":")[2] for key in ("network", "dataset"))
    return f"checkpoints/{network}-{data}"


def shipped(wildcards):
    """Cards of the shipped networks of the experiments in `run`.

    Each experiment must train its network, and ship it to a path of its own.
    """
    refuse_records("ship")
    stems = {}
    for name in CONFIGURATION.run:
        if not re.fullmatch(TRAINED, name):
            sys.exit(
                f"error: ship: {name} has a checkpoint and does not train its network; use --config"
                f" run={name}@0"
            )
        stem = stem_of(CONFIGURATION.experiment(name))
        if stems.setdefault(stem, name) != name:
            sys.exit(
                f"error: ship: {stems[stem]} and {name} would both go to {stem}; ship one of them"
                " (--config run=...)"
            )
    return each("results/{experiment}/network/shipped.json")
