# The price of each stage and each head: multiply-accumulates and measured time.


rule cost:
    """Target: the prices of each experiment's stages and heads."""
    input:
        each("results/{experiment}/cost/cost.csv"),


rule measure_cost:
    """Count the MACs of each stage and head, and time them, alone on the machine."""
    input:
        manifest="results/{experiment}/data/manifest.json",
        network="results/{experiment}/network/network.safetensors",
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
    # All of them: what runs beside it would be measured too.
    threads: alone("inference/threads")
    resources:
        gpu=gpus("inference"),
    params:
        code=code("cost", "networks.{network[name]}", "uncertainty.{measure}"),
        cost=setting("cost"),
        inference=setting("inference"),
        measure=setting("measure"),
    script:
        "../scripts/cost.py"


rule import_costs:
    """Take the cost table that came with records from elsewhere."""
    input:
        manifest="results/{experiment}/data/manifest.json",
        table=given_file("costs"),
        beside=beside_costs,
    output:
        costs="results/{experiment}/cost/cost.csv",
        machine="results/{experiment}/cost/cost.json",
    log:
        "results/{experiment}/logs/records_costs.log",
    benchmark:
        "results/{experiment}/benchmarks/records_costs.tsv"
    wildcard_constraints:
        experiment=FROM_RECORDS,
    conda:
        "../envs/analysis.yaml"
    params:
        code=code("records_costs"),
    script:
        "../scripts/records_costs.py"
