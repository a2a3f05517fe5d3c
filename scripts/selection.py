"""Step selection: choose one policy, from the calibration split alone."""

from pathlib import Path

from early_exit.analysis.optimism import optimism, with_optimism
from early_exit.analysis.own_thresholds import check_number, own_choice, policy_of_thresholds
from early_exit.analysis.selection import THRESHOLDS, Criterion, choose, with_full_network
from early_exit.errors import InputError
from early_exit.io.files import write_json
from early_exit.policy.description import describe
from early_exit.policy.operating_point import OperatingPoint, simulate
from early_exit.policy.policy import Policy, full_network
from early_exit.policy.samples import held_out
from job.record_inputs import RecordInputs
from job.run import run_job

# Drawn before the selection in a plain run, relative to the experiment's folder.
ATTAINABLE = "figures/attainable.svg"


def main(snakemake):
    inputs, params = RecordInputs(snakemake), snakemake.params
    criteria, costs = inputs.criteria(), inputs.costs()
    records, manifest = inputs.records(criteria=criteria), inputs.manifest
    settings = dict(params.selection)
    criterion = Criterion(
        settings.pop("criterion"), **settings, unit=manifest.get("cost_unit", "macs")
    )
    if criterion.name == THRESHOLDS:
        chosen = given(criterion, criteria[0], records, costs)
    else:
        figure = Path(snakemake.output.policy).parents[1] / ATTAINABLE
        chosen = found(inputs, criterion, criteria, records, costs, figure)
    machine = inputs.json("machine")
    unit = costs.weighed_in(params.cost)
    own = held_out(records, Policy.from_json(chosen["policy"]).criterion)
    described = describe(chosen, own, costs, machine, params.network, manifest, unit)
    write_json(snakemake.output.policy, described | {"identity": inputs.provenance("records")})


def given(criterion, exit_criterion, records, costs):
    """The policy of the user's thresholds."""
    where = "selection.thresholds"
    check_number(criterion.thresholds, records.exits, where)
    policy = policy_of_thresholds(exit_criterion, criterion.thresholds, where)
    return own_choice(policy, held_out(records, exit_criterion), costs)


def with_figure(error, figure, records):
    """The error, with the figure of what can be asked for if it was drawn from these records."""
    if not figure.exists() or figure.stat().st_mtime < Path(records).stat().st_mtime:
        return error
    shows = f"{figure} shows what accuracy is to be had at what cost"
    return InputError(error.problem, f"{error.remedy}; {shows}")


def found(inputs, criterion, criteria, records, costs, figure):
    """The policy that is best among the calibrated ones and the full network."""
    tables = inputs.tables("points", OperatingPoint.COLUMNS)
    full = simulate(full_network(criteria[0], records.exits), records, costs)
    candidates = with_full_network(tables, full)
    try:
        chosen = choose(candidates, criterion, criteria)
    except InputError as error:
        raise with_figure(error, figure, inputs.files["records"]) from error
    return with_optimism(chosen, optimism(candidates, criterion, records, costs, criteria))


if __name__ == "__main__":
    run_job(main, snakemake)  # noqa: F821
