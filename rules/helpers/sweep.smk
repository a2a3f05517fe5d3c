# Inputs and params of the rules in sweep.smk.


def sweep_shards(wildcards):
    """Counts of a sweep's shards, if there are several; else nothing."""
    count = experiment(wildcards)["sweep"]["shards"]
    pattern = "results/{{experiment}}/sweep/{{split}}_{shard}_of_{shards}.csv"
    return expand(pattern, shard=range(1, count + 1), shards=count) if count > 1 else []


def swept(wildcards):
    """Settings of a sweep, without the number of shards, which does not change the result."""
    return {k: v for k, v in experiment(wildcards)["sweep"].items() if k != "shards"}
