# Baselines for early exits: smaller networks, the stages up to an exit with that exit's head, each
# trained alone. Not part of `all`, since it trains several networks.


include: "helpers/baselines.smk"


rule baselines:
    """Target: accuracy against time, for policies and for smaller networks trained alone."""
    input:
        with_network("baselines"),
        kept("baselines"),


use rule train_network as train_baseline with:
    """Train the stages up to an exit with its head alone, with the experiment's recipe."""
    output:
        network="results/{experiment}/baselines/network_{cut}.safetensors",
        log="results/{experiment}/baselines/training_{cut}.csv",
    log:
        "results/{experiment}/logs/baseline_{cut}.log",
    benchmark:
        "results/{experiment}/benchmarks/baseline_{cut}.tsv"
    # Also for a network that was imported.
    wildcard_constraints:
        experiment=WITH_NETWORK,


rule measure_baselines:
    """Time the smaller networks, and policies at several budgets, in turns on the same images."""
    input:
        manifest="results/{experiment}/data/manifest.json",
        network="results/{experiment}/network/network.safetensors",
        graphs=graphs,
        baselines=smaller_networks,
        calibration="results/{experiment}/exits/calibration.parquet",
        records="results/{experiment}/exits/test.parquet",
        costs="results/{experiment}/cost/cost.csv",
        machine="results/{experiment}/cost/cost.json",
        temperatures=temperatures,
        parameters=parameters,
    output:
        baselines="results/{experiment}/baselines/baselines.csv",
    log:
        "results/{experiment}/logs/baselines.log",
    benchmark:
        "results/{experiment}/benchmarks/baselines.tsv"
    conda:
        "../envs/environment.yaml"
    # All cores: another job beside it would distort the times.
    threads: alone("inference/threads")
    resources:
        gpu=gpus("inference"),
    params:
        trusted=trusted,
        code=code(
            "baselines",
            "networks.zoo.{network[name]}",
            "datasets.{dataset[name]}",
            "records.uncertainty.{measure}",
            "calibration.methods.{baselines[method]}",
        ),
        dataset=dataset,
        inference=setting("inference"),
        baselines=setting("baselines"),
        measure=setting("measure"),
        exit_rule=setting("exit_rule"),
        data_dir=data_dir,
    script:
        "../scripts/baselines.py"
