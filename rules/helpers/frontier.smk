# Inputs and params of the rules in frontier.smk.


def frontier_methods(wildcards):
    """Tables of the methods on the frontier."""
    methods = experiment(wildcards)["frontier"]["methods"]
    return expand("results/{{experiment}}/frontier/methods/{method}.csv", method=methods)
