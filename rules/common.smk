# Shared by the rules: the checked configuration, patterns of experiments, and the params that tell
# Snakemake when a step is out of date. Helpers of a single step are in rules/helpers/.
import json
import os
import re
import sys
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

import yaml
from snakemake.exceptions import WorkflowError

# Stop idle OpenMP threads spinning: it slows other jobs ten times and more.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

# Logs modified later belong to this run.
STARTED = time.time()

from early_exit.analysis import messages
from early_exit.config.configuration import SEED, configure
from early_exit.config.code_file import code_file
from early_exit.config.job_code import file_of, job_code
from early_exit.config.numbers import with_numbers
from early_exit.config.validation import as_list
from early_exit.datasets.load import check_settings
from early_exit.errors import InputError
from early_exit.io.files import replacing
from early_exit.records.uncertainty.measures import GIVEN
from early_exit.io.weight_files import in_folder
from job import lock

if workflow.is_main_process:
    lock.join_and_clear()

if not AS_MODULE and Path("results").exists() and not Path("results").is_dir():
    sys.exit("error: results: a file is in the way of the folder; move it away")

SCHEMA = yaml.safe_load((HOME / "scripts/early_exit/config/schema.yaml").read_text())
SPLITS = ("calibration", "test")
MEASURES = SCHEMA["$defs"]["measure"]["enum"]
# Priority of what can be drawn without a policy, before one is selected.
BEFORE_SELECTION = 1


def typed(config):
    """The configuration, with numbers that `--config` sets within maps and lists parsed as such."""
    for given in maps_within(workflow.config_settings.config or {}):
        config = with_numbers(config, given, SCHEMA)
    return config


def maps_within(given):
    """Yield a map and, as a module (whose configuration may be part of another), all maps in it."""
    yield given
    for part in given.values() if AS_MODULE else ():
        if isinstance(part, dict):
            yield from maps_within(part)


def checked_configuration():
    """The configuration; exits with a one-line error if it is invalid."""
    try:
        return configure(typed(config), SCHEMA)
    except InputError as error:
        # Not a WorkflowError, which would print a position in the rules.
        sys.exit(f"error: {error}")


CONFIGURATION = checked_configuration()
for name in CONFIGURATION.run:
    try:
        check_settings(CONFIGURATION.experiment(name)["dataset"])
    except InputError as error:
        sys.exit(f"error: config: experiments.{name}.{error}")


EXPERIMENTS = CONFIGURATION.experiments
# Experiments of external records have no network, and no replicates.
RECORDS = [n for n in EXPERIMENTS if EXPERIMENTS[n]["records"]]
NETWORKS = [n for n in EXPERIMENTS if n not in RECORDS]
REPLICATES = rf"({'|'.join(NETWORKS) or '(?!)'})@({SEED})"
# Patterns of the experiments whose network is imported, and of those that train it, with
# replicates. Without any checkpoint the first pattern matches nothing.
IMPORTED = "|".join(n for n in NETWORKS if EXPERIMENTS[n]["network"]["checkpoint"]) or "(?!)"
TRAINED = "|".join(
    [n for n in NETWORKS if not EXPERIMENTS[n]["network"]["checkpoint"]] + [REPLICATES]
)
# Patterns of the experiments that have a network, and of those that have external records.
WITH_NETWORK = f"{IMPORTED}|{TRAINED}"
FROM_RECORDS = "|".join(RECORDS) or "(?!)"


def names(chosen):
    """Pattern of the experiments, and their replicates, whose settings satisfy `chosen`."""
    found = "|".join(name for name, own in EXPERIMENTS.items() if chosen(own))
    return rf"({found})(@({SEED}))?" if found else "(?!)"


wildcard_constraints:
    experiment=f"{WITH_NETWORK}|{FROM_RECORDS}",
    split="train|calibration|test",
    shard="[0-9]+",
    shards="[0-9]+",
    method="|".join(SCHEMA["$defs"]["method"]["enum"]),
    measure="|".join([*MEASURES, "external"]),
    cut="[0-9]+",


def begin():
    """Before the jobs of a run: check that `results` is writable, and note code and remote jobs."""
    folder = Path("results")
    if folder.exists() and not os.access(folder, os.W_OK):
        sys.exit(
            f"error: {folder.resolve()}: cannot be written to; make it writable, or run elsewhere"
            " (--directory)"
        )
    lock.started(remote=not workflow.local_exec)
    note_planned_code()
    for name in CONFIGURATION.run:
        if not has_logits(name):
            print(messages.without_logits(name, awaited(name)), file=sys.stderr)


def reasons(logs):
    """Causes of this run's failed jobs, a line each; `logs` are Snakemake's logs of the run."""
    reported = "".join(Path(log).read_text(errors="replace") for log in logs if Path(log).exists())
    own = sorted(Path("results").glob("*/logs/*.log"))
    of_this_run = [path for path in own if path.stat().st_mtime >= STARTED]
    return messages.failures(of_this_run, reported, remote=not workflow.local_exec)


def experiment(wildcards):
    """Settings of a job's experiment."""
    return CONFIGURATION.experiment(wildcards.experiment)


def setting(path):
    """A param with one of the experiment's settings, such as `sweep/points`."""
    return lambda wildcards: lookup_setting(wildcards.experiment, path)


def lookup_setting(name, path):
    """Value at a path such as `sweep/points` in the settings of the experiment `name`."""
    found = CONFIGURATION.experiment(name)
    for key in path.split("/"):
        found = found[key]
    return found


def dataset(wildcards):
    """Settings that determine a data set's content, without its path and mirrors."""
    ignored, optional = ("mirrors", "path"), ("size", "max_pixels", "mean", "std", "arguments")
    own = experiment(wildcards)["dataset"].items()
    return {k: v for k, v in own if k not in ignored and (k not in optional or v not in (None, {}))}


# Params that depend on `input` are not compared with the last run: the same files in another
# folder, or from another mirror, are no reason to run again.
def data_dir(wildcards, input):
    """Folder of the data set: its own path, or the one of all data sets."""
    return experiment(wildcards)["dataset"]["path"] or str(CONFIGURATION.data_dir)


def trusted(wildcards, input):
    """Classes in files that the configuration names as networks; only their code may be run."""
    found = {EXPERIMENTS[name]["network"]["name"] for name in NETWORKS}
    return sorted(name for name in found if code_file(name))


def alone(path):
    """All cores, so that no job runs beside; on a cluster the threads of a setting.

    On a cluster the number of cores is not set, and the profile requests an exclusive node.
    """

    def value(wildcards):
        try:
            return workflow.cores
        except WorkflowError:
            return setting(path)(wildcards)

    return value


def gpus(step):
    """One GPU if the `device` in a step's settings is cuda, else none."""

    def value(wildcards):
        return 1 if experiment(wildcards)[step].get("device") == "cuda" else None

    return value


def code(script, *modules):
    """A param that changes with the code of a script and of the library modules that it uses.

    Imports are followed. `modules` adds those that a setting chooses, such as
    `networks.zoo.{network[name]}`, which may also be a file of the user.
    """

    def value(wildcards):
        fields = experiment(wildcards) | dict(wildcards.items())
        measures = as_list(fields.pop("measure"))
        named = [m.format(measure=measure, **fields) for m in modules for measure in measures]
        # Each once; some measures have no module.
        given = {f"records.uncertainty.{measure}" for measure in GIVEN}
        named = [name for name in dict.fromkeys(named) if name not in given]
        for name in named:
            if file := file_of(name):
                key = "dataset" if name.startswith("datasets.") else "network"
                checked(file, f"{wildcards.experiment}.{key}.name")
        return planned_code(script, *named)

    return value


PLANNED = Path(".snakemake/planned_code.json")
# Shared with the jobs of this run.
ENVIRONMENT = os.environ


@cache
def planned_code(*names):
    """Fingerprint of a script's code; within a job, the one at the time the run was planned.

    On a cluster a job reads the rules again, and its code is compared with the planned one.
    """
    if not workflow.is_main_process:
        # If the file is missing or of another run, the current fingerprint is used.
        with suppress(OSError, ValueError, KeyError):
            planned = json.loads(PLANNED.read_text())
            if planned["run"] == ENVIRONMENT["EARLY_EXIT_RUN"]:
                return planned["code"][" ".join(names)]
    return job_code(SCRIPTS, *names)


def note_planned_code():
    """Write the fingerprints of all planned jobs to a file, for jobs on other machines."""
    codes = [job.params.get("code") for job in workflow.dag.needrun_jobs()]
    planned = {" ".join(code[1:]): code for code in codes if code}
    ENVIRONMENT["EARLY_EXIT_RUN"] = f"{STARTED} {os.getpid()}"
    content = {"run": ENVIRONMENT["EARLY_EXIT_RUN"], "code": planned}
    with suppress(OSError), replacing(PLANNED) as temporary:
        temporary.write_text(json.dumps(content), encoding="utf-8")


def checked(file, where):
    """A file of the user, checked to exist and to define the named class; `where` names it."""
    try:
        file.check()
        file.fingerprint()
    except InputError as error:
        sys.exit(f"error: config: experiments.{where}: {error}")
    return file


def existing(wildcards, path, given=None):
    """File at a setting such as `network/checkpoint`; it must exist, or a rule must make it."""
    given = given or setting(path)(wildcards)
    file = found(given)
    if file is None:
        key = ".".join([wildcards.experiment, *path.split("/")])
        inside = in_folder(Path(given))
        advice = f"; name the file in it, {Path(given) / inside}" if inside else ""
        sys.exit(
            f"error: config: experiments.{key}: there is no file {given} (paths start from"
            f" {Path.cwd().name}/, where snakemake runs){advice}"
        )
    return file


def each(pattern, **wildcards):
    """Files of `pattern` for each experiment in `run`."""
    return expand(pattern, experiment=CONFIGURATION.run, **wildcards)
