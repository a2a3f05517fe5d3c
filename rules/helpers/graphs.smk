# Inputs and params of the rules that run a network, by the backend and precision that do.


def graphs(wildcards):
    """The list of graphs that an experiment's backend runs; nothing if it is torch."""
    folders = graph_folders(experiment(wildcards)["inference"])
    return [f"results/{wildcards.experiment}/{folder}/graphs.json" for folder in folders[-1:]]


def graph_folders(inference):
    """Folders of graphs in an experiment's: the last is run by its backend, and made of the first."""
    if inference["backend"] == "torch":
        return []
    return ["graphs", "quantize"] if inference["precision"] == "int8" else ["graphs"]


def graph_files(folders):
    """Files of graphs in an experiment's folder."""
    return [f"{folder}/{name}" for folder in folders for name in ("graphs.json", "parts")]


def exported_graphs(wildcards):
    """The graphs of an export, as `graphs`; those of torch in fp32 are made by the export."""
    own = experiment(wildcards)["inference"]
    if own["backend"] == "torch" and own["precision"] != "fp32":
        sys.exit(
            f"error: config: experiments.{wildcards.experiment}.inference: an export is not run by"
            f" torch, and its policy is one for {own['precision']} in torch; set backend to"
            " openvino, or precision to fp32"
        )
    return graphs(wildcards)


def run_by(wildcards):
    """Backend and precision: records and all that follows from them are made by these."""
    own = experiment(wildcards)["inference"]
    return [own["backend"], own["precision"]]


def inference(wildcards, input):
    """Settings of a pass; of these only `run_by` changes the records."""
    return experiment(wildcards)["inference"]
