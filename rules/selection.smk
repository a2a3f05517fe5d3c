# Selection of one policy, from the calibration split alone.


include: "helpers/selection.smk"


rule select:
    """Target: the chosen policy of each experiment."""
    input:
        kept("select"),


rule select_policy:
    """Select among the calibrated policies and the full network by the experiment's criterion."""
    input:
        manifest="results/{experiment}/data/manifest.json",
        points=calibrated,
        records="results/{experiment}/exits/calibration.parquet",
        costs="results/{experiment}/cost/cost.csv",
        machine="results/{experiment}/cost/cost.json",
        temperatures=temperatures,
        parameters=parameters,
    output:
        policy="results/{experiment}/selection/policy.json",
    log:
        "results/{experiment}/logs/selection.log",
    benchmark:
        "results/{experiment}/benchmarks/selection.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: after_others
    params:
        code=code("selection", "records.uncertainty.{measure}"),
        selection=setting("selection"),
        measure=setting("measure"),
        exit_rule=setting("exit_rule"),
        cost=setting("calibration/cost"),
        network=network_name,
        dataset=dataset_of_images,
    script:
        "../scripts/selection.py"


rule count_uncertainty:
    """Count right and wrong predictions by uncertainty and exit, on the calibration split."""
    input:
        policy="results/{experiment}/selection/policy.json",
        records="results/{experiment}/exits/calibration.parquet",
    output:
        uncertainty="results/{experiment}/selection/uncertainty.csv",
    log:
        "results/{experiment}/logs/uncertainty.log",
    benchmark:
        "results/{experiment}/benchmarks/uncertainty.tsv"
    conda:
        "../envs/analysis.yaml"
    params:
        code=code("uncertainty", "records.uncertainty.{measure}"),
    script:
        "../scripts/uncertainty.py"
