# How long calibration takes as samples grow. Not part of `all`: it takes minutes, and wants a quiet
# machine.


rule scaling:
    """Target: seconds and memory of each calibration method as samples grow."""
    input:
        each("results/{experiment}/scaling/scaling.csv"),
        each("results/{experiment}/figures/scaling.svg"),


rule measure_scaling:
    """Time each method, the largest grid and a large sweep on samples drawn from the records."""
    input:
        records="results/{experiment}/exits/calibration.parquet",
        costs="results/{experiment}/cost/cost.csv",
        machine="results/{experiment}/cost/cost.json",
        temperatures=temperatures,
    output:
        scaling="results/{experiment}/scaling/scaling.csv",
    log:
        "results/{experiment}/logs/scaling.log",
    benchmark:
        "results/{experiment}/benchmarks/scaling.tsv"
    conda:
        "../envs/analysis.yaml"
    # All of them: what runs beside it would be measured too.
    threads: alone("inference/threads")
    params:
        code=code_of_methods("scaling", "study/methods"),
        methods=setting("study/methods"),
        sizes=setting("study/sizes"),
        measure=setting("measure"),
        exit_rule=setting("exit_rule"),
    script:
        "../scripts/scaling.py"


rule draw_scaling:
    """Draw seconds against samples."""
    input:
        scaling="results/{experiment}/scaling/scaling.csv",
    output:
        **figure_files("results/{experiment}/figures", ["scaling"]),
    log:
        "results/{experiment}/logs/figures_scaling.log",
    benchmark:
        "results/{experiment}/benchmarks/figures_scaling.tsv"
    conda:
        "../envs/analysis.yaml"
    params:
        code=code("figures", "figures.scaling"),
        figures=["scaling"],
        stated=stated("scaling"),
    script:
        "../scripts/figures.py"
