# The data set's files: there, whole, and known by their checksums.


rule data:
    """Target: the data set of each experiment, downloaded where it is missing, and checked."""
    input:
        each("results/{experiment}/data/manifest.json"),


rule prepare_data:
    """Check the data set's files, download them where they are missing, and note what they are."""
    output:
        manifest="results/{experiment}/data/manifest.json",
    log:
        "results/{experiment}/logs/data.log",
    benchmark:
        "results/{experiment}/benchmarks/data.tsv"
    conda:
        "../envs/environment.yaml"
    params:
        code=code("data", "datasets.{dataset[name]}"),
        dataset=dataset,
        held=held,
        mirrors=mirrors,
        data_dir=data_dir,
    script:
        "../scripts/data.py"
