# The one pass of the network over a split: what every exit says of every picture.


rule exits:
    """Target: the per-exit records of the calibration and the test split of each experiment."""
    input:
        each("results/{experiment}/exits/{split}.parquet", split=["calibration", "test"]),


rule record_exits:
    """Run the whole network over a split once; keep each exit's logits, entropy and prediction."""
    input:
        manifest="results/{experiment}/data/manifest.json",
        network="results/{experiment}/network/network.safetensors",
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
    threads: threads("inference/threads")
    resources:
        gpu=gpus("inference"),
    params:
        code=code("exits", "networks.{network[name]}", "datasets.{dataset[name]}"),
        dataset=dataset,
        logits=keeps_logits,
        inference=inference,
        data_dir=data_dir,
    script:
        "../scripts/exits.py"


rule record_shard:
    """Run the whole network over a shard of a split; each can be another machine's job."""
    input:
        manifest="results/{experiment}/data/manifest.json",
        network="results/{experiment}/network/network.safetensors",
    output:
        records=temp("results/{experiment}/exits/{split}_{shard}_of_{shards}.parquet"),
    log:
        "results/{experiment}/logs/exits_{split}_{shard}_of_{shards}.log",
    benchmark:
        "results/{experiment}/benchmarks/exits_{split}_{shard}_of_{shards}.tsv"
    wildcard_constraints:
        experiment=names(lambda own: own["exits"]["shards"] > 1 and not own["records"]),
    conda:
        "../envs/environment.yaml"
    threads: threads("inference/threads")
    resources:
        gpu=gpus("inference"),
    params:
        # Shards are whole batches: with another size they begin and end elsewhere.
        batch_size=setting("inference/batch_size"),
        code=code("exits", "networks.{network[name]}", "datasets.{dataset[name]}"),
        dataset=dataset,
        logits=keeps_logits,
        inference=inference,
        data_dir=data_dir,
    script:
        "../scripts/exits.py"


rule join_shards:
    """Join a split's shards: the same records, to the byte, as those of one job."""
    input:
        # The shards are gone once they are joined; so what they were made from counts as well.
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


rule import_records:
    """Take a split's records from elsewhere, every number checked."""
    input:
        manifest="results/{experiment}/data/manifest.json",
        records=given_file("{split}"),
    output:
        records="results/{experiment}/exits/{split}.parquet",
    log:
        "results/{experiment}/logs/records_{split}.log",
    benchmark:
        "results/{experiment}/benchmarks/records_{split}.tsv"
    wildcard_constraints:
        experiment=FROM_RECORDS,
        split="calibration|test",
    conda:
        "../envs/analysis.yaml"
    params:
        code=code("records_import"),
    script:
        "../scripts/records_import.py"
