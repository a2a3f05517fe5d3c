# Thresholds for each target, found on the calibration split.


include: "helpers/calibration.smk"


rule calibrate:
    """Target: thresholds of each method for each target, for each experiment."""
    input:
        kept("calibrate"),


rule calibrate_thresholds:
    """Find one method's thresholds for each target, with their calibration accuracy and cost."""
    input:
        records="results/{experiment}/exits/calibration.parquet",
        costs="results/{experiment}/cost/cost.csv",
        machine="results/{experiment}/cost/cost.json",
        temperatures=temperatures,
        parameters=parameters,
    output:
        points="results/{experiment}/calibration/{method}.csv",
    log:
        "results/{experiment}/logs/calibration_{method}.log",
    benchmark:
        "results/{experiment}/benchmarks/calibration_{method}.tsv"
    conda:
        "../envs/analysis.yaml"
    params:
        code=code("calibration", "calibration.methods.{method}", "records.uncertainty.{measure}"),
        targets=setting("calibration/targets"),
        cost=setting("calibration/cost"),
        delta=setting("calibration/delta"),
        measure=setting("measure"),
        exit_rule=setting("exit_rule"),
    script:
        "../scripts/calibration.py"
