"""Runner of an exported network under its policy; needs numpy, onnxruntime (or openvino) and, for
image files, pillow.

    runner = EarlyExitRunner("export")
    prediction, exits, uncertainty = runner.run(images)  # uint8, (N, channels, height, width)
    prediction, exits, uncertainty = runner.run({"tokens": tokens, "mask": mask})  # other inputs

    python runner.py IMAGE_OR_FOLDER...
    python runner.py --npz FILE

Samples that exit are removed from the batch, and later stages are not computed for them. A head at
which no sample can exit is not run.
"""

import argparse
import functools
import hashlib
import importlib
import importlib.util
import json
import os
import sys
import threading
import time
from pathlib import Path, PurePosixPath

import numpy as np


def _softmax(logits):
    # Infinite logits give NaN, which is checked where an image exits.
    with np.errstate(invalid="ignore"):
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)


def entropy(logits):
    """Entropy of the class probabilities, in nats, shape (N,)."""
    p = _softmax(logits)
    return -(p * np.log(np.where(p > 0, p, 1))).sum(axis=1)


def max_probability(logits):
    """One minus the largest class probability, shape (N,)."""
    return 1 - _softmax(logits).max(axis=1)


def margin(logits):
    """One minus the gap between the two largest class probabilities, shape (N,)."""
    ordered = np.partition(_softmax(logits), -2, axis=1)
    return 1 - (ordered[:, -1] - ordered[:, -2])


# The measure of a confidence that the heads return beside their logits.
CONFIDENCE = "confidence"
MEASURES = {"entropy": entropy, "max_probability": max_probability, "margin": margin}
# The other exit criteria, each a module in the folder criteria.
CRITERIA = "criteria"
# The format of exports that this runner can run.
FORMAT = 1
# By exit rule: the comparison, and the thresholds that JSON has no numbers for.
MET = {"below": np.less, "above": np.greater}
WORDS = {
    "below": {"never": -np.inf, "always": np.inf},
    "above": {"never": np.inf, "always": -np.inf},
}
# Operators of OpenVINO that may change places with a max-pooling, or never do.
AFTER_POOLING = {
    *("Relu", "FakeQuantize", "Result"),
    *("Convolution", "GroupConvolution", "MaxPool", "AvgPool"),
}


class ExportError(Exception):
    """The folder is no export, or one of its files is damaged; the message is one line."""


class ImageError(Exception):
    """An image that cannot be read; the message is one line, without the image's name."""


class EarlyExitRunner:
    """Runs the network and the policy in ``folder``, its files checked against their checksums.

    ``threads`` is the number of threads that the runtime uses for an operation (0: all).
    ``backend`` is ``onnxruntime`` or ``openvino``; by default that which the policy was found with.
    """

    def __init__(self, folder, threads=0, backend=None):
        folder = Path(folder)
        self.manifest = _read_json(folder / "manifest.json", "files")
        if self.manifest.get("format") != FORMAT:
            raise ExportError(
                f"{folder / 'manifest.json'}: format {self.manifest.get('format')}, but this runner"
                f" reads {FORMAT}; use the runner.py of that export"
            )
        for name in self.manifest["files"]:
            _listed(folder, self.manifest, name)
        _listed(folder, self.manifest, "policy.json")
        policy = _read_json(folder / "policy.json", "policy")["policy"]
        rule = policy["exit_rule"]
        self.met = MET[rule]
        self.thresholds = [WORDS[rule].get(t, t) for t in policy["thresholds"]]
        exits = len(self.thresholds) + 1
        self.temperatures = policy["temperatures"] or [1.0] * exits
        self.step = self._step_of(folder, policy, exits)
        given = self.manifest["input"]
        # Name, type and shape of each array, where the inputs are no images.
        self.arrays = given.get("arrays")
        self.shape = None if self.arrays else tuple(given["shape"])
        self.class_names = self.manifest["class_names"]
        self.normalisation = None
        if given.get("mean"):
            both = (given[name] for name in ("mean", "std"))
            self.normalisation = [np.float32(values).reshape(-1, 1, 1) for values in both]
        self.decides = [k == exits - 1 or self._can_exit(rule, k) for k in range(exits)]
        if self.uses_earlier and any(self.decides[:-1]):
            # The exits passed are looked at.
            self.decides = [True] * exits
        self.graphs = self.manifest["graphs"]
        self.shared = self.graphs.get("shared") or [[]] * exits
        # Heads of a cascade take the logits of those before, which always run then.
        self.cascade = self.graphs.get("earlier") or [False] * exits
        self.needed = max((k for k, takes in enumerate(self.cascade) if takes), default=0)
        runs = [decides or k < self.needed for k, decides in enumerate(self.decides)]
        self.backend, self.precision = self._run_by(backend)
        try:
            runtime = SESSIONS[self.backend](threads, self.precision)
        except ImportError as error:
            raise ExportError(
                f"{self.backend}: not installed; pip install {self.backend}"
            ) from error
        self._load_graphs(folder, runs, runtime)

    def _run_by(self, backend):
        """The backend, checked to have the precision that the policy was found for; and that."""
        precision = self.manifest.get("precision", "fp32")
        backend = backend or self.manifest.get("backend", "onnxruntime")
        if backend not in SESSIONS:
            raise ExportError(f"backend: {backend}; it must be {' or '.join(SESSIONS)}")
        if precision == "bf16" and backend != "openvino":
            raise ExportError(
                f"backend: {backend} has no bf16, which the policy is for; use openvino"
            )
        return backend, precision

    def _step_of(self, folder, policy, exits):
        """Function of logits (N, C), exit (from 0) and memory: uncertainty, prediction, memory."""
        name, parameters = policy["measure"], policy.get("parameters", {})
        self.learned = name == CONFIDENCE
        if self.learned:
            self.uses_earlier = False
            return None
        if name in MEASURES:
            self.uses_earlier = False
            return lambda logits, k, memory: (MEASURES[name](logits), None, ())
        for file in self.manifest["files"]:
            if file.startswith(f"{CRITERIA}/"):
                _listed(folder, self.manifest, file)
        criterion = _criterion(folder / CRITERIA, name)
        self.uses_earlier = getattr(criterion, "EARLIER", False)
        if hasattr(criterion, "uncertainty"):
            return lambda logits, k, memory: (criterion.uncertainty(logits), None, ())

        def step(logits, k, memory):
            if k == exits - 1:
                return margin(logits), None, ()
            return criterion.step(logits, memory, k, parameters)

        return step

    def _load_graphs(self, folder, runs, runtime):
        """Load the graphs of all stages, and of the heads that run (a bool for each exit)."""
        stages, heads = (self.graphs[part] for part in ("stages", "heads"))
        if not len(stages) == len(heads) == len(self.temperatures) == len(runs):
            raise ExportError(
                f"{folder / 'manifest.json'}: {len(stages)} stages and {len(heads)} heads, and a"
                f" policy for {len(runs)} exits; export it again"
            )

        def session(name):
            return _session(folder / name, _listed(folder, self.manifest, name), runtime)

        self.stages = [session(name) for name in stages]
        self.heads = [session(n) if run else None for run, n in zip(runs, heads, strict=True)]

    def _can_exit(self, rule, k):
        return self.thresholds[k] != WORDS[rule]["never"]

    def run(self, inputs, batch_size=128):
        """Class, exit (from 0) and uncertainty there, arrays (N,) in the order of the inputs.

        Images are uint8, (N, channels, height, width); other inputs an array, or a dictionary of
        arrays by name, or a tuple, as the manifest has them. N may be 0. Raises ``ValueError`` for
        other input, and :class:`ExportError` if the logits with which a sample exits are not
        finite.
        """
        arrays = self.checked(inputs)
        samples = len(arrays[0])
        if batch_size < 1:
            raise ValueError(f"a batch has at least one sample, not {batch_size}")
        prediction = np.zeros(samples, np.int64)
        exits = np.zeros(samples, np.int64)
        uncertainty = np.zeros(samples, np.float32)
        for start in range(0, samples, batch_size):
            indices = np.arange(start, min(start + batch_size, samples))
            features, memory, earlier = self._scaled([a[indices] for a in arrays]), (), []
            for k, (stage, head) in enumerate(zip(self.stages, self.heads, strict=True)):
                features = stage(features)
                if head is None:
                    continue
                logits, *confidence = head([*features, *(earlier if self.cascade[k] else ())])
                if logits.shape[1] == 1:
                    # One logit of a binary classifier: that of the class 1.
                    logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
                if k < self.needed:
                    earlier.append(logits)
                if not self.decides[k]:
                    continue
                scaled = logits / np.float32(self.temperatures[k])
                if self.learned:
                    unsure, own = 1 - _confidence(logits, confidence), None
                else:
                    unsure, own, memory = self.step(scaled, k, memory)
                classes = logits.argmax(axis=1) if own is None else own
                last = k == len(self.thresholds)
                exiting = np.full(len(indices), True) if last else self._exiting(unsure, k)
                exited = indices[exiting]
                prediction[exited] = classes[exiting]
                exits[exited], uncertainty[exited] = k, unsure[exiting]
                if not np.isfinite(unsure[exiting]).all():
                    what = "confidence" if self.learned else "logits"
                    raise ExportError(
                        f"exit {k + 1}: the {what} of a sample are NaN or infinite; do not use"
                        " this export"
                    )
                indices = indices[~exiting]
                if not len(indices):
                    break
                if len(exited):
                    features = [
                        kept if position in self.shared[k] else kept[~exiting]
                        for position, kept in enumerate(features)
                    ]
                    earlier = [kept[~exiting] for kept in earlier]
                memory = tuple(kept[~exiting] for kept in memory)
        return prediction, exits, uncertainty

    def checked(self, inputs):
        """The arrays of an input, in the manifest's order and in the graphs' types."""
        if self.arrays is None:
            images = np.asarray(inputs)
            if images.dtype != np.uint8 or images.shape[1:] != self.shape:
                raise ValueError(f"images must be uint8 (N, {', '.join(map(str, self.shape))})")
            return [images]
        names = [own["name"] for own in self.arrays]
        if isinstance(inputs, dict):
            given = _flattened(inputs)
        elif isinstance(inputs, tuple | list):
            given = _flattened(dict(enumerate(inputs)))
        else:
            given = {names[0]: inputs}
        if sorted(given) != sorted(names):
            raise ValueError(f"inputs are {', '.join(names)}, not {', '.join(given)}")
        arrays = [_array(given[own["name"]], own) for own in self.arrays]
        if len({len(array) for array in arrays}) > 1:
            raise ValueError("the arrays of an input have as many rows each")
        return arrays

    def _scaled(self, arrays):
        if self.arrays is not None:
            return arrays
        scaled = arrays[0].astype(np.float32) / np.float32(255)
        if self.normalisation:
            mean, std = self.normalisation
            scaled = (scaled - mean) / std
        return [scaled]

    def _exiting(self, unsure, k):
        # In double precision, like the thresholds: 0.7 is another number in single precision.
        return self.met(unsure.astype(np.float64), self.thresholds[k])

    def read(self, file, max_pixels=None):
        """An image file, or an open one, as uint8 (channels, height, width) for the network.

        It is rotated by its EXIF orientation, cropped at the centre and resized. Raises ImageError
        if it cannot be read, or has more than ``max_pixels`` (by default the limit of images.py).
        """
        if self.shape is None:
            raise ImageError("this network takes no images")
        images = _images()
        try:
            return images.read_image(file, self.shape, max_pixels or images.MAX_PIXELS)
        except images.ImageError as error:
            raise ImageError(str(error)) from error


def _confidence(logits, confidence):
    """What the head returned, shape (N,), or its largest probability."""
    return confidence[0].reshape(-1) if confidence else _softmax(logits).max(axis=1)


def _flattened(inputs, prefix=""):
    """Arrays of a nested input by their names, joined by dots."""
    found = {}
    for key, one in inputs.items():
        if isinstance(one, tuple | list) and any(np.ndim(part) for part in one):
            one = dict(enumerate(one))
        name = f"{prefix}{key}"
        found |= _flattened(one, f"{name}.") if isinstance(one, dict) else {name: one}
    return found


def _array(values, expected):
    """An array as a graph takes it; another type must not lose anything."""
    array, dtype = np.asarray(values), np.dtype(expected["dtype"])
    shape = tuple(expected["shape"])
    if array.ndim < 1 or array.shape[1:] != shape or not _fits(array, dtype):
        raise ValueError(
            f"{expected['name']} must be {dtype} ({', '.join(map(str, ('N', *shape)))}), not"
            f" {array.dtype} {array.shape}"
        )
    return np.ascontiguousarray(array.astype(dtype))


def _fits(array, dtype):
    same_kind = array.dtype.kind in ("iu" if dtype.kind in "iu" else dtype.kind)
    return same_kind and (dtype.kind not in "iu" or np.array_equal(array.astype(dtype), array))


@functools.cache
def _images():
    """The module images.py in the folder of this file."""
    path = Path(__file__).with_name("images.py")
    spec = importlib.util.spec_from_file_location("early_exit_images", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _criterion(folder, name):
    """The module of an exit criterion in the export's folder of them."""
    package = "early_exit_criteria"
    if package not in sys.modules:
        where = [str(folder)]
        spec = importlib.util.spec_from_file_location(
            package, folder / "__init__.py", submodule_search_locations=where
        )
        sys.modules[package] = importlib.util.module_from_spec(spec)
    try:
        return importlib.import_module(f"{package}.{name}")
    except ModuleNotFoundError as error:
        raise ExportError(f"{folder}: has no criterion {name}; export it again") from error


def _read(path):
    try:
        return path.read_bytes()
    except OSError as error:
        raise ExportError(f"{path}: {error.strerror}; export it again") from error


def _read_json(path, key):
    """Content of a JSON file of the export, checked against its checksum."""
    try:
        content = json.loads(_read(path))
        checksum = content.pop("checksum")
        text = f"{path.name}\n{json.dumps(content, sort_keys=True)}"
        if checksum != hashlib.sha256(text.encode()).hexdigest() or key not in content:
            raise ValueError
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ExportError(f"{path}: damaged, or another file; export it again") from error
    return content


def _listed(folder, manifest, name):
    """Bytes of a file that the export's manifest lists, checked against the checksum there.

    The file must be in the folder itself, so that a manipulated manifest reads no other files.
    """
    path, parts = folder / name, PurePosixPath(name).parts
    if name not in manifest["files"]:
        raise ExportError(f"{path}: the manifest lists no such file; export it again")
    if PurePosixPath(name).is_absolute() or "\\" in name or ":" in name or ".." in parts:
        raise ExportError(f"{path}: not in the folder of the export; export it again")
    for level in range(1, len(parts) + 1):
        if folder.joinpath(*parts[:level]).is_symlink():
            raise ExportError(f"{path}: a link; put the file itself there")
    content = _read(path)
    if hashlib.sha256(content).hexdigest() != manifest["files"][name]:
        raise ExportError(f"{path}: damaged, or another file; export it again")
    return content


def _under_onnxruntime(threads, precision):
    """The runtime in words, and what loads a graph: the names of its inputs, and what runs it."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Each graph has its own threads, which wait in a loop between operators and sleep after a call.
    options.add_session_config_entry("session.intra_op.allow_spinning", "1")
    options.add_session_config_entry("session.force_spinning_stop", "1")
    # All weights are in the graph's file; external files, which nothing checks, are not read.
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", os.devnull
    )

    def load(graph):
        session = onnxruntime.InferenceSession(graph, options, ["CPUExecutionProvider"])
        names = [one.name for one in session.get_inputs()]
        return names, lambda given: session.run(None, given)

    return f"onnxruntime {onnxruntime.__version__}", load


def _under_openvino(threads, precision):
    """As :func:`_under_onnxruntime`."""
    import openvino

    core, local = openvino.Core(), threading.local()
    hint = "bf16" if precision == "bf16" else "f32"
    settings = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}
    # Threads bound to cores wait for whatever else runs there.
    settings |= {"ENABLE_CPU_PINNING": False}
    settings |= {"INFERENCE_NUM_THREADS": threads} if threads else {}

    def load(graph):
        model = _pooled_first(core.read_model(graph))
        any_size = core.compile_model(model, "CPU", settings)
        names = [one.get_any_name() for one in any_size.inputs]
        shapes = [one.get_partial_shape() for one in any_size.inputs]
        batched = [k for k, shape in enumerate(shapes) if len(shape) and shape[0].is_dynamic]
        of_one = any_size
        if batched:
            # Compiled for batches of one, too: these are a third faster so.
            for k in batched:
                shapes[k][0] = 1
            model.reshape(dict(enumerate(shapes)))
            of_one = core.compile_model(model, "CPU", settings)

        def run(given):
            single = batched and len(given[names[batched[0]]]) == 1
            compiled = of_one if single else any_size
            # A request runs one input at a time: each thread has its own.
            requests = vars(local).setdefault("requests", {})
            if compiled not in requests:
                requests[compiled] = compiled.create_infer_request()
            found = requests[compiled].infer(given, share_inputs=True)
            return [found[number] for number in range(len(compiled.outputs))]

        return names, run

    return f"openvino {openvino.__version__}", load


def _pooled_first(model):
    """The model, with what it computes of pooled numbers after the pooling.

    OpenVINO lets a convolution compute what follows the max-pooling of its output, before the
    pooling; GELU and others would be wrong. A minimum with the largest number keeps them apart.
    """
    import openvino
    from openvino import opset13

    for node in model.get_ops():
        if isinstance(node, openvino.op.if_op):
            _pooled_first(node.get_then_body())
            _pooled_first(node.get_else_body())
        if (
            node.get_type_name() != "MaxPool"
            or node.get_output_element_type(0) != openvino.Type.f32
        ):
            continue
        takers = node.output(0).get_target_inputs()
        if all(one.get_node().get_type_name() in AFTER_POOLING for one in takers):
            continue
        largest = opset13.constant(np.float32(np.finfo(np.float32).max))
        own = opset13.minimum(node.output(0), largest).output(0)
        for one in takers:
            one.replace_source_output(own)
    return model


SESSIONS = {"onnxruntime": _under_onnxruntime, "openvino": _under_openvino}


def _session(path, graph, runtime):
    """A graph as a function from a list of arrays to a list of arrays.

    ``graph`` are the bytes that were checked; ``path`` is their name.
    """
    version, load = runtime
    try:
        names, run = load(graph)
    except Exception as error:  # each runtime has its own types
        reason = " ".join(str(error).split())[:300]
        raise ExportError(
            f"{path}: {version} cannot load it ({reason}); install the versions that"
            " requirements.txt names, or export it again"
        ) from error
    if names == ["input"]:
        return lambda arrays: run({"input": arrays[0]})
    # A graph lacks the inputs that it does not use; their names end with their numbers from 1.
    numbers = [int(name.rpartition("_")[2]) - 1 for name in names]
    return lambda arrays: run(
        {name: arrays[number] for name, number in zip(names, numbers, strict=True)}
    )


def _shown(name):
    """A name on one line, with non-printable characters escaped."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in name)


# Of the files in a folder, those that are read as images.
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
# Exit statuses; 1 is Python's own, for an uncaught exception.
FINE, NOTHING_DONE, SOME_BAD = 0, 2, 4


def main(files, backend=None):
    """Classify image files and those in folders, printing a line each; returns the exit status."""
    runner, status, times = EarlyExitRunner(Path(__file__).parent, backend=backend), FINE, []
    if runner.shape is not None:
        # The first call takes longer than all others.
        runner.run(np.zeros((1, *runner.shape), np.uint8))
    for file in _files(files):
        try:
            image = runner.read(file)
        except ImageError as error:
            print(f"{_shown(file)}: no image that can be read ({error})", file=sys.stderr)
            status = SOME_BAD
            continue
        start = time.perf_counter()
        (prediction,), (taken,), (unsure,) = runner.run(image[None])
        times.append(1e3 * (time.perf_counter() - start))
        name = runner.class_names[prediction]
        print(f"{_shown(file)}\t{name}\texit {taken + 1}\t{unsure:.4g}")
    if times:
        half, most = np.percentile(times, (50, 95))
        print(
            f"{len(times)} images, one at a time, without reading them: p50 {half:.3f} ms,"
            f" p95 {most:.3f} ms ({runner.backend}, {runner.precision})",
            file=sys.stderr,
        )
    return status


def _files(given):
    """The files, and in the place of a folder those with an image's suffix in it, in order."""
    for one in map(str, given):
        if not Path(one).is_dir():
            yield one
            continue
        for path in sorted(Path(one).rglob("*")):
            if path.suffix.lower() in SUFFIXES and path.is_file():
                yield str(path)


def classify(file, backend=None):
    """Classify the rows of arrays in a NumPy file, printing a line each; the exit status."""
    runner = EarlyExitRunner(Path(__file__).parent, backend=backend)
    try:
        with np.load(file, allow_pickle=False) as arrays:
            found = runner.run({name: arrays[name] for name in arrays.files})
    except (OSError, ValueError, AttributeError) as error:
        print(f"{_shown(file)}: no inputs of this network ({error})", file=sys.stderr)
        return NOTHING_DONE
    for row, (prediction, taken, unsure) in enumerate(zip(*found, strict=True)):
        print(f"{row}\t{runner.class_names[prediction]}\texit {taken + 1}\t{unsure:.4g}")
    return FINE


def _arguments():
    parser = argparse.ArgumentParser(
        description="Classify samples with this network and its policy; a line for each: file or"
        " row, class, exit, uncertainty. Times, p50 and p95, follow on stderr.",
        epilog="exit status: 0 all fine, 2 nothing was done, 4 some images could not be read",
    )
    parser.add_argument("files", nargs="*", metavar="IMAGE_OR_FOLDER", help="image files, folders")
    parser.add_argument("--npz", metavar="FILE", help="a NumPy file of arrays, for other inputs")
    parser.add_argument("--backend", choices=list(SESSIONS), help="by default the policy's own")
    given = parser.parse_args()
    if bool(given.files) == bool(given.npz):
        parser.error("give image files or folders, or --npz FILE")
    return given


if __name__ == "__main__":
    asked = _arguments()
    try:
        if asked.npz:
            sys.exit(classify(asked.npz, asked.backend))
        sys.exit(main(asked.files, asked.backend))
    except ExportError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(NOTHING_DONE)
