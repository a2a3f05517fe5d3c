# Networks with early exits: run once, then sweep, calibrate, choose, check and draw.
#
#   data -> network -> exits -> sweep ------------------------> figures -> report
#                   |        -> calibration -> selection -> evaluation --^
#                   +-> cost --^
#
# config.yaml says what is run, rules/ when, scripts/ what, scripts/early_exit/ how.
from snakemake.utils import min_version

min_version("9.20")


configfile: "config.yaml"


report: "rules/report/workflow.rst"


include: "rules/common.smk"
include: "rules/data.smk"
include: "rules/network.smk"
include: "rules/exits.smk"
include: "rules/cost.smk"
include: "rules/temperature.smk"
include: "rules/sweep.smk"
include: "rules/calibration.smk"
include: "rules/selection.smk"
include: "rules/evaluation.smk"
include: "rules/summary.smk"
include: "rules/figures.smk"
include: "rules/frontier.smk"
include: "rules/quality.smk"
include: "rules/replication.smk"
include: "rules/replicates.smk"
include: "rules/speed.smk"
include: "rules/baselines.smk"
include: "rules/export.smk"
include: "rules/study.smk"
include: "rules/scaling.smk"


onstart:
    begin()


onsuccess:
    print(*headlines(), sep="\n")


onerror:
    print(*reasons(), sep="\n", file=sys.stderr)


rule all:
    """Everything: each experiment's summary, figures and, where asked for, replication."""
    default_target: True
    input:
        rules.summarise.input,
        rules.figures.input,
        rules.frontier.input,
        rules.quality.input,
        rules.replicate.input,
