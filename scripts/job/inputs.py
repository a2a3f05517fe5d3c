"""A job's input files, opened by their kind and checked to share one provenance."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from early_exit.io.files import read_json, read_table, sha256
from early_exit.io.provenance import ORIGIN, REFERENCE, check_same_provenance
from job.run import read_manifest

# A network and its provenance.
Loaded = tuple[Any, dict[str, Any]]


class Inputs:
    """The input files of a job, all made from the same network, data and costs.

    The provenance of each file is read and compared in the constructor; that of a network when it
    is loaded. Results are written with :meth:`provenance`. The kind of a file follows from its
    suffix, JSON or CSV, or from the input's name, ``manifest``;
    :class:`job.record_inputs.RecordInputs` opens records, costs and policies as well.

    Imports of this module count for every step that runs a network: an edit in one runs the network
    again.

    Parameters
    ----------
    snakemake
        Snakemake's job object. If ``params.dataset`` is set, the manifest must be of that data
        set.

    Attributes
    ----------
    files, params
        The job's input and parameters.
    manifest
        Content of the input ``manifest``, if there is one.

    Raises
    ------
    InputError
        If a file is missing, damaged, or of another provenance than the others.
    """

    def __init__(self, snakemake: Any) -> None:
        self.files = snakemake.input
        self.params = getattr(snakemake, "params", {})
        self.manifest: dict[str, Any] = {}
        self._provenance: dict[str, dict[str, Any]] = {}
        for name in self.files.keys():  # noqa: SIM118, not a dictionary
            for path in self._paths(name):
                self._provenance |= {path: self._provenance_of(name, path)}
        self._check()

    def json(self, name: str, keys: tuple[str, ...] = ()) -> dict[str, Any]:
        """Content of a JSON file, which must have ``keys``."""
        return read_json(self.files[name], keys)

    def table(self, name: str, columns: list[str] | None = None) -> Any:
        """A CSV table as a :class:`pandas.DataFrame`, which must have ``columns``."""
        (table,) = self.tables(name, columns)
        return table

    def tables(self, name: str, columns: list[str] | None = None) -> list[Any]:
        """The CSV tables of an input of several files, as :meth:`table`."""
        return [read_table(path, columns or []) for path in self._paths(name)]

    def network(self, load: Callable[..., Loaded]) -> Loaded:
        """The network of the input ``network`` and its provenance, checked against other inputs.

        Parameters
        ----------
        load
            :func:`early_exit.networks.checkpoint.load_network`, passed by the script since
            importing it takes torch.
        """
        path = self.files.network
        network, described = load(path, self.params.trusted)
        self._provenance[path] = {"network": sha256(path), "data": described["data"]}
        self._check()
        return network, described

    def other_networks(
        self, name: str, load: Callable[..., Loaded]
    ) -> Iterator[tuple[str, Loaded]]:
        """Yield each file of an input with its network and provenance; all must share the data."""
        for path in self._paths(name):
            network, described = load(path, self.params.trusted)
            self._check((path, {"data": described["data"]}))
            yield path, (network, described)

    def made_with(self, engine: dict[str, str]) -> None:
        """Note the job's engine in its provenance, and check that records and costs are made by it.

        Parameters
        ----------
        engine
            ``engine``, as provenance notes it; nothing of torch in fp32.
        """
        self._check(("inference", {"engine": engine.get("engine", REFERENCE)}))
        self._provenance["inference"] = engine

    def provenance(self, split_of: str | None = None) -> dict[str, Any]:
        """Provenance to be written with a result: checksums of network, data and costs.

        Parameters
        ----------
        split_of
            Name of the input whose split is added.
        """
        found = {key: own[key] for own in self._provenance.values() for key in ORIGIN if key in own}
        if split_of is not None:
            found["split"] = self._provenance[self._paths(split_of)[0]]["split"]
        keys = ("network", "data", "split", "engine", "costs")
        return {key: found[key] for key in keys if key in found}

    def optional(self, name: str) -> str | None:
        """The file of an input that some experiments lack."""
        return next(iter(self._paths(name)), None) if self.files.get(name) else None

    def _paths(self, name: str) -> list[str]:
        """Files of an input: one, several, or none."""
        paths = self.files[name]
        return [str(path) for path in ([paths] if isinstance(paths, str) else paths)]

    def _provenance_of(self, name: str, path: str) -> dict[str, Any]:
        """Provenance of a file; empty if another method reads it."""
        if name == "manifest":
            self.manifest, (_, described) = read_manifest(path, self.params.get("dataset"))
            return described
        if path.endswith(".json"):
            return read_json(path, ["identity"])["identity"]
        if path.endswith(".csv"):
            return read_table(path, []).attrs["provenance"]
        return {}

    def _check(self, *others: tuple[str, dict[str, Any]]) -> None:
        check_same_provenance(*self._provenance.items(), *others)
