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
    conda:
        "../envs/environment.yaml"
    threads: threads("inference/threads")
    resources:
        gpu=gpus("inference"),
    params:
        code=code("exits", "networks.{network[name]}", "datasets.{dataset[name]}"),
        dataset=dataset,
        inference=inference,
        data_dir=data_dir,
    script:
        "../scripts/exits.py"
