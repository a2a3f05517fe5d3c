# Inputs and params of the rules in selection.smk.


def network_name(wildcards):
    """Name of the network; `None` for external records."""
    own = experiment(wildcards)
    return None if own["records"] else own["network"]["name"]


def dataset_of_images(wildcards):
    """As `dataset`; `None` for external records, which have no images."""
    return None if experiment(wildcards)["records"] else dataset(wildcards)


def after_others(wildcards):
    """All cores, so that the jobs that are ready and have a priority come first; one on a cluster.

    These draw what can be asked for. If no policy is good enough the selection ends the run, and
    the figure is there to choose another floor by.
    """
    # In a group's job on a cluster the number of cores is set, but only one was asked for.
    if not workflow.local_exec or workflow.remote_exec:
        return 1
    try:
        return workflow.cores
    except WorkflowError:
        return 1
