"""The fields of a settings model as options: flat names, descriptions, values and errors.

A model may have groups, which are fields of a dataclass type. Every leaf has one flat name, which
is its name on the command line (`--max-items`), in a study's YAML (`max_items`) and in lineage.
Descriptions are those of the fields: `pydantic.Field(description=...)`, or `metadata` of a
dataclass's field, which may also give the flat name as `option`.
"""

import dataclasses
import types
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, TypeAdapter, ValidationError

from pas.errors import UserError

T = TypeVar("T")
REQUIRED: Any = object()
_SHOWN_MISTAKES = 3


class Group(NamedTuple):
    """How the fields of a group are named flat.

    Attributes:
        pattern: Format of the flat name, such as "data_{}".
        head: The field that has the group's own name; None if there is no such field.
    """

    pattern: str
    head: str | None = None


class Option(NamedTuple):
    """A leaf of a model.

    Attributes:
        name: Flat name.
        path: Names of the fields that lead to it.
        kind: Its type.
        default: Its default value; `REQUIRED` if it has none.
        description: What it means.
    """

    name: str
    path: tuple[str, ...]
    kind: Any
    default: Any
    description: str

    @property
    def members(self) -> tuple[Any, ...]:
        """The alternatives of the type."""
        kind = self.kind
        return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)

    @property
    def flag(self) -> str:
        """The name on the command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def nullable(self) -> bool:
        """Whether None is a value."""
        return type(None) in self.members

    @property
    def choices(self) -> tuple[str | int, ...]:
        """The words or numbers of the type's literals."""
        return tuple(w for m in self.members if get_origin(m) is Literal for w in get_args(m))

    @property
    def item(self) -> Any:
        """Type of an element, if a value may be a tuple; else None."""
        return next((get_args(m)[0] for m in self.members if get_origin(m) is tuple), None)

    @property
    def shown(self) -> str:
        """The default value as a user would write it; empty if there is none."""
        return "" if self.default in (REQUIRED, None) else written(self.default)

    def read(self, value: Any) -> Any:
        """Read a list from text with commas, and None from `none` if the type is a number."""
        if not isinstance(value, str):
            return value
        for choice in self.choices:
            if value == str(choice):
                return choice
        members = [m for m in self.members if m is not type(None)]
        if self.nullable and set(members) <= {int, float} and value.lower() == "none":
            return None
        if self.item is None:
            return value
        return tuple(part.strip() for part in value.split(",") if part.strip())


class _Known(NamedTuple):
    """The options of a model, worked out once: a study reads thousands of recipes."""

    options: tuple[Option, ...]
    by_name: Mapping[str, Option]
    names: Mapping[tuple[str, ...], str]


_KNOWN: dict[type[Any], _Known] = {}


def _known(model: type[Any]) -> _Known:
    if model not in _KNOWN:
        options = _leaves(model)
        by_name = {option.name: option for option in options}
        names = {option.path: option.name for option in options}
        _KNOWN[model] = _Known(options, by_name, names)
    return _KNOWN[model]


def options_of(model: type[Any]) -> tuple[Option, ...]:
    """Return the leaves of a pydantic model or a dataclass, in its order.

    A model with groups has them in `GROUPS`, by the names of its fields.
    """
    return _known(model).options


def _leaves(model: type[Any]) -> tuple[Option, ...]:
    groups: Mapping[str, Group] = getattr(model, "GROUPS", {})
    if not issubclass(model, BaseModel):
        kinds = get_type_hints(model)
        return tuple(
            Option(
                f.metadata.get("option", f.name),
                (f.name,),
                kinds[f.name],
                REQUIRED if f.default is dataclasses.MISSING else f.default,
                f.metadata.get("description", ""),
            )
            for f in dataclasses.fields(model)
        )
    leaves: list[Option] = []
    for name, field in model.model_fields.items():
        if name not in groups:
            default = REQUIRED if field.is_required() else field.default
            text = field.description or ""
            leaves.append(Option(name, (name,), field.annotation, default, text))
            continue
        pattern, head = groups[name]
        for leaf in options_of(field.annotation):  # type: ignore[arg-type]
            [own] = leaf.path
            flat = name if own == head else pattern.format(leaf.name)
            default = getattr(field.default, own)
            leaves.append(leaf._replace(name=flat, path=(name, own), default=default))
    return tuple(leaves)


def flat(model: type[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields by their flat names; names that the model lacks stay as they are."""
    groups: Mapping[str, Group] = getattr(model, "GROUPS", {})
    names = _known(model).names
    result: dict[str, Any] = {}
    for name, value in values.items():
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            value = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        if name in groups and isinstance(value, Mapping):
            # A name that the group lacks stays dotted, and is refused as such.
            result |= {names.get((name, k), f"{name}.{k}"): v for k, v in value.items()}
        else:
            result[name] = value
    return result


def nested(model: type[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields as the model has them, from flat names, groups or both, text read as values."""
    known = _known(model).by_name
    groups: Mapping[str, Group] = getattr(model, "GROUPS", {})
    result: dict[str, Any] = {}
    for name, value in flat(model, values).items():
        if name not in known:
            result[name] = value
            continue
        *group, leaf = known[name].path
        inside = result.setdefault(group[0], {}) if group else result
        inside[leaf] = known[name].read(value)
    for name, (_, head) in groups.items():
        # Only other fields of the group were given: the head has its default.
        if head is not None and isinstance(result.get(name), dict):
            result[name].setdefault(head, known[name].default)
    return result


def read_dataclass(model: type[T], values: Mapping[str, Any]) -> T:
    """Return a dataclass from text or values, checked by the types of its fields.

    Raises:
        UserError: If a value is not valid. The message names the options and what to give.
    """
    try:
        return TypeAdapter(model).validate_python(nested(model, values))
    except ValidationError as error:
        raise mistakes(model, error) from None


def written(value: Any) -> str:
    """Return a value as a user would write it: lists with commas, whole numbers without a point."""
    if value is None:
        return "none"
    if isinstance(value, tuple | list):
        return ",".join(map(written, value))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def as_arguments(model: type[Any], values: Any, skip: Iterable[str] = ()) -> list[str]:
    """Return command-line arguments for what differs from the defaults."""
    words: list[str] = []
    for option in options_of(model):
        value = values
        for name in option.path:
            value = getattr(value, name)
        if value == option.default or option.name in skip:
            continue
        if option.kind is bool:
            words.append(option.flag if value else option.flag.replace("--", "--no-", 1))
        elif isinstance(value, bool):
            words += [option.flag, "yes" if value else "no"]
        else:
            words += [option.flag, written(value)]
    return words


def mistakes(model: type[Any], error: ValidationError) -> UserError:
    """Return pydantic's errors as one error that names the options and what to give."""
    by_path = {option.path: option for option in options_of(model)}
    lines: list[str] = []
    for fault in error.errors(include_url=False):
        path = tuple(part for part in fault["loc"] if isinstance(part, str))
        option = next((o for p, o in by_path.items() if path[: len(p)] == p), None)
        if fault["type"] == "extra_forbidden":
            lines.append(f"there is no field {'.'.join(path)}")
        elif option is None:
            lines.append(f"{'.'.join(path)}: {_reason(fault)}".removeprefix(": "))
        elif fault["type"] == "missing":
            lines.append(f"{option.flag}: it is missing")
        else:
            lines.append(f"{option.flag} {written(fault['input'])}: {_reason(fault, option)}")
    return UserError("; ".join(list(dict.fromkeys(lines))[:_SHOWN_MISTAKES]))


def _reason(fault: Mapping[str, Any], option: Option | None = None) -> str:
    """Say what to give instead."""
    kind, facts = str(fault["type"]), dict(fault.get("ctx", {}))
    if kind == "value_error":
        return str(facts["error"])
    or_none = ", or none" if option and option.nullable and not option.choices else ""
    if kind == "literal_error":
        return f"give {str(facts['expected']).replace(chr(39), '')}"
    for start, expected in (
        ("greater_than_equal", "{ge} or more"),
        ("greater_than", "a number above {gt}"),
        ("finite_number", "a finite number"),
        ("int_", "a whole number"),
        ("float_", "a number"),
        ("bool_", "true or false"),
        ("string_", "text"),
        ("tuple_", "a list"),
    ):
        if kind.startswith(start):
            limits = {name: written(value) for name, value in facts.items()}
            return f"give {expected.format_map(limits)}{or_none}"
    return str(fault["msg"])


def as_table(model: type[Any]) -> str:
    """Return the options as a Markdown table."""
    rows = ["| option | field | default | meaning |", "|---|---|---|---|"]
    for option in options_of(model):
        default = "required" if option.default is REQUIRED else f"`{written(option.default)}`"
        text = described(option).replace("|", "\\|")
        rows.append(f"| `{option.flag}` | `{'.'.join(option.path)}` | {default} | {text} |")
    return "\n".join(rows)


def described(option: Option) -> str:
    """Return an option's description with the values that it may have."""
    if option.choices and option.item is None:
        return f"{option.description} One of {', '.join(map(str, option.choices))}."
    return option.description
