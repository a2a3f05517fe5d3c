# The data set's files: downloaded if missing, and checked by checksum.


include: "helpers/data.smk"


rule data:
    """Target: the data set of each experiment, downloaded if missing, and checked."""
    input:
        kept("data"),


rule prepare_data:
    """Check the data set's files, download missing ones, and write the manifest."""
    input:
        made=made_dataset,
    output:
        manifest="results/{experiment}/data/manifest.json",
    log:
        "results/{experiment}/logs/data.log",
    benchmark:
        "results/{experiment}/benchmarks/data.tsv"
    wildcard_constraints:
        experiment=WITH_NETWORK,
    conda:
        "../envs/environment.yaml"
    params:
        code=code("data", "datasets.{dataset[name]}"),
        dataset=dataset,
        checksum=dataset_checksum,
        mirrors=mirrors,
        data_dir=data_dir,
    script:
        "../scripts/data.py"
