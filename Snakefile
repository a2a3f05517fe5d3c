# Networks with early exits: run the network once, then sweep, calibrate, select, evaluate and draw.
#
#   data -> network -> exits -> sweep ------------------------> figures -> report
#                   |        -> calibration -> selection -> evaluation --^
#                   +-> cost --^
#
# config.yaml lists the experiments, rules/ has the steps, scripts/ their jobs and the library.
include: "rules/configuration.smk"


configfile: "config.yaml"


report: "rules/report/workflow.rst"


include: "rules/common.smk"
include: "rules/kept.smk"
include: "rules/figures.smk"
include: "rules/records.smk"
include: "rules/data.smk"
include: "rules/network.smk"
include: "rules/graphs.smk"
include: "rules/exits.smk"
include: "rules/cost.smk"
include: "rules/temperature.smk"
include: "rules/criteria.smk"
include: "rules/sweep.smk"
include: "rules/calibration.smk"
include: "rules/selection.smk"
include: "rules/evaluation.smk"
include: "rules/summary.smk"
include: "rules/explorer.smk"
include: "rules/frontier.smk"
include: "rules/reliability.smk"
include: "rules/reproduction.smk"
include: "rules/replicates.smk"
include: "rules/speed.smk"
include: "rules/latency.smk"
include: "rules/runtimes.smk"
include: "rules/baselines.smk"
include: "rules/export.smk"
include: "rules/study.smk"
include: "rules/scalability.smk"
include: "rules/drift.smk"


onstart:
    begin()


onsuccess:
    print(*headlines(), sep="\n")


onerror:
    print(*reasons(log), sep="\n", file=sys.stderr)


rule all:
    """Each experiment's summary, figures, explorer and, if set, frontier, reliability, reproduction."""
    default_target: True
    input:
        kept("all"),
