# Sweep of one threshold for all exits, from 0 to the measure's maximum.


include: "helpers/sweep.smk"


rule sweep:
    """Target: sweeps of each experiment, on its calibration and test splits."""
    input:
        kept("sweep"),


rule sweep_thresholds:
    """Simulate each uniform threshold on the records, under both exit rules."""
    input:
        records="results/{experiment}/exits/{split}.parquet",
        costs="results/{experiment}/cost/cost.csv",
        machine="results/{experiment}/cost/cost.json",
        temperatures=temperatures,
        parameters=parameters,
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
        code=code("sweep", "records.uncertainty.{measure}"),
        sweep=swept,
        measure=setting("measure"),
    script:
        "../scripts/sweep.py"


rule sweep_shard:
    """Count exits of a shard at each uniform threshold; shards can run on several machines."""
    input:
        records="results/{experiment}/exits/{split}.parquet",
        machine="results/{experiment}/cost/cost.json",
        temperatures=temperatures,
        parameters=parameters,
    output:
        counts=temp("results/{experiment}/sweep/{split}_{shard}_of_{shards}.csv"),
    log:
        "results/{experiment}/logs/sweep_{split}_{shard}_of_{shards}.log",
    benchmark:
        "results/{experiment}/benchmarks/sweep_{split}_{shard}_of_{shards}.tsv"
    conda:
        "../envs/analysis.yaml"
    params:
        code=code("sweep_shard", "records.uncertainty.{measure}"),
        sweep=swept,
        measure=setting("measure"),
    script:
        "../scripts/sweep_shard.py"
