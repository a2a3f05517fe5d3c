# Inputs and params of the rules in records.smk.
from early_exit.records.external.files import holds_logits, side_file
from early_exit.records.uncertainty.measures import EXTERNAL, RECORDED


@cache
def has_logits(name):
    """Whether the records of an experiment have logits, or will have them if needed."""
    own = CONFIGURATION.experiment(name)
    if own["records"] is None:
        return True
    if awaited(name):
        # Unknown so far; jobs that need logits raise an error if there are none.
        return own["temperature_scaling"] or not {*own["measure"]} & {*RECORDED}
    return all(holds_logits(found(own["records"][split])) for split in SPLITS)


def awaited(name):
    """Whether records of an experiment are still missing: a rule makes them, or they are stored."""
    given = CONFIGURATION.experiment(name)["records"]
    files = [found(given[split]) for split in SPLITS] if given else []
    return not all(file and Path(file).is_file() for file in files)


def refuse_records(target):
    """Exit with an error if an experiment in `run` has no network, which the target needs."""
    for name in CONFIGURATION.run:
        if name in RECORDS:
            sys.exit(
                f"error: {target}: {name} has external records and no network; leave it out"
                f" (--config run=...), or the target {target}"
            )


def with_network(target):
    """Input of a target, without files: exits if an experiment in `run` has no network."""

    def files(wildcards):
        refuse_records(target)
        return []

    return files


def external_file(what):
    """One of the files of external records, which must exist."""

    def path(wildcards):
        return existing(wildcards, f"records/{what.format(**wildcards)}")

    return path


def costs_metadata(wildcards):
    """The JSON file that belongs to a cost table, if there is one; else nothing."""
    table = existing(wildcards, "records/costs")
    beside = str(Path(table).with_name("cost.json"))
    if Path(table).name == "cost.csv" and made(PREFIX.replace_prefix(beside)):
        return beside
    side = side_file(table)
    return local(side) if side else []


def class_names(wildcards):
    """Class names of external records, if the experiment sets them."""
    return experiment(wildcards)["records"].get("class_names")


def measure_to_check(wildcards, input):
    """The measures, for a check only: a change of them reads no records, nor trains, again."""
    return experiment(wildcards)["measure"]


def exit_rule_to_check(wildcards, input):
    """The exit rule, for a check only, as `measure_to_check`."""
    return experiment(wildcards)["exit_rule"]
