# Thresholds for each target, found on the calibration split.


rule calibrate:
    """Target: the thresholds that each method finds for each target, for each experiment."""
    input:
        [
            f"results/{name}/calibration/{method}.csv"
            for name in CONFIGURATION.run
            for method in CONFIGURATION.experiment(name)["calibration"]["methods"]
        ],


rule calibrate_thresholds:
    """One method's thresholds for each target, with what they give on the calibration split."""
    input:
        records="results/{experiment}/exits/calibration.parquet",
        costs="results/{experiment}/cost/cost.csv",
        machine="results/{experiment}/cost/cost.json",
        temperatures=temperatures,
    output:
        points="results/{experiment}/calibration/{method}.csv",
    log:
        "results/{experiment}/logs/calibration_{method}.log",
    benchmark:
        "results/{experiment}/benchmarks/calibration_{method}.tsv"
    conda:
        "../envs/analysis.yaml"
    params:
        code=code("calibration", "calibration.{method}", "uncertainty.{measure}"),
        targets=setting("calibration/targets"),
        cost=setting("calibration/cost"),
        delta=setting("calibration/delta"),
        measure=setting("measure"),
        exit_rule=setting("exit_rule"),
    script:
        "../scripts/calibration.py"
