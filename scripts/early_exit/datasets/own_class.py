"""An object of a data set's class in a user's file, whose code may raise anything."""

from __future__ import annotations

import difflib
import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from early_exit.config.code_file import CodeFile, code_file
from early_exit.config.run_code import run_code
from early_exit.datasets.arrays import Arrays, checked_inputs, length
from early_exit.datasets.labels import checked_labels
from early_exit.errors import InputError, reason_of

PATH = "path"
# Characters of a state, as JSON, and of a digest.
LONGEST_STATE, LONGEST_DIGEST = 20_000_000, 1000
# Inputs and labels.
Part = tuple[Arrays, np.ndarray]


@dataclass(frozen=True)
class OwnClass:
    """Wraps an object of the class: each error is an InputError, each result is checked.

    Attributes
    ----------
    name
        ``path/to/file.py:ClassName``.
    own
        The object.
    """

    name: str
    own: Any

    @classmethod
    def made(
        cls,
        settings: dict[str, Any],
        path: Path | None,
        state: Any = None,
        file: CodeFile | None = None,
    ) -> OwnClass:
        """An object of the class in the setting ``name``; its file is run.

        Parameters
        ----------
        path
            For the class's parameter ``path``, if it has one; ``None`` to prepare new samples.
        state
            What another object returned as :meth:`state`.
        file
            The file, if it is another than the name says.

        Raises
        ------
        InputError
            If the class cannot be found or instantiated, or has no method ``split``.
        """
        name = settings["name"]
        try:
            made = _called(run_code(file or code_file(name), "data"), settings, path)
            found = cls(name, made)
            if not found.has("split"):
                raise InputError(f"{type(made).__name__} has no method split(name)", "write one")
        except InputError as error:
            raise InputError(f"dataset {name}: {error}") from error
        if state is not None:
            found.call("load_state", state)
        return found

    def has(self, name: str) -> bool:
        """Whether it has such a method."""
        return callable(self.attribute(name, None))

    def call(self, name: str, *given: Any) -> Any:
        """Result of a method.

        Raises
        ------
        InputError
            If it is missing, or raises an error.
        """
        shown = ", ".join(repr(one) for one in given if isinstance(one, str) and name == "split")
        if not self.has(name):
            raise InputError(f"{self.name}: has no method {name}", "write one")
        try:
            return getattr(self.own, name)(*given)
        except MemoryError:
            raise
        # The user's code can raise anything. SystemExit would end the job as if it were done.
        except (Exception, SystemExit) as error:
            remedy = None
            if name == "split" and given[0] != "train":
                remedy = "return None where there is no such split"
            raise InputError(
                f"{self.name}: {name}({shown}) failed ({reason_of(error)})", remedy
            ) from error

    def attribute(self, name: str, default: Any) -> Any:
        """An attribute, which may be a property that raises an error."""
        try:
            return getattr(self.own, name, default)
        except (Exception, SystemExit) as error:
            raise InputError(f"{self.name}: {name} failed ({reason_of(error)})") from error

    @property
    def images(self) -> bool:
        """Whether its inputs are images."""
        return self._flag("images")

    @property
    def text(self) -> bool:
        """Whether ``prepare`` takes lines of text."""
        return self._flag("text")

    def _flag(self, name: str) -> bool:
        found = self.attribute(name, False)
        if not isinstance(found, bool):
            raise InputError(f"{self.name}: {name} is {found!r:.80}, but must be True or False")
        return found

    def part(self, part: str) -> Part | None:
        """Inputs and labels of a split, checked; ``None`` if the class has none.

        Raises
        ------
        InputError
            If they are not as :mod:`early_exit.datasets.custom` describes.
        """
        where = f"{self.name}: split('{part}')"
        found = self.call("split", part)
        if found is None:
            if part == "train":
                raise InputError(f"{where} returned None", "return the inputs and labels")
            return None
        if not isinstance(found, tuple) or len(found) != 2:
            raise InputError(f"{where} returned no pair", "return inputs, labels")
        inputs = checked_inputs(found[0], f"{where}: inputs")
        if self.images:
            check_images(inputs, f"{where}: inputs")
        try:
            labels = checked_labels(found[1], f"{where}: labels")
        except InputError:
            raise
        # NumPy raises for lists of several lengths, torch for sparse tensors.
        except Exception as error:
            raise InputError(f"{where}: labels are no array ({reason_of(error)})") from error
        if length(inputs) != len(labels):
            raise InputError(f"{where}: {length(inputs)} inputs, but {len(labels)} labels")
        return inputs, labels

    def class_names(self) -> list[str] | None:
        """The attribute ``class_names``, if there is one."""
        given = self.attribute("class_names", None)
        if given is None:
            return None
        names = list(given) if isinstance(given, list | tuple | np.ndarray) else [None]
        if not names or not all(isinstance(one, str) for one in names):
            raise InputError(f"{self.name}: class_names must be a list or tuple of strings")
        return [str(one) for one in names]

    def digest(self) -> str | None:
        """What ``digest()`` returns, if the class has it."""
        if not self.has("digest"):
            return None
        found = self.call("digest")
        if not isinstance(found, str) or not 0 < len(found) <= LONGEST_DIGEST:
            raise InputError(
                f"{self.name}: digest() returned {found!r:.80}, but must return a string of 1 to"
                f" {LONGEST_DIGEST} characters"
            )
        return found

    def state(self) -> Any:
        """What ``state()`` returns, as JSON holds it; ``None`` if the class has no such method."""
        if not self.has("state"):
            return None
        if not self.has("load_state"):
            raise InputError(f"{self.name}: has state() but no load_state(state)", "write both")
        found = self.call("state")
        try:
            text = json.dumps(found, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise InputError(
                f"{self.name}: state() cannot be written as JSON ({reason_of(error)})",
                "return dictionaries, lists, strings and finite numbers",
            ) from error
        if found is None or len(text) > LONGEST_STATE:
            size = "None" if found is None else f"{len(text):,} characters as JSON"
            raise InputError(
                f"{self.name}: state() returned {size}, but must have 1 to {LONGEST_STATE:,}"
            )
        return json.loads(text)


def check_images(inputs: Arrays, where: str) -> None:
    """Refuse inputs that are no images (N, channels, height, width), uint8.

    Raises
    ------
    InputError
        Gives their type and shape.
    """
    if isinstance(inputs, np.ndarray) and inputs.dtype == np.uint8 and inputs.ndim == 4:
        return
    found = type(inputs).__name__
    if isinstance(inputs, np.ndarray):
        found = f"{inputs.dtype} of shape {inputs.shape}"
    raise InputError(
        f"{where}: {found}, but images must be uint8 of shape (N, channels, height, width)",
        "leave images = True out if they are others; they are not scaled then",
    )


def _called(maker: Callable[..., Any], settings: dict[str, Any], path: Path | None) -> Any:
    """Call the class with its arguments, and with ``path`` if it takes that."""
    arguments = settings.get("arguments") or {}
    try:
        accepted = inspect.signature(maker).parameters
    except (TypeError, ValueError) as error:
        raise InputError(f"cannot be instantiated ({reason_of(error)})") from error
    known = [key for key in accepted if key != PATH]
    takes_all = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in accepted.values())
    for key in arguments:
        if key not in known and (key == PATH or not takes_all):
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"it takes: {', '.join(known) or 'none'}"
            raise InputError(f"takes no argument {key}", hint)
    of_data = {PATH: None if path is None else str(path)} if PATH in accepted else {}
    try:
        return maker(**of_data, **arguments)
    except (InputError, MemoryError):
        raise
    except (Exception, SystemExit) as error:
        remedy = None
        if PATH in accepted and path is None:
            remedy = "new samples are prepared with path=None: read files in split, not before"
        raise InputError(f"cannot be instantiated ({reason_of(error)})", remedy) from error
