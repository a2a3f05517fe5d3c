"""Pages of the report: the result of an experiment, and its tables, as HTML.

Every page is one file without scripts. Names of classes and experiments are escaped.
"""

from __future__ import annotations

import base64
from html import escape
from typing import Any

import pandas as pd

from early_exit.analysis.times import doubted
from early_exit.calibration.targets import label
from early_exit.policy.units import cost_words

# The part of the overview that the report opens on.
LANDING = "<!-- landing -->"
STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #1a1a1a; background: #fff;
  max-width: 60rem; margin: 1.5rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 1.8rem; }
.headline { font-size: 1.15rem; }
.doubt { border-left: 4px solid #d55e00; background: #fdf1e8; padding: .5rem .8rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .87rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; text-align: right; white-space: nowrap;
  border-bottom: 1px solid #e3e3e3; }
th { background: #f5f5f5; } th:first-child, td:first-child { text-align: left; }
tr.chosen td { font-weight: bold; }
"""
# Rows of a table that are shown; all are in the file.
MOST_ROWS = 500


def page(title: str, body: str) -> str:
    """A whole page."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def table_html(table: pd.DataFrame, chosen: list[bool] | None = None) -> str:
    """A table as HTML, its cells escaped; rows that are ``chosen`` are bold."""
    head = "".join(f"<th>{escape(str(name))}</th>" for name in table)
    marks = chosen or [False] * len(table)
    rows = []
    for values, mark in zip(table.itertuples(index=False), marks, strict=True):
        cells = "".join(f"<td>{escape(_cell(value))}</td>" for value in values)
        rows.append(f'<tr class="chosen">{cells}</tr>' if mark else f"<tr>{cells}</tr>")
    body = "\n".join(rows)
    return f'<div class="wide"><table><tr>{head}</tr>\n{body}\n</table></div>'


def _cell(value: Any) -> str:
    if value is None or value != value:
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def table_page(title: str, name: str, table: pd.DataFrame, content: bytes) -> str:
    """A page with a table, and a link by which its file, ``content``, is saved as ``name``."""
    data = base64.b64encode(content).decode()
    link = f'<a download="{escape(name)}" href="data:text/csv;base64,{data}">{escape(name)}</a>'
    shown = table.head(MOST_ROWS)
    some = (
        f" The first {MOST_ROWS:,} of {len(table):,} rows are shown."
        if len(shown) < len(table)
        else ""
    )
    body = f"<h1>{escape(title)}</h1>\n<p>The file: {link}.{some}</p>\n{table_html(shown)}"
    return page(title, body)


def overview(
    summary: dict[str, Any], per_exit: pd.DataFrame, points: pd.DataFrame, classes: pd.DataFrame
) -> str:
    """The page of an experiment's result.

    The headline, the chosen thresholds and what was promised are between two :data:`LANDING`
    marks; tables of all policies and all classes follow.
    """
    name, own = summary["experiment"], summary["selected"]
    first = "\n".join(
        [
            f"<h1>{escape(name)}</h1>",
            f'<p class="headline">{escape(headline(summary))}</p>',
            *_warnings(summary),
            "<h2>What was promised</h2>",
            *(f"<p>{escape(line)}</p>" for line in promised(summary)),
            f"<h2>The chosen thresholds, by {escape(own['measure'])}</h2>",
            table_html(thresholds(summary, per_exit)),
        ]
    )
    rest = [
        "<h2>All calibrated policies, on the test split</h2>",
        table_html(*policies(points, summary)),
        "<h2>Classes, on the test split</h2>",
        table_html(by_class(classes)),
    ]
    return page(f"{name}: result", "\n".join([LANDING, first, LANDING, *rest]))


def headline(summary: dict[str, Any]) -> str:
    """The result in two sentences: accuracy, MACs, early exits, then time."""
    own, full = summary["selected"], summary["full_network"]
    low, high = own["accuracy_interval"]
    text = (
        f"{own['accuracy']:.2%} accurate on {summary['samples']['test']:,} test samples (95 %"
        f" interval {low:.2%} to {high:.2%}; the full network {full['accuracy']:.2%})"
    )
    if own["macs"] is not None:
        unit = summary.get("cost_unit", "macs")
        share = own["macs"] / full["macs"]
        text += f" at {cost_words(own['macs'], unit)} a sample, {share:.0%} of the full network's"
    text += f". {1 - own['exit_shares'][-1]:.1%} of the samples exit early."
    kinds = {"measured": "ms_per_sample", "predicted": "ms_per_sample_predicted"}
    known = [kind for kind, key in kinds.items() if own[key] is not None]
    if known:
        ms, whole = own[kinds[known[0]]], full[kinds[known[0]]]
        doubt = ", in doubt" if doubted(summary) else ""
        text += (
            f" Time per sample, {known[0]}{doubt}: {ms:.3f} ms, {whole / ms:.2f} times as fast as"
            f" the full network ({whole:.3f} ms)."
        )
    return text


def _warnings(summary: dict[str, Any]) -> list[str]:
    found = [summary["doubt"]] if summary["doubt"] else []
    found += summary.get("remarks", [])
    return [f'<p class="doubt">In doubt: {escape(text)}</p>' for text in found]


def promised(summary: dict[str, Any]) -> list[str]:
    """Why the policy was chosen, its target, and what its certificate says."""
    own, samples = summary["selected"], summary["samples"]["calibration"]
    if own["target_kind"] is None or own["target_kind"] != own["target_kind"]:
        asked = "No target: the full network."
    else:
        asked = f"Method {own['method']}, asked for: {_asked(own['target_kind'], own['target'])}."
    lines = [f"Chosen on {samples:,} calibration samples: {own['why']}.", asked]
    certificate = own["certificate"]
    if isinstance(certificate, dict):
        words = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in certificate.items())
        lines.append(f"Certificate: {words}.")
    elif certificate:
        lines.append(f"Certificate: {certificate}.")
    else:
        lines.append("It has no certificate: the accuracy on new samples is not guaranteed.")
    if summary["agreement"]:
        different = summary["agreement"]["different"]
        lines.append(f"The run differs from its simulation on {different} samples.")
    return lines


def _asked(kind: str, value: float) -> str:
    words = {
        "accuracy": f"an accuracy of at least {100 * value:g} %",
        "drop": f"at most {100 * value:g} points less than the full network",
    }
    return words.get(kind) or f"at most {label(kind, value)}"


def thresholds(summary: dict[str, Any], per_exit: pd.DataFrame) -> pd.DataFrame:
    """A row for each exit: its threshold, what exits there, and the accuracy of that."""
    rows = per_exit[per_exit.exit.astype(str) != "overall"]
    own = summary["selected"]
    words = [t if isinstance(t, str) else f"{t:.4g}" for t in own["thresholds"]]
    rule = f"exits if {own['exit_rule']}"
    found = {
        "exit": rows.exit.astype(int),
        rule: [*words, "the rest"],
        "samples": rows.exited.astype(int),
        "share (%)": [f"{100 * share:.1f}" for share in rows.exited / rows.exited.sum()],
        "accuracy (%)": [f"{100 * a:.1f}" if a == a else "" for a in rows.accuracy],
    }
    if rows.macs.notna().any():
        unit = summary.get("cost_unit", "macs")
        found["cost of a sample"] = [cost_words(macs, unit) for macs in rows.macs]
    if rows.ms_per_sample.notna().any():
        found["predicted (ms)"] = [f"{ms:.3f}" for ms in rows.ms_per_sample]
    return pd.DataFrame(found)


def policies(points: pd.DataFrame, summary: dict[str, Any]) -> tuple[pd.DataFrame, list[bool]]:
    """The operating points in words, and which of them is chosen."""
    rows = []
    for _, row in points.iterrows():
        met = row.accuracy == row.accuracy
        asked = "" if row.method == "full_network" else _asked(row.target_kind, row.target)
        words = {"method": row.method, "asked for": asked, "measure": row.measure}
        if met:
            words["accuracy (%)"] = f"{100 * row.accuracy:.2f}"
            words["95 % interval"] = (
                f"{100 * row.accuracy_low:.2f} to {100 * row.accuracy_high:.2f}"
            )
            words["on calibration (%)"] = f"{100 * row.calibration_accuracy:.2f}"
            if row.macs == row.macs:
                words["cost"] = cost_words(row.macs, summary.get("cost_unit", "macs"))
            if row.ms_per_sample == row.ms_per_sample:
                words["predicted (ms)"] = f"{row.ms_per_sample:.3f}"
        else:
            words["accuracy (%)"] = "no policy"
        rows.append(words)
    return pd.DataFrame(rows), points.chosen.astype(bool).tolist()


def by_class(classes: pd.DataFrame) -> pd.DataFrame:
    """Accuracy and mean exit by class, in words, the least accurate first."""
    shown = classes[classes.samples > 0].sort_values("accuracy")
    interval = [
        f"{100 * low:.1f} to {100 * high:.1f}"
        for low, high in zip(shown.accuracy_low, shown.accuracy_high, strict=True)
    ]
    return pd.DataFrame(
        {
            "class": shown.class_name.astype(str),
            "samples": shown.samples,
            "accuracy (%)": [f"{100 * a:.1f}" for a in shown.accuracy],
            "95 % interval": interval,
            "full network (%)": [f"{100 * a:.1f}" for a in shown.full_network],
            "mean exit": [f"{a:.2f}" for a in shown.mean_exit],
        }
    ).head(MOST_ROWS)
