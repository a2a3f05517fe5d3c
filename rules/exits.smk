# Run the network once per split; record every exit's outputs.


include: "helpers/exits.smk"


rule exits:
    """Target: records of every exit on the calibration and test splits of each experiment."""
    input:
        kept("exits"),


rule record_exits:
    """Run the network over a split once; record each exit's logits, entropy and prediction."""
    input:
        manifest="results/{experiment}/data/manifest.json",
        network="results/{experiment}/network/network.safetensors",
        graphs=graphs,
    output:
        records="results/{experiment}/exits/{split}.parquet",
    log:
        "results/{experiment}/logs/exits_{split}.log",
    benchmark:
        "results/{experiment}/benchmarks/exits_{split}.tsv"
    wildcard_constraints:
        experiment=names(lambda own: own["exits"]["shards"] == 1 and not own["records"]),
    conda:
        "../envs/environment.yaml"
    threads: setting("inference/threads")
    resources:
        gpu=gpus("inference"),
    params:
        trusted=trusted,
        code=code("exits", "networks.zoo.{network[name]}", "datasets.{dataset[name]}"),
        dataset=dataset,
        logits=keeps_logits,
        run_by=run_by,
        inference=inference,
        data_dir=data_dir,
    script:
        "../scripts/exits.py"


use rule record_exits as record_shard with:
    """Run the network over a shard of a split; shards can run on several machines."""
    output:
        records=temp("results/{experiment}/exits/{split}_{shard}_of_{shards}.parquet"),
    log:
        "results/{experiment}/logs/exits_{split}_{shard}_of_{shards}.log",
    benchmark:
        "results/{experiment}/benchmarks/exits_{split}_{shard}_of_{shards}.tsv"
    wildcard_constraints:
        experiment=names(lambda own: own["exits"]["shards"] > 1 and not own["records"]),
    params:
        # Shards are whole batches, so their bounds depend on the batch size.
        batch_size=setting("inference/batch_size"),


rule join_shards:
    """Join a split's shards; the result is byte-identical to that of a single job."""
    input:
        # The shards are temporary, so the job also depends on the files that they were made from.
        manifest="results/{experiment}/data/manifest.json",
        network="results/{experiment}/network/network.safetensors",
        shards=shards,
    output:
        records="results/{experiment}/exits/{split}.parquet",
    log:
        "results/{experiment}/logs/exits_{split}_joined.log",
    benchmark:
        "results/{experiment}/benchmarks/exits_{split}_joined.tsv"
    wildcard_constraints:
        experiment=names(lambda own: own["exits"]["shards"] > 1 and not own["records"]),
    conda:
        "../envs/analysis.yaml"
    params:
        code=code("exits_join"),
    script:
        "../scripts/exits_join.py"
