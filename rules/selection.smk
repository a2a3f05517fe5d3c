# One policy, chosen by calibration data alone.


rule select:
    """Target: the chosen policy of each experiment."""
    input:
        each("results/{experiment}/selection/policy.json"),


rule select_policy:
    """Choose among the calibrated policies and the whole network by the experiment's criterion."""
    input:
        manifest="results/{experiment}/data/manifest.json",
        points=calibrated,
        records="results/{experiment}/exits/calibration.parquet",
        costs="results/{experiment}/cost/cost.csv",
        machine="results/{experiment}/cost/cost.json",
        temperatures=temperatures,
    output:
        policy="results/{experiment}/selection/policy.json",
    log:
        "results/{experiment}/logs/selection.log",
    benchmark:
        "results/{experiment}/benchmarks/selection.tsv"
    conda:
        "../envs/analysis.yaml"
    params:
        code=code("selection", "uncertainty.{measure}"),
        selection=setting("selection"),
        measure=setting("measure"),
        exit_rule=setting("exit_rule"),
        network=network_name,
        dataset=dataset_of_pictures,
    script:
        "../scripts/selection.py"
