"""Validate a configuration against its schema, with one-line messages."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterator
from typing import Any

from jsonschema import Draft202012Validator, validators
from jsonschema.exceptions import ValidationError

from early_exit.errors import InputError, plain

LONG = 160
LIMITS = {
    "minimum": "at least",
    "maximum": "at most",
    "exclusiveMinimum": "more than",
    "exclusiveMaximum": "less than",
    "minItems": "a list of at least",
    "minProperties": "a map of at least",
    "maxItems": "a list of at most",
    "maxProperties": "a map of at most",
    "maxLength": "a string no longer than",
}
# Former names of settings and values.
RENAMED = {
    "quality": "reliability",
    "replication": "reproduction",
    "given": "external",
    "pictures": "images",
}
SHARES = ("maximum", "exclusiveMaximum")
TYPE_WORDS = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "null": "null",
    "number": "a number",
    "object": "a map",
    "string": "a string",
}


def _matches(validator: Any, pattern: str, value: Any, _: Any) -> Iterator[ValidationError]:
    # In Python, $ also matches before a final line break.
    if validator.is_type(value, "string") and not matches(pattern, value):
        yield ValidationError(f"{value!r} does not match {pattern!r}")


# JSON Schema counts 2.0 as an integer; code that counts with it does not.
STRICT = validators.extend(
    Draft202012Validator,
    {"pattern": _matches},
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    ),
)


def matches(pattern: str, text: str) -> bool:
    """Whether a schema's pattern matches; unlike Python's, its $ allows no final line break."""
    return re.search(re.sub(r"\$$", r"\\Z", pattern), text) is not None


def check_against(value: Any, part: dict[str, Any], schema: dict[str, Any], where: str) -> None:
    """Check a value against a part of the schema; ``where`` is its path in messages.

    Raises
    ------
    InputError
        With the first error and, for a misspelt name, the nearest known one.
    """
    validator = STRICT({**part, "$defs": schema["$defs"]})
    errors = [leaf for error in validator.iter_errors(value) for leaf in leaves(error)]
    if errors:
        raise InputError("config: " + plain(_message(min(errors, key=_urgency), where)))


def leaves(error: ValidationError) -> Iterator[ValidationError]:
    """Errors within the alternative of ``anyOf`` that has the right type, else the error itself.

    Of several such alternatives it is the one with the fewest errors.
    """
    if error.validator != "anyOf":
        yield error
        return
    alternatives: dict[Any, list[ValidationError]] = {}
    for inner in error.context:
        alternatives.setdefault(inner.schema_path[0], []).append(inner)
    fitting = [
        inners
        for inners in alternatives.values()
        if not any(inner.validator == "type" and not inner.path for inner in inners)
    ]
    if fitting:
        yield from min(fitting, key=len)
    else:
        yield error


def _urgency(error: ValidationError) -> tuple[bool, int]:
    # First a misspelt key, which also explains a missing one.
    return (error.validator != "additionalProperties", -len(error.absolute_path))


def _message(error: ValidationError, where: str) -> str:
    path = ".".join([where, *map(str, error.absolute_path)]).strip(".")
    if error.validator == "additionalProperties":
        known = error.schema["properties"]
        key = next(str(key) for key in error.instance if key not in known)
        return unknown(path, key, known, "key")
    if error.validator == "enum":
        other = f"; {error.schema['title']}" if "title" in error.schema else ""
        return unknown(path, str(error.instance), map(str, error.validator_value), "value") + other
    if error.validator in ("type", "anyOf"):
        given = "not set" if error.instance is None else short(error.instance)
        return f"{path or 'config.yaml'}: {given}, but must be {_types(error)}{_number(error)}"
    return f"{path or 'config.yaml'}: {_expected(error)}"


def _expected(error: ValidationError) -> str:
    given, limit = short(error.instance), error.validator_value
    if error.validator in LIMITS:
        share = " (a share: 0.9 for 90 %)" if limit == 1 and error.validator in SHARES else ""
        return f"{given}, but must be {LIMITS[error.validator]} {limit}{share}"
    if error.validator == "pattern":
        return f"{given}, but must be {error.schema.get('title', f'like {limit}')}"
    if error.validator == "required":
        missing = next(key for key in limit if key not in error.instance)
        return f"needs the key {missing!r}"
    return error.message if len(error.message) < LONG else f"does not fit ({error.validator})"


def _types(error: ValidationError) -> str:
    schemas = error.validator_value if error.validator == "anyOf" else [error.schema]
    types = [t for part in schemas for t in as_list(part.get("type", "a map"))]
    return " or ".join(TYPE_WORDS.get(t, t) for t in types)


def _number(error: ValidationError) -> str:
    """Hint for a number that YAML reads as a string, such as 5e-3."""
    wanted = _types(error)
    try:
        number = float(error.instance) if isinstance(error.instance, str) else math.nan
    except ValueError:
        return ""
    if not math.isfinite(number) or "number" not in wanted:
        return ""
    whole = number.is_integer() and abs(number) < 1e15
    if not whole and "a number" not in wanted:
        return ""
    text = str(int(number)) if whole else f"{number!r}"
    # YAML needs a decimal point before an exponent.
    text = text if "." in text or "e" not in text else text.replace("e", ".0e")
    if text == error.instance:
        return (
            " (a string: remove the quotes; in a map given to --config every value is a string, so"
            " set it in a file)"
        )
    return f" (YAML reads this as a string: write {text})"


def short(value: Any) -> str:
    """``repr`` of a value, cut to ``LONG`` characters."""
    try:
        text = repr(value)
    except ValueError:
        # Python does not print numbers of thousands of digits.
        text = f"a {type(value).__name__}"
    return text if len(text) < LONG else f"{text[: LONG - 3]}..."


def unknown(path: str, given: str, known: Any, what: str) -> str:
    """Message for an unknown name, with the nearest of ``known`` or all of them."""
    known = list(known)
    if RENAMED.get(given) in known:
        return f"{path + ': ' if path else ''}{given} is called {RENAMED[given]} now; rename it"
    near = difflib.get_close_matches(given, known, n=1, cutoff=0.5)
    listed = ", ".join(known)
    listed = listed if len(listed) <= 3 * LONG else f"{listed[: 3 * LONG]}... ({len(known)} in all)"
    hint = f"did you mean {near[0]!r}?" if near else f"known: {listed}"
    return f"{path + ': ' if path else ''}unknown {what} {short(given)}; {hint}"


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
