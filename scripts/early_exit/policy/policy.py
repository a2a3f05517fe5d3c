"""Exit policy: an exit criterion and one threshold for each exit but the last.

A sample exits at the first exit where the criterion is met; the final exit takes the rest.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from early_exit.errors import InputError, reason_of
from early_exit.io.files import CHECKSUM, read_json, replacing
from early_exit.io.thresholds import ALWAYS, NEVER
from early_exit.policy.criterion import ExitCriterion, ExitRule
from early_exit.records.uncertainty.measures import EXTERNAL, RENAMED, check_parameters, read


@dataclass(frozen=True, repr=False)
class Policy:
    """An exit criterion with the thresholds of exits 1..K-1.

    Attributes
    ----------
    criterion
        Measure, exit rule and temperatures.
    thresholds
        K-1 floats in the unit of the measure. ``"never"`` and ``"always"`` are accepted for the
        infinite ones.

    Raises
    ------
    InputError
        If a threshold is not a number, or the number of temperatures is not K.

    Examples
    --------
    >>> policy = Policy(ExitCriterion(), (0.3, "never"))
    >>> policy
    Policy(ExitCriterion('entropy', 'below'), (0.3, 'never'))
    >>> policy.exits_taken(np.array([[0.1, 0.9, 0.2], [0.5, 0.4, 0.3]])).tolist()
    [0, 2]
    """

    criterion: ExitCriterion
    thresholds: tuple[float, ...]

    def __post_init__(self) -> None:
        try:
            thresholds = tuple(_number(t, self.rule) for t in self.thresholds)
        except (KeyError, TypeError, ValueError):
            thresholds = (math.nan,)
        if any(math.isnan(t) for t in thresholds):
            raise InputError(
                f"policy: a threshold is not a number: {self.thresholds!r}; thresholds must be"
                ' numbers, "never" or "always"'
            )
        object.__setattr__(self, "thresholds", thresholds)
        if self.temperatures is not None and len(self.temperatures) != self.exits:
            raise InputError(
                f"policy: needs a positive temperature for each of {self.exits} exits, not"
                f" {list(self.temperatures)}"
            )
        if self.measure != EXTERNAL:
            check_parameters(self.measure, self.criterion.parameters, self.exits)

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self._words()))
        comma = "," if len(self.thresholds) == 1 else ""
        return f"Policy({self.criterion!r}, ({shown}{comma}))"

    @property
    def measure(self) -> str:
        """Name of the criterion's uncertainty measure."""
        return self.criterion.measure

    @property
    def rule(self) -> ExitRule:
        """The criterion's exit rule."""
        return self.criterion.rule

    @property
    def temperatures(self) -> tuple[float, ...] | None:
        """The criterion's temperatures, one for each exit, or ``None``."""
        return self.criterion.temperatures

    @property
    def exits(self) -> int:
        """K, the number of exits, the final one included."""
        return len(self.thresholds) + 1

    @property
    def full_network(self) -> Policy:
        """The policy with this criterion under which no sample exits early."""
        return full_network(self.criterion, self.exits)

    @property
    def heads_run(self) -> tuple[bool, ...]:
        """Whether the head of each of the K exits runs: not where no sample can exit.

        Under a criterion that looks at the exits before, all run if any sample can exit early.
        """
        runs = [t != self.rule.never for t in self.thresholds]
        if any(runs) and self.criterion.uses_earlier:
            return (True,) * self.exits
        return (*runs, True)

    def exits_taken(self, uncertainty: np.ndarray) -> np.ndarray:
        """Exit of each sample, simulated from recorded uncertainties.

        Parameters
        ----------
        uncertainty
            Shape (N, K). The last column is not used: the final exit takes the remaining samples.

        Returns
        -------
        numpy.ndarray
            Shape (N,), from 0 (exit 1) to K-1.

        Raises
        ------
        InputError
            If the records have another number of exits than the policy.
        """
        if uncertainty.shape[1] != self.exits:
            raise InputError(
                f"policy: made for {self.exits} exits, but the records have {uncertainty.shape[1]}"
            )
        # Compared in double precision: a threshold that equals an element of the records ties with
        # exactly that element.
        met = self.criterion.met(uncertainty[:, :-1], np.asarray(self.thresholds))
        met = np.concatenate([met, np.ones((len(uncertainty), 1), bool)], axis=1)
        return met.argmax(axis=1)

    def to_json(self) -> dict[str, Any]:
        """A dictionary for JSON; infinite thresholds become ``"never"`` and ``"always"``."""
        content = {
            "measure": self.measure,
            "exit_rule": self.rule.value,
            "thresholds": self._words(),
            "temperatures": self.temperatures and list(self.temperatures),
        }
        if self.criterion.fitted:
            content["parameters"] = read(self.criterion.parameters)
        return content

    @classmethod
    def from_json(cls, content: Any, where: str = "policy") -> Policy:
        """Policy from a dictionary of :meth:`to_json`.

        Raises
        ------
        InputError
            If a key is missing or a value is not valid.
        """
        try:
            rule = ExitRule(content["exit_rule"])
            thresholds = tuple(_number(t, rule) for t in content["thresholds"])
            # Policies of earlier versions have no temperatures.
            temperatures = content.get("temperatures")
            measure = str(content["measure"])
            measure = RENAMED.get(measure, measure)
            parameters = content.get("parameters")
            criterion = ExitCriterion(measure, rule, temperatures, parameters)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{where}: not a policy ({type(error).__name__}: {error}); it needs measure,"
                ' exit_rule (below or above) and thresholds (numbers, "never" or "always")'
            ) from error
        return cls(criterion, thresholds)

    def _words(self) -> list[float | str]:
        """The thresholds, infinite ones as ``"never"`` and ``"always"``."""
        words = {self.rule.never: NEVER, self.rule.always: ALWAYS}
        return [words.get(t, t) for t in self.thresholds]

    def save(self, path: str | os.PathLike) -> None:
        """Write the policy as JSON that :meth:`load` reads.

        The file has no checksum: it may be edited and renamed.
        """
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(self._saved(), indent=2) + "\n", encoding="utf-8")

    def _saved(self) -> dict[str, Any]:
        """The content of a file of :meth:`save`."""
        return {"policy": self.to_json()}

    @classmethod
    def load(cls, path: str | os.PathLike) -> Policy:
        """Read a policy from a file of :meth:`save` or ``selection/policy.json`` of a workflow run.

        The checksum of a workflow's file is verified.

        Raises
        ------
        InputError
            If the file cannot be read, was changed, or contains no policy.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(
                f"{path}: cannot be read as a policy ({reason_of(error)})",
                "use a file of Policy.save, or results/NAME/selection/policy.json",
            ) from error
        if isinstance(content, dict) and CHECKSUM in content:
            content = read_json(path, ["policy"])
        own = content.get("policy", content) if isinstance(content, dict) else content
        return Policy.from_json(own, str(path))

    def _repr_html_(self) -> str:
        """A table with a column for each threshold, for notebooks."""
        own = self.to_json()
        shown = [t if isinstance(t, str) else f"{t:.4g}" for t in own["thresholds"]]
        heads = "".join(f"<th>exit {k}</th>" for k in range(1, self.exits))
        cells = "".join(f"<td>{threshold}</td>" for threshold in shown)
        rows = f"<tr><th></th>{heads}</tr><tr><th>threshold</th>{cells}</tr>"
        title = f"exit where {own['measure']} is {own['exit_rule']} the threshold"
        return f"<table><caption>{escape(title)}</caption>{rows}</table>"


def _number(threshold: Any, rule: ExitRule) -> float:
    """A threshold as a float; ``"never"`` and ``"always"`` depend on the rule."""
    if isinstance(threshold, str):
        return {NEVER: rule.never, ALWAYS: rule.always}[threshold]
    return float(threshold)


def uniform(criterion: ExitCriterion, threshold: float, exits: int) -> Policy:
    """The policy with one threshold for all of ``exits`` exits but the last."""
    return Policy(criterion, (threshold,) * (exits - 1))


def full_network(criterion: ExitCriterion, exits: int) -> Policy:
    """The policy under which no sample exits early and no head but the final one runs."""
    return uniform(criterion, criterion.rule.never, exits)
