"""The samples that the command line names, in the form that it names them in."""

from __future__ import annotations

import argparse
from typing import Any

from early_exit.cli.images import STANDARD_INPUT, Reader, find
from early_exit.cli.samples import Samples, from_arrays, from_files, from_lines
from early_exit.datasets.new import NewSamples, new_samples
from early_exit.errors import InputError
from early_exit.io.names import shown

CHANNELS = (1, 3)


def chosen_inputs(
    manifest: dict[str, Any], options: argparse.Namespace, where: str
) -> Reader | Samples:
    """What reads the samples of the command line.

    Parameters
    ----------
    manifest
        Of the data set that the policy was chosen for, which says what a sample is.
    where
        Path of the manifest, for messages.

    Raises
    ------
    InputError
        If the data set does not take samples in that form; the message has those that it takes.
    """
    forms = [name for name in ("npz", "jsonl", "text") if getattr(options, name)]
    if len(forms) > 1:
        raise InputError(f"--{forms[0]} and --{forms[1]}: one form at a time")
    new = new_samples(manifest, options.trust_code, where)
    images = manifest.get("shape") is not None
    as_images = images and new.prepare is None and new.read is None
    if options.max_pixels and not (as_images and not forms):
        raise InputError("--max-pixels: is for image files", "leave it out")
    form = forms[0] if forms else _form(new, options, as_images)
    _check(form, new, options, manifest, as_images)
    size = options.batch_size
    if form == "images":
        return Reader(manifest["shape"], find(options.inputs), size, options.max_pixels)
    if form == "npz":
        return from_arrays(options.npz, new, size, images)
    if form == "files":
        return from_files(options.inputs, new, size)
    return from_lines(options.inputs or [STANDARD_INPUT], new, size, form == "jsonl")


def _form(new: NewSamples, options: argparse.Namespace, as_images: bool) -> str:
    """The form of samples without an option that names it."""
    if as_images:
        return "images"
    named = bool(options.inputs) and options.inputs != [STANDARD_INPUT]
    if new.read and (named or not new.text):
        return "files"
    return "text" if new.text else "none"


def _check(
    form: str, new: NewSamples, options: argparse.Namespace, manifest: dict[str, Any], images: bool
) -> None:
    """Refuse a form that the data set does not take, and one without samples."""
    data = f"the data set {shown(str(manifest.get('dataset')))}"
    if form == "text" and new.prepare is None:
        raise InputError(f"--text: {data} prepares no text", _forms(new, images))
    if form == "jsonl" and images:
        raise InputError(f"--jsonl: {data} has images, and prepares nothing", _forms(new, images))
    if form == "none":
        raise InputError(f"{data} reads no files, and prepares no text", _forms(new, images))
    if form in ("images", "files") and not options.inputs:
        raise InputError("no samples are named", _forms(new, images))
    if form == "npz" and options.inputs:
        raise InputError("--npz: has the samples, so no others can be named", "leave them out")
    if form == "images" and manifest["shape"][0] not in CHANNELS:
        raise InputError(
            f"{data} has images of {manifest['shape'][0]} channels, which no image file has",
            "give them by --npz, as the array images",
        )


def _forms(new: NewSamples, images: bool) -> str:
    """The forms that a data set takes, as a remedy."""
    forms = ["paths of image files"] * images + ["paths of files"] * bool(new.read)
    forms += ["--text"] * bool(new.prepare) + ["--jsonl"] * (not images) + ["--npz FILE"]
    return f"give {', '.join(forms[:-1])} or {forms[-1]}"
