# Parameters of exit criteria that have any, such as a gate's. Thresholds on them are found like those
# on any other measure, but on the half of the calibration split that they were not fitted on.


include: "helpers/criteria.smk"


rule criteria:
    """Target: the fitted parameters of each experiment's exit criteria."""
    input:
        kept("criteria"),


rule fit_criteria:
    """Fit the parameters of the experiment's exit criteria on half of the calibration split."""
    input:
        records="results/{experiment}/exits/calibration.parquet",
        temperatures=temperatures,
    output:
        parameters="results/{experiment}/criteria/parameters.json",
    log:
        "results/{experiment}/logs/criteria.log",
    benchmark:
        "results/{experiment}/benchmarks/criteria.tsv"
    conda:
        "../envs/analysis.yaml"
    params:
        code=code("criteria", "records.uncertainty.{measure}"),
        measure=setting("measure"),
    script:
        "../scripts/criteria.py"
