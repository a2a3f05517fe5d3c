# A temperature for each exit. Policies use it where the experiment says `temperature_scaling: true`.


rule temperature:
    """Target: the temperatures of each experiment's exits."""
    input:
        fitted_temperatures(),


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
