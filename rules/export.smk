# Export of the chosen policy and its network: docs/deployment.md. Not part of `all`.


rule export:
    """Target: each experiment's network and policy as ONNX graphs with a runner, checked."""
    input:
        with_network("export"),
        again_without("results/{experiment}/export/manifest.json", listed_by_export),
        kept("export"),


rule export_policy:
    """Write an ONNX graph for each stage and head, the policy, a manifest and a runner."""
    input:
        manifest="results/{experiment}/data/manifest.json",
        network="results/{experiment}/network/network.safetensors",
        graphs=exported_graphs,
        policy="results/{experiment}/selection/policy.json",
    output:
        manifest="results/{experiment}/export/manifest.json",
        graphs=directory("results/{experiment}/export/graphs"),
        policy="results/{experiment}/export/policy.json",
        runner="results/{experiment}/export/runner.py",
        images="results/{experiment}/export/images.py",
        criteria=directory("results/{experiment}/export/criteria"),
        requirements="results/{experiment}/export/requirements.txt",
        readme="results/{experiment}/export/README.md",
    log:
        "results/{experiment}/logs/export.log",
    benchmark:
        "results/{experiment}/benchmarks/export.tsv"
    conda:
        "../envs/export.yaml"
    params:
        trusted=trusted,
        code=code(
            "export",
            "export.runner",
            "io.images",
            "networks.zoo.{network[name]}",
            *[f"records.uncertainty.{name}" for name in MEASURES],
        ),
        dataset=dataset,
        run_by=run_by,
        single_graph=setting("export/single_graph"),
    script:
        "../scripts/export.py"


rule check_export:
    """Run the export on the test split, compare it with the network under torch, and time both."""
    input:
        exported="results/{experiment}/export/manifest.json",
        manifest="results/{experiment}/data/manifest.json",
        network="results/{experiment}/network/network.safetensors",
        graphs=exported_graphs,
        policy="results/{experiment}/selection/policy.json",
        records="results/{experiment}/exits/test.parquet",
    output:
        comparison="results/{experiment}/export/comparison.json",
    log:
        "results/{experiment}/logs/export_check.log",
    benchmark:
        "results/{experiment}/benchmarks/export_check.tsv"
    conda:
        "../envs/export.yaml"
    # All cores: another job beside it would distort the times.
    threads: alone("inference/threads")
    params:
        trusted=trusted,
        code=code(
            "export_check",
            "export.runner",
            "networks.zoo.{network[name]}",
            "datasets.{dataset[name]}",
            "records.uncertainty.{measure}",
        ),
        dataset=dataset,
        run_by=run_by,
        inference=inference,
        data_dir=data_dir,
    script:
        "../scripts/export_check.py"
