"""Step explorer: write the page in which thresholds are set and their effect is seen."""

from dataclasses import replace

from early_exit.explorer.page import Content, kept, write_page
from early_exit.explorer.policies import offered
from early_exit.explorer.policy_file import described_text
from early_exit.explorer.thumbnails import chosen_rows, sprite
from early_exit.policy.operating_point import OperatingPoint
from early_exit.policy.samples import halves
from job.record_inputs import RecordInputs
from job.run import run_job


def main(snakemake):
    inputs, params = RecordInputs(snakemake), snakemake.params
    criteria, costs, manifest = inputs.criteria(), inputs.costs(), inputs.manifest
    chosen, summary = inputs.json("policy", ("policy", "why")), inputs.json("summary", ("samples",))
    names = {"calibration": "records", "test": "test"}
    splits = {split: inputs.records(name, criteria=criteria) for split, name in names.items()}
    # Positions in the split, for the thumbnails.
    rows = None
    if any(criterion.fitted for criterion in criteria):
        # Their parameters were fitted on the other half, on which they look better than they are.
        rows = halves(len(splits["calibration"]))[1]
        splits["calibration"] = splits["calibration"].select(rows)
    tables = inputs.tables("points", OperatingPoint.COLUMNS)
    if inputs.files.get("frontier"):
        tables.append(inputs.table("frontier", OperatingPoint.COLUMNS))
    content = Content(
        snakemake.wildcards.experiment,
        splits,
        criteria,
        costs,
        manifest.get("cost_unit", "macs"),
        offered(tables, criteria, inputs.policy()),
        manifest["class_names"],
        facts(summary, rows is not None),
        chosen["why"],
        [*filter(None, [summary["doubt"]]), *summary.get("remarks", [])],
        folder=params.folder,
    )
    shown = kept(splits, criteria)["calibration"]
    content = replace(
        content,
        policy_text=described_text(
            splits["calibration"].select(shown),
            criteria[0],
            costs,
            inputs.json("machine"),
            summary["network"],
            manifest,
            inputs.provenance("records"),
            costs.weighed_in(params.cost),
        ),
        thumbnails=thumbnails(params, manifest, splits["calibration"].select(shown), shown, rows),
    )
    write_page(snakemake.output.page, content)


def facts(summary, half):
    """Short texts below the title."""
    found = [f"{summary['network']} on {summary['dataset']}"] if summary["network"] else []
    found.append(f"{summary['exits']} exits")
    if summary["classes"]:
        found.append(f"{summary['classes']} classes")
    sizes = summary["samples"]
    found.append(f"{sizes['calibration']:,} calibration and {sizes['test']:,} test samples")
    if half:
        found.append("half of the calibration split: the other fitted the criteria's parameters")
    return found


def thumbnails(params, manifest, records, shown, rows):
    """Thumbnails of calibration samples; none without images."""
    if not params.get("dataset") or not manifest.get("shape"):
        return {}
    # Only here: importing torch takes seconds.
    import torch

    from early_exit.datasets.load import load_split

    chosen = chosen_rows(records)
    positions = shown[chosen] if rows is None else rows[shown[chosen]]
    data = load_split(params.data_dir, "calibration", params.dataset)
    images = data.inputs[torch.from_numpy(positions)]
    return sprite(images.cpu().numpy()) | {"rows": chosen.tolist()}


if __name__ == "__main__":
    run_job(main, snakemake)  # noqa: F821
