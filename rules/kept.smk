# The files that a target requests: all files kept on the way to it, not only the last ones.
#
# Snakemake makes a missing file again if a target requests it, or if a job that has to run reads
# it, but not if everything made from it still exists. After an interrupted rerun of an intermediate
# step it would find nothing to do, and that step's files would stay missing.

from types import SimpleNamespace

from early_exit.io.files import read_json

# The direct predecessors of each step; `files_of` has the files that a step keeps.
BEFORE = {
    "network": ["data"],
    # Graphs of the experiment's own backend and precision.
    "own_graphs": ["network"],
    "calibration_records": ["data", "own_graphs"],
    "test_records": ["data", "own_graphs"],
    "exits": ["calibration_records", "test_records"],
    "cost": ["data", "own_graphs"],
    "temperature": ["calibration_records"],
    "scaled": ["temperature"],
    "criteria": ["calibration_records", "scaled"],
    "sweep_test": ["test_records", "cost", "criteria"],
    "sweep_calibration": ["calibration_records", "cost", "criteria"],
    "sweep": ["sweep_test", "sweep_calibration"],
    "calibrate": ["calibration_records", "cost", "criteria"],
    "select": ["calibrate"],
    "evaluate": ["select", "test_records"],
    "summarise": ["evaluate"],
    "figures": ["sweep_test", "summarise"],
    "explore": ["summarise", "test_records", "frontier_policies"],
    "frontier_policies": ["calibration_records", "cost", "criteria"],
    "frontier": ["frontier_policies", "test_records", "summarise"],
    "reliability": ["temperature", "test_records"],
    "reproduce": ["exits"],
    "all": ["summarise", "figures", "explore", "frontier", "reliability", "reproduce"],
    # Not part of a plain run.
    "study": ["exits", "cost"],
    "scalability": ["calibration_records", "cost", "criteria"],
    "speed": ["select", "test_records"],
    "latency": ["evaluate", "criteria"],
    "drift": ["select", "test_records"],
    "baselines": ["exits", "cost", "criteria"],
    "ship": ["exits"],
    "export": ["select", "test_records"],
    "quantize": ["network"],
    "runtimes": ["select", "quantize"],
}
# Optional steps, with the setting that enables each.
ENABLED_BY = {
    "frontier_policies": "frontier/methods",
    "frontier": "frontier/methods",
    "reliability": "reliability",
    "reproduce": "reproduction",
    "scaled": "temperature_scaling",
    "baselines": "baselines/exits",
}
# Files that other experiments may name in their settings, and the steps that keep them.
READ_BY_OTHERS = {
    "network/network.safetensors": "network",
    "exits/calibration.parquet": "calibration_records",
    "exits/test.parquet": "test_records",
    "cost/cost.csv": "cost",
}


def kept(step):
    """Input of a target: files of a step, and of all before it, for each experiment in `run`."""

    def files(wildcards):
        found = {}
        for name in CONFIGURATION.run:
            collect(name, step, found)
        requested = [file for own in found.values() for file in own]
        for file in requested:
            refuse_in_the_way(Path(PREFIX.replace_prefix(file)))
        return requested

    return files


def refuse_in_the_way(path):
    """Exit with an error if a folder or pipe blocks the path of a file, or a file that of a folder."""
    for folder in reversed(path.parents):
        if folder.exists() and not folder.is_dir():
            sys.exit(f"error: {folder}: a file is in the way of the folder; move it away")
    if path.exists() and not path.is_file() and path.suffix:
        what = "folder" if path.is_dir() else "pipe or device"
        sys.exit(f"error: {path}: a {what} is in the way of the file; move it away")


def collect(name, step, found):
    """Add the files of an experiment's step, and of all steps before it, to `found`."""
    if (name, step) in found or not has_step(name, step):
        return
    found[name, step] = [f"results/{name}/{file}" for file in files_of(name, step)]
    before = [(name, earlier) for earlier in BEFORE.get(step, [])]
    before += made_by_others(name, step)
    if step == "replicates":
        seeds = range(lookup_setting(name, "replicates"))
        before += [(f"{name}@{seed}", "summarise") for seed in seeds]
    for other, earlier in before:
        collect(other, earlier, found)


def has_step(name, step):
    """Whether an experiment has the step."""
    if step in ("network", "own_graphs") and name in RECORDS:
        return False
    if step in ("temperature", "reliability") and not has_logits(name):
        return False
    return step not in ENABLED_BY or bool(lookup_setting(name, ENABLED_BY[step]))


def made_by_others(name, step):
    """Other experiments, with their steps, whose files a step of this experiment reads."""
    if step == "data" and name in RECORDS:
        settings = ["records/calibration", "records/test", "records/costs"]
    elif step == "network" and re.fullmatch(IMPORTED, name):
        settings = ["network/checkpoint"]
    elif step in ("network", "baselines"):
        settings = ["training/start_from", "training/teacher"]
    else:
        return []
    given = [lookup_setting(name, path) for path in settings]
    given = [str(one.get("file") if isinstance(one, dict) else one) for one in given]
    pattern = rf"results/(?P<name>{WITH_NETWORK})/(?P<file>.+)"
    found = [match for path in given if (match := re.fullmatch(pattern, path))]
    return [
        (match["name"], READ_BY_OTHERS[match["file"]])
        for match in found
        if match["file"] in READ_BY_OTHERS
    ]


def files_of(name, step):
    """Files that a step keeps in an experiment's folder, without those of earlier steps."""
    own = CONFIGURATION.experiment(name)
    trained = bool(re.fullmatch(TRAINED, name))
    cuts = own["baselines"]["exits"]
    files = {
        "data": ["data/manifest.json"],
        "network": ["network/network.safetensors"] + ["network/training.csv"] * trained,
        "own_graphs": graph_files(graph_folders(own["inference"])),
        "quantize": graph_files(["graphs", "quantize"]),
        "calibration_records": ["exits/calibration.parquet"],
        "test_records": ["exits/test.parquet"],
        "cost": ["cost/cost.csv", "cost/cost.json"],
        "temperature": ["temperature/temperatures.json"],
        "criteria": ["criteria/parameters.json"] * has_parameters(name),
        "sweep_test": ["sweep/test.csv", "sweep/test_cutoffs.csv"],
        "sweep_calibration": ["sweep/calibration.csv", "sweep/calibration_cutoffs.csv"],
        "calibrate": [f"calibration/{method}.csv" for method in own["calibration"]["methods"]],
        "select": ["selection/policy.json"],
        "evaluate": [
            *("evaluation/evaluation.json", "evaluation/samples.parquet"),
            *("evaluation/per_exit.csv", "evaluation/per_class.csv"),
            "evaluation/operating_points.csv",
        ],
        "summarise": ["summary.json"],
        "explore": ["explorer.html"],
        "figures": [
            "selection/uncertainty.csv",
            *drawn(*OF_EACH_EXPERIMENT, *["learning_curve"] * trained),
            *drawn(*["samples"] * (name not in RECORDS)),
            *("overview.html", *shown(*TABLES_OF_EACH.values())),
        ],
        "frontier_policies": [
            *(f"frontier/methods/{method}.csv" for method in own["frontier"]["methods"]),
            *("frontier/references.csv", "frontier/policies.csv"),
        ],
        "frontier": [
            "frontier/frontier.csv",
            *(*drawn("frontier", "methods", "attainable"), *shown("frontier")),
        ],
        "reliability": [
            *("reliability/exits.csv", "reliability/bins.csv"),
            *(*drawn("reliability"), *shown("reliability")),
        ],
        "reproduce": ["reproduction.csv", *drawn("reproduction"), *shown("reproduction")],
        "study": [*study_files(name), "study/study.csv", *drawn("study"), *shown("study")],
        "scalability": [
            *("scalability/scalability.csv", *drawn("scalability"), *shown("scalability")),
        ],
        "speed": [
            *("speed/speed.csv", "speed/predicted.csv", "speed/speed.json"),
            *(*drawn("speed"), *shown("speed")),
        ],
        "latency": ["latency/latency.csv", *drawn("latency"), *shown("latency")],
        "runtimes": ["runtimes/runtimes.csv", *drawn("runtimes"), *shown("runtimes")],
        "drift": ["drift/drift.csv", *drawn("drift"), *shown("drift")],
        "baselines": [
            *(f"baselines/network_{cut}.safetensors" for cut in cuts),
            *(f"baselines/training_{cut}.csv" for cut in cuts),
            *("baselines/baselines.csv", *drawn("baselines"), *shown("baselines")),
        ],
        "export": [
            *("export/manifest.json", "export/graphs", "export/policy.json", "export/runner.py"),
            *("export/images.py", "export/criteria", "export/requirements.txt"),
            "export/README.md",
            "export/comparison.json",
        ],
    }
    return files.get(step, [])


def drawn(*figures):
    """Files of the figures, as `draw_figure` makes them."""
    return [f"figures/{figure}.{suffix}" for figure in figures for suffix in ("svg", "png", "txt")]


def shown(*tables):
    """Pages of the tables, as `show_table` makes them."""
    return [f"tables/{table}.html" for table in tables]


def study_files(name):
    """Tables of the study, one for each measure with and without temperatures."""
    tables = studied(SimpleNamespace(experiment=name))
    return [f"study/{Path(table).name}" for table in tables]


def again_without(output, others):
    """Input of a target, without files: makes `output` again if one of `others` is missing.

    It covers files that Snakemake does not check: those in a folder that is an output, and those
    that are no output. `others(name)` returns those of an experiment, made along with `output`.
    """

    def files(wildcards):
        for name in CONFIGURATION.run:
            made = output.format(experiment=name)
            if Path(made).exists() and not all(Path(other).exists() for other in others(name)):
                # As `--forcerun` does; jobs are planned later.
                workflow.dag.forcefiles.add(made)
        return []

    return files


def listed_by_export(name):
    """Files that an export's manifest lists."""
    manifest = Path("results") / name / "export/manifest.json"
    try:
        return [manifest.parent / file for file in read_json(manifest, ["files"])["files"]]
    except InputError:
        # Missing or damaged: the job that reads it reports that.
        return []


def shipped_files(name):
    """Files that an experiment ships."""
    stem = stem_of(CONFIGURATION.experiment(name))
    return [stem + suffix for suffix in (".safetensors", ".csv", ".md", ".json")]
