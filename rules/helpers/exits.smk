# Inputs and params of the rules in exits.smk.


def shards(wildcards):
    """Records of a split's shards, in order."""
    count = experiment(wildcards)["exits"]["shards"]
    pattern = "results/{{experiment}}/exits/{{split}}_{shard}_of_{shards}.parquet"
    return expand(pattern, shard=range(1, count + 1), shards=count)


def keeps_logits(wildcards):
    """Whether the records keep the logits: always, or if a later step needs them."""
    own = experiment(wildcards)
    computed = {*own["measure"]} - {*RECORDED}
    needed = computed or own["temperature_scaling"] or own["reliability"]
    return bool(needed or own["exits"]["logits"] == "always")
