# What the rules share: the checked configuration, and the parameters that tell Snakemake when a
# stage is out of date. Functions only; the rules are in the files named after the stages.
import os
import re
import sys
import time
from functools import cache
from pathlib import Path
from zlib import crc32

import yaml
from snakemake.exceptions import WorkflowError

# Idle threads of a job shall sleep soon: spinning, as they do for milliseconds by default, slows
# everything else on the machine down ten times and more.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

# Logs that are younger are of this run.
STARTED = time.time()
SCRIPTS = Path(workflow.basedir) / "scripts"
sys.path.append(str(SCRIPTS))

from early_exit.checksums import checksum
from early_exit.configuration import check_keys, configure
from early_exit.datasets import check_settings
from early_exit.errors import InputError
from early_exit.files import read_json
from early_exit.fingerprint import fingerprint
from early_exit.foreign_files import holds_logits, side_file
from early_exit.network_file import network_file
import live_runs
from stage_runner import processors

if workflow.is_main_process:
    live_runs.join_and_clear()

if Path("results").exists() and not Path("results").is_dir():
    sys.exit("error: results: a file is in the way of the folder; move it away")

SCHEMA = yaml.safe_load((Path(workflow.basedir) / "rules/config.schema.yaml").read_text())
MEASURES = SCHEMA["$defs"]["measure"]["enum"]


def checked_configuration():
    """The configuration, or one line that says what is wrong with it."""
    try:
        for file in workflow.configfiles:
            check_keys(Path(file).read_text(encoding="utf-8"), Path(file).name)
        return configure(config, SCHEMA)
    except InputError as error:
        # Not a WorkflowError: that prints where in the rules it was raised, which helps nobody.
        sys.exit(f"error: {error}")


CONFIGURATION = checked_configuration()
for name in CONFIGURATION.run:
    try:
        check_settings(CONFIGURATION.experiment(name)["dataset"])
    except InputError as error:
        sys.exit(f"error: config: experiments.{name}.{error}")


EXPERIMENTS = CONFIGURATION.experiments
# Experiments that are records from elsewhere have no network, and no replicates.
RECORDS = [n for n in EXPERIMENTS if EXPERIMENTS[n]["records"]]
NETWORKS = [n for n in EXPERIMENTS if n not in RECORDS]
REPLICATES = rf"({'|'.join(NETWORKS) or '(?!)'})@\d+"
# Patterns for the experiments whose network is imported, and for those that train it. Replicates do,
# and nothing matches where no experiment has a checkpoint.
IMPORTED = "|".join(n for n in NETWORKS if EXPERIMENTS[n]["network"]["checkpoint"]) or "(?!)"
TRAINED = "|".join(
    [n for n in NETWORKS if not EXPERIMENTS[n]["network"]["checkpoint"]] + [REPLICATES]
)
# Patterns for all that have a network, and for those that have records instead.
WITH_NETWORK = f"{IMPORTED}|{TRAINED}"
FROM_RECORDS = "|".join(RECORDS) or "(?!)"


def names(chosen):
    """A pattern for the experiments, and their replicates, that are `chosen` by their settings."""
    found = "|".join(name for name, own in EXPERIMENTS.items() if chosen(own))
    return rf"({found})(@\d+)?" if found else "(?!)"


wildcard_constraints:
    experiment=f"{WITH_NETWORK}|{FROM_RECORDS}",
    split="train|calibration|test",
    shard=r"\d+",
    shards=r"\d+",
    method="[a-z_]+",
    cut=r"\d+",


def begin():
    """Before any job of a run that is not dry: may it write, and where do its jobs go?"""
    folder = Path("results")
    if folder.exists() and not os.access(folder, os.W_OK):
        sys.exit(
            f"error: {folder.resolve()}: cannot be written to; make it writable, or run elsewhere"
            " (--directory)"
        )
    live_runs.started(remote=not workflow.local_exec)
    for name in CONFIGURATION.run:
        if not has_logits(name):
            print(
                f"{name}: its records hold no logits: quality, temperatures and measures that need"
                " them are left out",
                file=sys.stderr,
            )


def experiment(wildcards):
    """The settings of a job's experiment."""
    return CONFIGURATION.experiment(wildcards.experiment)


def setting(path):
    """A parameter that is one of the experiment's settings, such as `sweep/points`."""

    return lambda wildcards: lookup_setting(wildcards.experiment, path)


def lookup_setting(name, path):
    """The value at a path such as `sweep/points` of the experiment called `name`."""
    found = CONFIGURATION.experiment(name)
    for key in path.split("/"):
        found = found[key]
    return found


def dataset(wildcards):
    """The settings that decide what a data set holds; where it is, or is fetched from, is not one."""
    elsewhere, where_set = ("mirrors", "path"), ("size", "mean", "std")
    own = experiment(wildcards)["dataset"].items()
    return {k: v for k, v in own if k not in elsewhere and (k not in where_set or v is not None)}


def dataset_of_pictures(wildcards):
    """As `dataset`; nothing where there are records and no pictures."""
    return None if experiment(wildcards)["records"] else dataset(wildcards)


def held(wildcards):
    """A checksum of what is at the data set's own path, if it has one."""
    own = experiment(wildcards)["dataset"]["path"]
    if own is None:
        return None
    if not Path(own).exists():
        sys.exit(
            f"error: config: experiments.{wildcards.experiment}.dataset.path: there is no folder or"
            f" file called {own!r} (paths start from {Path.cwd().name}/, where snakemake runs)"
        )
    place = Path(own).resolve()
    notes = Path(".snakemake/checksums") / f"{crc32(str(place).encode()):08x}.json"
    try:
        return checksum(place, notes)
    except InputError as error:
        sys.exit(f"error: config: experiments.{wildcards.experiment}.dataset.path: {error}")


# What depends on `input` is not compared with the last run: a job works with it, but the same files
# in another folder, or from another mirror, are no reason to run again.
def mirrors(wildcards, input):
    """Addresses of the data set's archive; not part of a result's identity."""
    return experiment(wildcards)["dataset"]["mirrors"]


def data_dir(wildcards, input):
    """Where the data lies, at a path of its own or with all others; not part of its identity."""
    return experiment(wildcards)["dataset"]["path"] or str(CONFIGURATION.data_dir)


def trained_network(wildcards):
    """What is trained; a checkpoint, which may be shipped from that very training, is not part."""
    own = experiment(wildcards)["network"]
    return {k: v for k, v in own.items() if k != "checkpoint"}


def recipe(wildcards):
    """How the network is trained; where, and on how many threads, is not part of it."""
    # The weights that it begins with, and its teacher's, are inputs.
    elsewhere = ("device", "threads", "start_from", "teacher")
    return {k: v for k, v in experiment(wildcards)["training"].items() if k not in elsewhere}


def training_device(wildcards, input):
    """Where the network is trained; a trained one is not trained again elsewhere."""
    return experiment(wildcards)["training"]["device"]


def inference(wildcards, input):
    """How a pass runs; the records come out the same."""
    return experiment(wildcards)["inference"]


def threads(path):
    """The threads that a setting asks for, fewer where --cores promises more than there are."""

    def value(wildcards):
        share = min(1, processors() / all_cores())
        return max(1, int(setting(path)(wildcards) * share))

    return value


def all_cores():
    """The cores that Snakemake was given."""
    try:
        return workflow.cores
    except WorkflowError:
        # On a cluster, without --cores.
        return processors()


def alone(path):
    """All cores, so that nothing runs beside the job; on a cluster the threads of a setting.

    There none are given, this machine's number means nothing to others, and the profile asks for a
    node without other jobs.
    """

    def value(wildcards):
        try:
            return workflow.cores
        except WorkflowError:
            return setting(path)(wildcards)

    return value


def gpus(stage):
    """One GPU where the `device` in a stage's settings is cuda; else no such resource."""

    def value(wildcards):
        return 1 if experiment(wildcards)[stage].get("device") == "cuda" else None

    return value


def code(script, *modules):
    """A parameter that changes with the logic of a script and of the library code that it uses.

    `modules` names what is chosen by a setting and so is no import that could be followed, such as
    `networks.{network[name]}`, which may also be a file of the user's.
    """

    def value(wildcards):
        fields = experiment(wildcards) | dict(wildcards.items())
        named = [module.format(**fields) for module in modules]
        files = {name: network_file(name.partition(".")[2]) for name in named}
        own = [checked(file, wildcards) for file in files.values() if file]
        chosen = [f"early_exit.{name}" for name in named if not files[name]]
        chosen += [module for file in own for module in file.imports_from(SCRIPTS)]
        return "-".join([fingerprint(SCRIPTS, script, *chosen), *(f.fingerprint() for f in own)])

    return value


def checked(file, wildcards):
    """A network's file, which must be there and have what is named."""
    try:
        file.check()
        file.fingerprint()
    except InputError as error:
        sys.exit(f"error: config: experiments.{wildcards.experiment}.network.name: {error}")
    return file


def code_of_methods(script, path):
    """As `code`, for a job that uses all calibration methods that a setting names."""

    def value(wildcards):
        methods = [f"calibration.{method}" for method in setting(path)(wildcards)]
        # A study's measure is a wildcard, and so goes before the experiment's own.
        return code(script, "uncertainty.{measure}", "calibration.percentile", *methods)(wildcards)

    return value


def code_of_speed(wildcards):
    """As `code`, for the stage speed: with the network that is run as published, if one is named."""
    plain = ["networks.{speed[plain]}"] if setting("speed/plain")(wildcards) else []
    named = ("networks.{network[name]}", "datasets.{dataset[name]}", "uncertainty.{measure}")
    return code("speed", *named, *plain)(wildcards)


def study_settings(wildcards):
    """What a study's job depends on; it is run for each measure by itself."""
    return {
        k: v for k, v in experiment(wildcards)["study"].items() if k not in ("measures", "sizes")
    }


def studied(wildcards):
    """The study's tables, one for each measure with and without temperatures."""
    own = experiment(wildcards)
    pattern = "results/{{experiment}}/study/{measure}_{scaling}.csv"
    if not has_logits(wildcards.experiment):
        # What the records hold is all that there is to compare.
        recorded = "given" if own["measure"] == "given" else "entropy"
        return expand(pattern, measure=recorded, scaling="plain")
    return expand(pattern, measure=own["study"]["measures"], scaling=["plain", "scaled"])


def stated(*figures):
    """The numbers that the captions of these figures state, empty until they are drawn.

    The report reads them when it is made; like everything that depends on `output`, they are not
    compared with the last run.
    """

    def value(wildcards, output):
        folder = Path("results") / wildcards.experiment / "figures"
        files = {name: folder / f"{name}.txt" for name in figures}
        return {name: f.read_text() if f.exists() else "" for name, f in files.items()}

    return value


def outdated(summary):
    """Whether what a summary is made from was made again after it, as by a run up to one stage."""
    made = summary.stat().st_mtime
    # Not what lies beside it: the points, say, are evaluated at the same time as the summary is made.
    sources = (
        "network/network.safetensors",
        "exits/calibration.parquet",
        "exits/test.parquet",
        "cost/cost.*",
        "calibration/*.csv",
        "selection/policy.json",
        "evaluation/evaluation.json",
    )
    files = [file for source in sources for file in summary.parent.glob(source)]
    return any(file.stat().st_mtime > made for file in files)


def headlines():
    """What each experiment came to, a line each, where its summary is there and of this state."""
    for name in CONFIGURATION.run:
        path = Path("results") / name / "summary.json"
        if path.exists() and not outdated(path):
            try:
                summary = read_json(path, ["selected", "static"])
            except InputError as error:
                yield f"{name}: {error}"
                continue
            own, whole = summary["selected"], summary["static"]
            if summary.get("simulated"):
                cost = f"by the records, {saved(own, whole)}"
            else:
                cost = (
                    f"at {own['macs'] / 1e6:.2f} M MACs, {own['speedup']:.2f} times as fast as the"
                    f" whole network ({whole['accuracy']:.2%}, {whole['macs'] / 1e6:.2f} M)"
                )
            yield f"{name}: {own['accuracy']:.2%} accurate {cost}. See {path.parent}/"
            if summary.get("doubt"):
                yield f"{name}: do not trust these times: {summary['doubt']}"


def reasons():
    """Why jobs of this run stopped, a line each: Snakemake says more after it, and nothing of it."""
    for name in CONFIGURATION.run:
        for log in sorted((Path("results") / name / "logs").glob("*.log")):
            if log.stat().st_mtime < STARTED:
                continue
            stopped = [line for line in log.read_text().splitlines() if " Stopped: " in line]
            for line in stopped[-1:]:
                yield f"stopped: {line.partition(' Stopped: ')[2]} (traceback: {log})"


def saved(own, whole):
    """What a simulated policy saves, in the units that there are prices in."""
    words = []
    if own["macs"] is not None:
        words.append(f"{own['macs'] / 1e6:.2f} of {whole['macs'] / 1e6:.2f} M MACs")
    if own["ms_per_sample_predicted"] is not None:
        times = own["ms_per_sample_predicted"], whole["ms_per_sample_predicted"]
        words.append("{:.3f} of {:.3f} ms predicted".format(*times))
    return f"{', '.join(words)} (the whole network: {whole['accuracy']:.2%})"


def refuse_records(stage):
    """Stop where an experiment that is run is made of records, and a stage needs a network."""
    for name in CONFIGURATION.run:
        if name in RECORDS:
            sys.exit(
                f"error: {stage}: {name} is made of records, there is no network; leave it out"
                f" (--config run=...) or the target {stage}"
            )


def with_network(stage, *patterns):
    """The files of `patterns` for each experiment that is run; each must have a network."""

    def files(wildcards):
        refuse_records(stage)
        return [path for pattern in patterns for path in each(pattern)]

    return files


def given_file(what):
    """One of the files of an experiment that is made of records; it must be there."""

    def path(wildcards):
        return existing(wildcards, f"records/{what.format(**wildcards)}")

    return path


def existing(wildcards, path):
    """The file at a setting such as `network/checkpoint`, which must be there."""
    found = setting(path)(wildcards)
    if not Path(found).is_file():
        key = ".".join([wildcards.experiment, *path.split("/")])
        sys.exit(
            f"error: config: experiments.{key}: there is no file {found} (paths start from"
            f" {Path.cwd().name}/, where snakemake runs)"
        )
    return found


def beside_costs(wildcards):
    """What lies beside the cost table of another experiment, and belongs to it; else nothing."""
    return side_file(experiment(wildcards)["records"]["costs"]) or []


def network_name(wildcards):
    """The network's name; of records from elsewhere none is known."""
    own = experiment(wildcards)
    return None if own["records"] else own["network"]["name"]


def class_names(wildcards):
    """The names of the classes of an experiment that is made of records, where it names them."""
    return experiment(wildcards)["records"].get("class_names")


def asked_measure(wildcards, input):
    """The measure, for a check: another one is no reason to read the records again."""
    return experiment(wildcards)["measure"]


@cache
def has_logits(name):
    """Whether the records of an experiment have logits, or will have them where they are needed."""
    given = CONFIGURATION.experiment(name)["records"]
    return given is None or all(holds_logits(given[split]) for split in ("calibration", "test"))


def each(pattern, **wildcards):
    """The files of `pattern` for each experiment that is run."""
    return expand(pattern, experiment=CONFIGURATION.run, **wildcards)


def weights(path):
    """The file of weights at a setting such as `network/checkpoint`, which must be there.

    Unless it is the network of another experiment, which is made. Nothing where it is not set, or is
    no path.
    """
    made = re.compile(rf"results/({WITH_NETWORK})/network/network\.safetensors")

    def value(wildcards):
        given = setting(path)(wildcards)
        if not isinstance(given, str):
            return []
        return given if made.fullmatch(given) else existing(wildcards, path)

    return value


def temperatures(wildcards):
    """The exits' temperatures where the experiment scales them; else nothing."""
    scaled = experiment(wildcards)["temperature_scaling"]
    if scaled and not has_logits(wildcards.experiment):
        sys.exit(
            f"error: config: experiments.{wildcards.experiment}.temperature_scaling: the records"
            " have no logits to be scaled; set it to false"
        )
    return "results/{experiment}/temperature/temperatures.json" if scaled else []


def shards(wildcards):
    """The records of a split's shards, in order."""
    count = experiment(wildcards)["exits"]["shards"]
    pattern = "results/{{experiment}}/exits/{{split}}_{shard}_of_{shards}.parquet"
    return expand(pattern, shard=range(1, count + 1), shards=count)


def sweep_shards(wildcards):
    """What the shards of a sweep counted, where there are several; else nothing."""
    count = experiment(wildcards)["sweep"]["shards"]
    pattern = "results/{{experiment}}/sweep/{{split}}_{shard}_of_{shards}.csv"
    return expand(pattern, shard=range(1, count + 1), shards=count) if count > 1 else []


def swept(wildcards):
    """What a sweep depends on; how many jobs share it changes nothing."""
    return {k: v for k, v in experiment(wildcards)["sweep"].items() if k != "shards"}


def keeps_logits(wildcards):
    """Whether the records keep the logits: always, or where a later stage needs them."""
    own = experiment(wildcards)
    needed = own["measure"] != "entropy" or own["temperature_scaling"] or own["quality"]
    return needed or own["exits"]["logits"] == "always"


def calibrated(wildcards):
    """The tables of the experiment's calibration methods."""
    methods = experiment(wildcards)["calibration"]["methods"]
    return expand("results/{{experiment}}/calibration/{method}.csv", method=methods)


def asking(pattern, path):
    """The files of `pattern` for each experiment that is run and has something at this setting."""
    wanted = [n for n in CONFIGURATION.run if lookup_setting(n, path)]
    return expand(pattern, experiment=wanted)


def asking_quality():
    """The reliability of each experiment that is run, asks for it, and has logits to tell it."""
    wanted = [n for n in CONFIGURATION.run if lookup_setting(n, "quality") and has_logits(n)]
    return expand("results/{experiment}/figures/reliability.svg", experiment=wanted)


def fitted_temperatures():
    """The temperatures of each experiment that is run and has logits to fit them to."""
    wanted = [n for n in CONFIGURATION.run if has_logits(n)]
    return expand("results/{experiment}/temperature/temperatures.json", experiment=wanted)


def smaller_networks(wildcards):
    """The network cut after each exit that the experiment is compared at, trained alone."""
    cuts = experiment(wildcards)["baselines"]["exits"]
    return expand("results/{{experiment}}/baselines/network_{cut}.safetensors", cut=cuts)


def learning_curves():
    """The learning curve of each experiment that is run and trains its network."""
    training = [n for n in CONFIGURATION.run if re.fullmatch(TRAINED, n)]
    return expand("results/{experiment}/figures/learning_curve.svg", experiment=training)


def replicate_tables(wildcards):
    """The table of replicates of each experiment that is run."""
    refuse_records("replicates")
    for name in CONFIGURATION.run:
        if name not in EXPERIMENTS:
            base = name.partition("@")[0]
            sys.exit(f"error: replicates: {name} is a replicate itself; --config run={base}")
    return each("results/{experiment}/replicates.csv")


def replicate_summaries(wildcards):
    """The summary of the experiment with each seed."""
    seeds = range(experiment(wildcards)["replicates"])
    return [f"results/{wildcards.experiment}@{seed}/summary.json" for seed in seeds]


def checkpoint_stem(wildcards):
    """Where a trained network is shipped to, without a suffix: by its network and data set."""
    return stem_of(experiment(wildcards))


def stem_of(own):
    """As `checkpoint_stem`, by the experiment's settings."""
    # Of a file of the user's, the class.
    network = own["network"]["name"].rpartition(":")[2]
    return f"checkpoints/{network}-{own['dataset']['name']}"


def shipped(wildcards):
    """What says that each experiment that is run was shipped; each must train its network.

    And each to a place of its own.
    """
    refuse_records("ship")
    stems = {}
    for name in CONFIGURATION.run:
        if not re.fullmatch(TRAINED, name):
            sys.exit(
                f"error: ship: {name} does not train its network, it has a checkpoint; --config"
                f" run={name}@0 does"
            )
        stem = stem_of(CONFIGURATION.experiment(name))
        if stems.setdefault(stem, name) != name:
            sys.exit(
                f"error: ship: {stems[stem]} and {name} would both go to {stem}; ship one of them"
                " (--config run=...)"
            )
    return each("results/{experiment}/network/shipped.json")


def figure_files(folder, figures):
    """What is drawn for each figure; only the SVG goes into the report."""
    files = {}
    for name in figures:
        files[f"{name}_svg"] = report(
            f"{folder}/{name}.svg",
            caption=f"report/{name}.rst",
            category="{experiment}",
            subcategory="figures",
        )
        files[f"{name}_png"] = f"{folder}/{name}.png"
        files[f"{name}_txt"] = f"{folder}/{name}.txt"
    return files
