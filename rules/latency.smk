# Latency of single samples. Not part of `all`: it takes up to a minute or two, and needs an idle machine.


rule latency:
    """Target: percentiles of the latency of single samples, for several policies."""
    input:
        with_network("latency"),
        kept("latency"),


rule measure_latency:
    """Time single samples under the chosen policy, some others, and in the full network, in turns."""
    input:
        manifest="results/{experiment}/data/manifest.json",
        network="results/{experiment}/network/network.safetensors",
        graphs=graphs,
        policy="results/{experiment}/selection/policy.json",
        points="results/{experiment}/evaluation/operating_points.csv",
        records="results/{experiment}/exits/test.parquet",
        costs="results/{experiment}/cost/cost.csv",
        machine="results/{experiment}/cost/cost.json",
        temperatures=temperatures,
        parameters=parameters,
    output:
        latency="results/{experiment}/latency/latency.csv",
    log:
        "results/{experiment}/logs/latency.log",
    benchmark:
        "results/{experiment}/benchmarks/latency.tsv"
    conda:
        "../envs/environment.yaml"
    # All cores: another job beside it would distort the times.
    threads: alone("inference/threads")
    resources:
        gpu=gpus("inference"),
    params:
        trusted=trusted,
        code=code(
            "latency",
            "networks.zoo.{network[name]}",
            "datasets.{dataset[name]}",
            "records.uncertainty.{measure}",
        ),
        dataset=dataset,
        inference=setting("inference"),
        latency=setting("latency"),
        measure=setting("measure"),
        exit_rule=setting("exit_rule"),
        data_dir=data_dir,
    script:
        "../scripts/latency.py"
