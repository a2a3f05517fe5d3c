"""Runs an exported network under its policy: needs numpy, onnxruntime, and pillow for files.

    runner = EarlyExitRunner("export")
    prediction, exits, uncertainty = runner.run(images)  # uint8, (N, channels, height, width)

    python runner.py PICTURE...

A picture that leaves is not computed any further: it is taken out of the batch. A head at which
nobody can leave is not run.
"""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime


def _softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def entropy(logits):
    """Of the class probabilities, in nats, shape (N,)."""
    p = _softmax(logits)
    return -(p * np.log(np.where(p > 0, p, 1))).sum(axis=1)


def max_probability(logits):
    """One minus the largest class probability, shape (N,)."""
    return 1 - _softmax(logits).max(axis=1)


def margin(logits):
    """One minus the gap between the two largest class probabilities, shape (N,)."""
    ordered = np.sort(_softmax(logits), axis=1)
    return 1 - (ordered[:, -1] - ordered[:, -2])


MEASURES = {"entropy": entropy, "max_probability": max_probability, "margin": margin}
# Whether samples leave, by exit rule; and thresholds that JSON has no numbers for.
LEAVES = {"below": np.less, "above": np.greater}
WORDS = {
    "below": {"never": -np.inf, "always": np.inf},
    "above": {"never": np.inf, "always": -np.inf},
}


class ExportError(Exception):
    """The folder is no export, or one of its files is damaged; the message is one line."""


class EarlyExitRunner:
    """The network and the policy in ``folder``, its files checked against their checksums.

    ``threads`` is how many onnxruntime takes for an operation (by default as many as there are).
    """

    def __init__(self, folder, threads=0):
        folder = Path(folder)
        self.manifest = _read_json(folder / "manifest.json", "files")
        for name, expected in self.manifest["files"].items():
            if hashlib.sha256(_read(folder / name)).hexdigest() != expected:
                raise ExportError(f"{folder / name}: damaged, or another file; export it again")
        policy = _read_json(folder / "policy.json", "policy")["policy"]
        self.measure, rule = MEASURES[policy["measure"]], policy["exit_rule"]
        self.leaves = LEAVES[rule]
        self.thresholds = [WORDS[rule].get(t, t) for t in policy["thresholds"]]
        exits = len(self.thresholds) + 1
        self.temperatures = policy["temperatures"] or [1.0] * exits
        self.shape = tuple(self.manifest["input"]["shape"])
        self.class_names = self.manifest["class_names"]
        self.normalisation = None
        if self.manifest["input"]["mean"]:
            both = (self.manifest["input"][name] for name in ("mean", "std"))
            self.normalisation = [np.float32(values).reshape(-1, 1, 1) for values in both]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # Each graph has threads of its own; those that spin while others work take their time.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        graphs = self.manifest["graphs"]
        self.stages = [_session(folder / name, options) for name in graphs["stages"]]
        self.heads = [
            _session(folder / name, options) if k == exits - 1 or self._can_leave(rule, k) else None
            for k, name in enumerate(graphs["heads"])
        ]

    def _can_leave(self, rule, k):
        return self.thresholds[k] != WORDS[rule]["never"]

    def run(self, images, batch_size=128):
        """Class, exit (from 0) and uncertainty there, arrays (N,) in the order of the pictures.

        Pictures are uint8, (N, channels, height, width); N may be 0.
        """
        images = np.asarray(images)
        if images.dtype != np.uint8 or images.shape[1:] != self.shape:
            raise ValueError(f"pictures must be uint8 (N, {', '.join(map(str, self.shape))})")
        prediction = np.zeros(len(images), np.int64)
        exits = np.zeros(len(images), np.int64)
        uncertainty = np.zeros(len(images), np.float32)
        for start in range(0, len(images), batch_size):
            places = np.arange(start, min(start + batch_size, len(images)))
            features = self._scaled(images[places])
            for k, (stage, head) in enumerate(zip(self.stages, self.heads, strict=True)):
                (features,) = stage.run(None, {"input": features})
                if head is None:
                    continue
                (logits,) = head.run(None, {"input": features})
                unsure = self.measure(logits / np.float32(self.temperatures[k]))
                last = k == len(self.thresholds)
                left = np.full(len(places), True) if last else self._left(unsure, k)
                gone = places[left]
                prediction[gone] = logits[left].argmax(axis=1)
                exits[gone], uncertainty[gone] = k, unsure[left]
                places = places[~left]
                if not len(places):
                    break
                features = features[~left] if len(gone) else features
        return prediction, exits, uncertainty

    def _scaled(self, images):
        scaled = images.astype(np.float32) / np.float32(255)
        if self.normalisation:
            mean, std = self.normalisation
            scaled = (scaled - mean) / std
        return scaled

    def _left(self, unsure, k):
        return self.leaves(unsure, np.float32(self.thresholds[k]))

    def read(self, file):
        """A picture file, or an open one, as the network takes it: uint8 (channels, height, width).

        It is turned as its camera says, cut from the centre and resized.
        """
        from PIL import Image, ImageOps

        channels, height, width = self.shape
        with Image.open(file) as opened:
            picture = ImageOps.exif_transpose(opened).convert({1: "L", 3: "RGB"}[channels])
            picture = ImageOps.fit(picture, (width, height), Image.Resampling.BILINEAR)
        return np.asarray(picture).reshape(height, width, channels).transpose(2, 0, 1)


def _read(path):
    try:
        return path.read_bytes()
    except OSError as error:
        raise ExportError(f"{path}: {error.strerror}; export it again") from error


def _read_json(path, key):
    """What a JSON file of the export says; its seal must fit."""
    try:
        content = json.loads(_read(path))
        seal = content.pop("seal")
        text = f"{path.name}\n{json.dumps(content, sort_keys=True)}"
        if seal != hashlib.sha256(text.encode()).hexdigest() or key not in content:
            raise ValueError
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ExportError(f"{path}: damaged, or another file; export it again") from error
    return content


def _session(path, options):
    return onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])


def main(files):
    """Classify picture files, a line each; the exit status: 1 where one could not be read."""
    runner, bad = EarlyExitRunner(Path(__file__).parent), 0
    for file in files:
        try:
            image = runner.read(file)
        except Exception as error:  # what a damaged file makes a decoder raise is not one type
            print(f"{file}: no picture that can be read ({error})", file=sys.stderr)
            bad = 1
            continue
        (prediction,), (taken,), (unsure,) = runner.run(image[None])
        print(f"{file}\t{runner.class_names[prediction]}\texit {taken + 1}\t{unsure:.4g}")
    return bad


if __name__ == "__main__":
    if not sys.argv[1:]:
        sys.exit("usage: python runner.py PICTURE...")
    try:
        sys.exit(main(sys.argv[1:]))
    except ExportError as error:
        sys.exit(f"error: {error}")
