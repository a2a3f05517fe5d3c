# One threshold for all exits, swept from 0 to the measure's maximum.


rule sweep:
    """Target: the sweeps of each experiment, over its calibration and its test split."""
    input:
        each("results/{experiment}/sweep/{split}.csv", split=["calibration", "test"]),


rule sweep_thresholds:
    """Accuracy, cost and shares at each uniform threshold, under both exit rules, from the records."""
    input:
        records="results/{experiment}/exits/{split}.parquet",
        costs="results/{experiment}/cost/cost.csv",
        machine="results/{experiment}/cost/cost.json",
        temperatures=temperatures,
        counts=sweep_shards,
    output:
        sweep="results/{experiment}/sweep/{split}.csv",
        cutoffs="results/{experiment}/sweep/{split}_cutoffs.csv",
    log:
        "results/{experiment}/logs/sweep_{split}.log",
    benchmark:
        "results/{experiment}/benchmarks/sweep_{split}.tsv"
    conda:
        "../envs/analysis.yaml"
    params:
        code=code("sweep", "uncertainty.{measure}"),
        sweep=swept,
        measure=setting("measure"),
    script:
        "../scripts/sweep.py"


rule sweep_shard:
    """Count what a part of the samples do at each uniform threshold; each can be another machine's job."""
    input:
        records="results/{experiment}/exits/{split}.parquet",
        machine="results/{experiment}/cost/cost.json",
        temperatures=temperatures,
    output:
        counts=temp("results/{experiment}/sweep/{split}_{shard}_of_{shards}.csv"),
    log:
        "results/{experiment}/logs/sweep_{split}_{shard}_of_{shards}.log",
    benchmark:
        "results/{experiment}/benchmarks/sweep_{split}_{shard}_of_{shards}.tsv"
    conda:
        "../envs/analysis.yaml"
    params:
        code=code("sweep_shard", "uncertainty.{measure}"),
        sweep=swept,
        measure=setting("measure"),
    script:
        "../scripts/sweep_shard.py"
