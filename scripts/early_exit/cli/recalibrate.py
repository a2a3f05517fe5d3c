"""``early-exit recalibrate``: finds the thresholds of a policy anew on new records."""

from __future__ import annotations

import argparse
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from early_exit.cli.main import FINE
from early_exit.cli.options import add_policy
from early_exit.errors import InputError

if TYPE_CHECKING:
    from early_exit.calibration.recalibrate import Recalibrated
    from early_exit.cli.experiment import Experiment
    from early_exit.policy.costs import CostModel
    from early_exit.records.table import Records

HELP = "Find the thresholds of a policy anew on new records, after drift."
EPILOG = """\
New records are those that `early-exit check` takes. If any has a label, thresholds are found anew
on the samples with labels, by the policy's own method for its own target, with a new certificate
if the method gives one. Without labels, or with --keep-shares, thresholds are moved so that the
share of samples exiting at each exit, and so the cost, is that of calibration; accuracy is not
known then, and a certificate holds no longer. At least 100 samples are needed.

The new policy is a complete policy file. The records that it was found on are written beside it;
`early-exit check --policy` with the new file compares with those.

exit status: 0 the new policy was written, 2 nothing was done

  early-exit recalibrate --policy results/digits/selection/policy.json --records new.parquet
"""
# Beside the folder of the policy, so that the experiment's other files are found from there.
FOLDER, NAME = "recalibrated", "policy.json"
# As of early_exit.calibration.targets, which is slow to import; the first two limit accuracy.
TARGETS = ("accuracy", "drop", "macs", "macs_share", "ms", "ms_share")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments: policy, new records, output file, whether to use labels."""
    add_policy(parser)
    parser.add_argument("--records", required=True, metavar="FILE", help="the new records")
    parser.add_argument(
        "--output",
        metavar="FILE",
        help="policy file to write (results/X/recalibrated/policy.json); the records go beside it,"
        " with the suffix .parquet",
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--target",
        type=target,
        metavar="KIND=VALUE",
        help="with labels, another target than the policy's own: accuracy, drop, macs, macs_share,"
        " ms or ms_share, such as macs_share=0.5",
    )
    how.add_argument(
        "--keep-shares", action="store_true", help="keep the exit shares, even if there are labels"
    )


def target(text: str) -> dict[str, Any]:
    """A target of calibration, from an argument, as its keys of ``policy.json``."""
    kind, _, value = text.partition("=")
    number = float(value)
    if kind not in TARGETS or not 0 <= number < (1 if kind in TARGETS[:2] else math.inf):
        raise argparse.ArgumentTypeError(f"{text} is no target")
    return {"target_kind": kind, "target": number}


def run(options: argparse.Namespace) -> int:
    """Recalibrate, write the new policy and print what changed; returns the exit status."""
    from early_exit.calibration.recalibrate import recalibrate
    from early_exit.cli.experiment import read_experiment

    experiment = read_experiment(options.policy)
    output = output_of(experiment.file, options)
    records, costs = new_records(experiment, options.records), experiment.costs()
    if options.target:
        experiment = replace(experiment, content=experiment.content | options.target)
    labels = False if options.keep_shares else True if options.target else None
    try:
        found = recalibrate(experiment.content, records, costs, labels)
    except InputError as error:
        # The library does not know the file's name.
        problem = error.problem.removeprefix("policy: ").removeprefix("records: ")
        of_policy = error.problem.startswith("policy: ")
        file = options.policy if of_policy else options.records
        raise InputError(f"{file}: {problem}", error.remedy) from error
    write(output, experiment, options.records, found, costs)
    print(text(found, len(records), experiment, costs))
    print(f"\nwritten: {output}, and the records beside it, {output.with_suffix('.parquet').name}")
    if output.absolute().parent.parent != experiment.file.absolute().parent.parent:
        print("predict and check find the network only from a folder beside the old policy's")
    return FINE


def output_of(policy: Path, options: argparse.Namespace) -> Path:
    """Path of the new policy; the old one is overwritten only if ``--output`` names it.

    Raises
    ------
    InputError
        If nothing is named and the policy is where the output would go, if the suffix is wrong, or
        if the records beside the output would replace a file that is no such records.
    """
    if options.output is None:
        output = Path(os.path.normpath(policy.parent / ".." / FOLDER / NAME))
        if _same(output, policy):
            raise InputError(
                f"{policy}: would be overwritten", f"name a file; this one: --output {policy}"
            )
    else:
        output = Path(options.output)
    if output.suffix != ".json":
        raise InputError(f"--output {output}: not the name of a policy file", "end it with .json")
    reference = output.with_suffix(".parquet")
    if _same(reference, Path(options.records)) or not _replaceable(reference):
        raise InputError(
            f"{reference}: would be replaced by the records of the new policy",
            "give another name: --output FILE.json",
        )
    return output


def _replaceable(reference: Path) -> bool:
    """Whether a path is free, or has the records of an earlier recalibration."""
    from early_exit.calibration.recalibrate import SPLIT
    from early_exit.records.parquet import read_provenance

    try:
        return not reference.exists() or read_provenance(reference).get("split") == SPLIT
    except InputError:
        return False


def _same(one: Path, other: Path) -> bool:
    return one.exists() and other.exists() and one.samefile(other)


def new_records(experiment: Experiment, path: str) -> Records:
    """The new records, of the policy's network, with logits if the file has them.

    Raises
    ------
    InputError
        If they cannot be read, or are of another network or number of exits.
    """
    from early_exit.io.provenance import check_same_provenance, made_of_network
    from early_exit.records.external.read import read_external_records

    classes = experiment.content["network"]["classes"]
    records = read_external_records(path, classes=classes, labelled=False)
    made_by = made_of_network(records.provenance)
    remedy = "give the policy of the network that they were recorded with"
    check_same_provenance(experiment.origin, (path, made_by), remedy=remedy)
    if records.exits != experiment.policy.exits:
        raise InputError(
            f"{path}: records of {records.exits} exits, but the policy has"
            f" {experiment.policy.exits}",
            remedy,
        )
    return records


def write(
    output: Path, experiment: Experiment, source: str, found: Recalibrated, costs: CostModel
) -> None:
    """Write the new policy, and beside it the records that found it, both or neither."""
    from early_exit.calibration.recalibrate import SPLIT, described
    from early_exit.io.files import replacing, sha256, write_json
    from early_exit.records.parquet import write_records

    reference = output.with_suffix(".parquet")
    provenance = found.records.provenance | {"split": SPLIT}
    notes = {
        "policy_sha256": sha256(experiment.file),
        "records": Path(source).name,
        "records_sha256": sha256(source),
        "reference": reference.name,
    }
    with replacing(reference) as temporary:
        write_records(temporary, replace(found.records, provenance=provenance))
        notes["reference_sha256"] = sha256(temporary)
        write_json(output, described(experiment.content, found, costs, notes))


def text(found: Recalibrated, samples: int, experiment: Experiment, costs: CostModel) -> str:
    """What was done: thresholds, shares and costs before and after, and accuracies if known."""
    import pandas as pd

    from early_exit.calibration.recalibrate import LABELS

    old, new = (found.point(policy, costs) for policy in (found.before, found.policy))
    content, calibration = experiment.content, experiment.content["calibration"]
    words = [[*p.to_json()["thresholds"], "-"] for p in (found.before, found.policy)]
    table = pd.DataFrame(
        {
            "exit": range(1, new.policy.exits + 1),
            **{
                name: [t if isinstance(t, str) else f"{t:.4g}" for t in own]
                for name, own in zip(("old threshold", "new threshold"), words, strict=True)
            },
            "calibration": calibration["exit_shares"],
            "new, old thresholds": old.exit_shares,
            "new, new thresholds": new.exit_shares,
        }
    )
    lines = [_done(found, samples, content), table.to_string(index=False, float_format="%.4f")]
    before, *after = [
        " and ".join(_costs(own, costs, experiment.cost_unit))
        for own in (calibration, old.row(), new.row())
    ]
    lines.append(
        f"mean cost: {before} on calibration; on the new samples {after[0]} with the old"
        f" thresholds, {after[1]} with the new"
    )
    if found.by == LABELS:
        full = found.point(found.policy.full_network, costs).accuracy
        known = calibration["accuracy"]
        was = "" if known is None else f"{known:.2%} on calibration; "
        lines.append(
            f"accuracy: {was}on the new samples {old.accuracy:.2%} with the old thresholds,"
            f" {new.accuracy:.2%} with the new, which were found on them; full network {full:.2%}"
        )
    return "\n".join(lines)


def _done(found: Recalibrated, samples: int, content: dict[str, Any]) -> str:
    from early_exit.calibration.recalibrate import LABELS
    from early_exit.calibration.targets import label

    if found.by != LABELS:
        lost = "; the certificate holds no longer" if content.get("certificate") else ""
        return f"exit shares of calibration kept on {samples} new samples, without labels{lost}"
    target = label(content["target_kind"], content["target"])
    done = f"found anew by {content['method']} for {target} on {len(found.records)} new samples"
    done += f" with labels (of {samples})" if len(found.records) < samples else " with labels"
    if not any(found.policy.heads_run[:-1]):
        done += "; no thresholds reach that on them, so no sample exits early (see --target)"
    if found.certificate:
        own = found.certificate
        done += f"; certified: {own['loss']} at most {own['bound']:g}, delta {own['delta']:g}"
    elif content.get("certificate"):
        done += "; nothing could be certified"
    return done


def _costs(row: dict[str, Any], costs: CostModel, unit: str) -> list[str]:
    """Mean costs in words, in each known unit."""
    from early_exit.policy.units import cost_words

    words = [cost_words(row["macs"], unit)] if costs.knows("macs") else []
    return words + [f"{row['ms_per_sample']:.4g} ms"] * costs.knows("ms")
