# Multiply-accumulates and measured time of each stage and each head.


rule cost:
    """Target: costs of each experiment's stages and heads."""
    input:
        kept("cost"),


rule measure_cost:
    """Count MACs of each stage and head, and time them, with no other job running."""
    input:
        manifest="results/{experiment}/data/manifest.json",
        network="results/{experiment}/network/network.safetensors",
        graphs=graphs,
    output:
        costs="results/{experiment}/cost/cost.csv",
        machine="results/{experiment}/cost/cost.json",
    log:
        "results/{experiment}/logs/cost.log",
    benchmark:
        "results/{experiment}/benchmarks/cost.tsv"
    wildcard_constraints:
        experiment=WITH_NETWORK,
    conda:
        "../envs/environment.yaml"
    # All cores: another job beside it would distort the times.
    threads: alone("inference/threads")
    resources:
        gpu=gpus("inference"),
    params:
        trusted=trusted,
        code=code("cost", "networks.zoo.{network[name]}", "records.uncertainty.{measure}"),
        cost=setting("cost"),
        inference=setting("inference"),
        measure=setting("measure"),
    script:
        "../scripts/cost.py"
