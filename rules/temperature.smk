# A temperature for each exit. Policies use it if the experiment has `temperature_scaling: true`.


include: "helpers/temperature.smk"


rule temperature:
    """Target: the temperatures of each experiment's exits."""
    input:
        kept("temperature"),


rule fit_temperatures:
    """Fit each exit's temperature on the calibration split."""
    input:
        records="results/{experiment}/exits/calibration.parquet",
    output:
        temperatures="results/{experiment}/temperature/temperatures.json",
    log:
        "results/{experiment}/logs/temperature.log",
    benchmark:
        "results/{experiment}/benchmarks/temperature.tsv"
    conda:
        "../envs/analysis.yaml"
    params:
        code=code("temperature"),
    script:
        "../scripts/temperature.py"
