# Backends and precisions compared. Not part of `all`: it takes minutes, and needs an idle machine.


include: "helpers/runtimes.smk"


rule runtimes:
    """Target: accuracy and times of each experiment in every backend and precision."""
    input:
        with_network("runtimes"),
        kept("runtimes"),


rule measure_runtimes:
    """Find the policy anew in each backend and precision, test it, and time all in turns."""
    input:
        manifest="results/{experiment}/data/manifest.json",
        network="results/{experiment}/network/network.safetensors",
        graphs="results/{experiment}/graphs/graphs.json",
        quantized="results/{experiment}/quantize/graphs.json",
        policy="results/{experiment}/selection/policy.json",
        costs="results/{experiment}/cost/cost.csv",
        machine="results/{experiment}/cost/cost.json",
    output:
        runtimes="results/{experiment}/runtimes/runtimes.csv",
    log:
        "results/{experiment}/logs/runtimes.log",
    benchmark:
        "results/{experiment}/benchmarks/runtimes.tsv"
    conda:
        "../envs/export.yaml"
    # All cores: another job beside it would distort the times.
    threads: alone("inference/threads")
    params:
        trusted=trusted,
        code=code_of_runtimes,
        dataset=dataset,
        inference=setting("inference"),
        speed=setting("speed"),
        cost=setting("cost"),
        data_dir=data_dir,
    script:
        "../scripts/runtimes.py"
