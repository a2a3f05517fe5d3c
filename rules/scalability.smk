# Time of calibration for growing numbers of samples. Not part of `all`: it takes minutes, and needs
# an idle machine.


rule scalability:
    """Target: time and memory of each calibration method for growing numbers of samples."""
    input:
        kept("scalability"),


rule measure_scalability:
    """Time each method, the largest grid and a large sweep on samples drawn from the records."""
    input:
        records="results/{experiment}/exits/calibration.parquet",
        costs="results/{experiment}/cost/cost.csv",
        machine="results/{experiment}/cost/cost.json",
        temperatures=temperatures,
        parameters=parameters,
    output:
        scalability="results/{experiment}/scalability/scalability.csv",
    log:
        "results/{experiment}/logs/scalability.log",
    benchmark:
        "results/{experiment}/benchmarks/scalability.tsv"
    conda:
        "../envs/analysis.yaml"
    # All cores: another job beside it would distort the times.
    threads: alone("inference/threads")
    params:
        code=code_of_methods("scalability", "study/methods"),
        methods=setting("study/methods"),
        sizes=setting("study/sizes"),
        measure=setting("measure"),
        exit_rule=setting("exit_rule"),
    script:
        "../scripts/scalability.py"
