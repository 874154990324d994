"""The recipe of a training: one JSON-able value that determines the result.

This definition gives the options of `pas train` and `pas finetune`, the form of the flow's
parameter in Prefect, the fields in a study's YAML, and the table in docs/recipe.md.
"""

import re
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from pas.characters import HALF_CHARACTERS, has_half_characters
from pas.data.chat import PromptOption, prompt_style
from pas.data.fewshot import WORKED_EXAMPLES
from pas.data.prompts import Scoring
from pas.data.splits import Protocol, SplitRule
from pas.errors import UserError
from pas.intake.items import BadRows
from pas.intake.mapping import DataMapping
from pas.intake.sources import Source
from pas.methods.contrast import METHODS, RANDOM
from pas.methods.grid import Layers, Strengths, layers_of, read_layer, strengths_of
from pas.methods.selection import MAX_KL, Rule
from pas.models.spec import DEMO, ModelSpec, Site
from pas.options import Group, flat, mistakes, nested, options_of, written

if TYPE_CHECKING:
    # These import torch or all tasks, which the help of the command line does not need.
    from pas.data.prompts import Scoring
    from pas.datasets.benchmark import Benchmark
    from pas.engine.scoring import ScoringRule
    from pas.models.loading import ModelInfo

_TASK = re.compile(r"[a-z0-9][a-z0-9_.-]{0,79}")


def _numbers(what: str, example: str, number: type[int] | type[float]) -> BeforeValidator:
    """Return a validator that reads `1,2`, for JSON and YAML that have such text."""

    def read(value: Any) -> Any:
        if isinstance(value, str) and value in what.split(", "):
            return value
        parts = value.split(",") if isinstance(value, str) else value
        parts = (parts,) if isinstance(parts, int | float) else parts
        try:
            # A number of the wrong kind is refused: int(1.5) would be another layer.
            numbers = tuple(number(str(part)) for part in parts)
        except (TypeError, ValueError):
            raise ValueError(f"give {what} or numbers such as {example}") from None
        if not numbers:
            raise ValueError(f"give {what} or numbers such as {example}")
        if not all(abs(n) < float("inf") for n in numbers):
            raise ValueError("a number must be finite")
        return tuple(sorted({*numbers}))

    kind = Layers if number is int else Strengths
    return BeforeValidator(read, json_schema_input_type=kind | str)


def _in_order(schema: dict[str, Any]) -> None:
    """Number and title the properties for Prefect's form, whose order a database may lose."""
    for position, (name, entry) in enumerate(schema["properties"].items()):
        entry["position"] = position
        entry.setdefault("title", name.replace("_", " ").capitalize())  # pydantic gives groups none


class Recipe(BaseModel):
    """A training, as a flow parameter, in YAML or from the command line."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra=_in_order)
    GROUPS: ClassVar[Mapping[str, Group]] = {
        "data": Group("data_{}", "name"),
        "mapping": Group("{}"),
        "bad_rows": Group("{}"),
        "model": Group("{}", "id"),
    }

    task: str = Field(description="Built-in task (see pas tasks), or a name for your own data.")
    data: Annotated[Source, BeforeValidator(lambda v: v, json_schema_input_type=Source | str)] = (
        Field(
            Source(),
            description="Where the rows come from; a path or hub id alone will do.",
        )
    )
    mapping: DataMapping = Field(
        DataMapping(),
        description="What the columns hold, for data that is not of a built-in task. What is not "
        "given is recognised.",
    )
    bad_rows: BadRows = Field(BadRows(), description="What is done about rows that cannot be used.")
    keep_splits: bool = Field(
        False,
        description="Keep the data's own splits: its test split (or else validation) is the test "
        "split here; validation items are cut from train where it has no third one.",
    )
    model: Annotated[
        ModelSpec, BeforeValidator(lambda v: v, json_schema_input_type=ModelSpec | str)
    ] = Field(ModelSpec(DEMO), description="The model to steer; its name alone will do.")
    protocol: Protocol = Field(
        "sound", description="sound, or the published paper's to compare with it."
    )
    scoring: Literal["auto", "letter", "choice"] = Field(
        "auto",
        description="How an answer is read: the letter's probability or the likelihood of the "
        "choice's text; auto is the task's own.",
    )
    length_norm: bool = Field(
        True, description="Choice scoring: mean log-probability per token, not the sum."
    )
    prompt: PromptOption = Field(
        "auto",
        description="Plain text as in the paper, or the model's chat template; auto is chat where "
        "the model has a template and the protocol is sound.",
    )
    system: str | None = Field(
        None,
        description="Text of the system message in chat prompts; what the template does without "
        "one by default.",
    )
    close_thinking: bool = Field(
        False,
        description="Chat prompts of reasoning models: close the thinking block before the answer.",
    )
    methods: tuple[str, ...] = Field(
        (*METHODS, RANDOM),
        description=f"Estimators, of {', '.join(METHODS)}; {RANDOM} is the control direction.",
    )
    layers: Annotated[Layers, _numbers("auto, all", "8,11,13", int)] = Field(
        "auto",
        description="Decoder blocks to try, counted from 0: auto (the paper's, scaled to the "
        "model's depth), all, or such as 8,11,13.",
    )
    strengths: Annotated[Strengths, _numbers("auto", "0.5,1,4", float)] = Field(
        "auto",
        description="Factors on the vector to try: auto (the paper's), or such as 0.5,1,4; the "
        "protocol sound adds 0.",
    )
    site: Site = Field("residual", description="Where in the block the vector is read and written.")
    seed: int = Field(0, description="Of the split, the order of choices and the controls.")
    order_seed: int | None = Field(
        None,
        description="Of the order of choices alone. Held fixed, other seeds use the prompts and "
        "answers of items that are in the lake.",
    )
    split_rule: SplitRule = Field(
        "balanced",
        description="How items are split by seed: balanced in size and strata, or stable: for data "
        "that grow, each group has its part whatever other rows there are.",
    )
    max_items: int | None = Field(
        4000, ge=5, description="Largest number of items, drawn by seed; none for all."
    )
    train_items: int | None = Field(
        None,
        ge=1,
        description="Number of training items; a smaller training set is part of a larger one.",
    )
    shots: int = Field(
        0, ge=0, description="Worked examples before every prompt, of items answered wrongly."
    )
    instruction: str | None = Field(
        None,
        description="Text that asks for the behaviour, such as 'Be brief.'; the report says what "
        "the vector adds to it.",
    )
    asked_examples: int = Field(
        WORKED_EXAMPLES,
        ge=0,
        description="Worked examples in the prompt that the report compares the vector with; 0 for "
        "no such comparison.",
    )
    select: Rule = Field(
        "best",
        description="Selection on the validation items: best, or among those within one "
        "standard error of the best the smallest effect (one-se) or damage (least-damage).",
    )
    max_kl: float | None = Field(
        MAX_KL,
        gt=0,
        allow_inf_nan=False,
        description="Largest damage to neutral text (KL, nats per token) that selection accepts "
        "under the protocol sound; none for no limit.",
    )

    @model_validator(mode="before")
    @classmethod
    def _from_flat(cls, values: Any) -> Any:
        """Accept flat names and text, as on the command line and in older files."""
        if not isinstance(values, Mapping):
            return values
        if "columns" in values:  # the name of the mapping when it had columns alone
            values = {"mapping" if k == "columns" else k: v for k, v in values.items()}
        return nested(cls, values)

    @field_validator("task")
    @classmethod
    def _safe(cls, task: str) -> str:
        if not _TASK.fullmatch(task):
            raise ValueError("give a lower-case name of letters, digits, '.', '_', '-'")
        return task

    @field_validator("instruction")
    @classmethod
    def _asks(cls, instruction: str | None) -> str | None:
        if instruction is not None and not instruction.strip():
            raise ValueError("say what the model should do")
        if instruction is not None and has_half_characters(instruction):
            raise ValueError(HALF_CHARACTERS)
        return instruction

    @field_validator("methods")
    @classmethod
    def _known(cls, methods: tuple[str, ...]) -> tuple[str, ...]:
        if {*methods} - {*METHODS, RANDOM} or not {*methods} - {RANDOM}:
            known = ", ".join(METHODS)
            raise ValueError(f"give one or more of {known}, and {RANDOM} for the control")
        return methods

    @model_validator(mode="after")
    def _has_data(self) -> Self:
        if self.benchmark is None and self.data.name is None:
            from pas.datasets import benchmarks

            known = ", ".join(dict.fromkeys(b.family or b.name for b in benchmarks().values()))
            raise ValueError(
                f"--task {self.task} is not built in (those are {known}); give its --data"
            )
        return self

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Self:
        """Return the recipe from its fields, flat or nested.

        Raises:
            UserError: If a value is not valid. The message names the options and what to give.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise mistakes(cls, error) from None

    def but(self, **changes: Any) -> Self:
        """Return the recipe with other fields, flat or nested.

        Raises:
            UserError: As `read` does.
        """
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        return self.read(flat(type(self), fields) | flat(type(self), changes))

    def seeded(self, seed: int) -> Self:
        """Return the recipe with another seed; its fields are not checked again."""
        return self.model_copy(update={"seed": seed})

    @cached_property
    def benchmark(self) -> "Benchmark | None":
        """The built-in task of this name, if there is one."""
        from pas.datasets import benchmarks

        return benchmarks().get(self.task)

    @property
    def source(self) -> Source:
        """The source of the rows: `data` if it has a name, else the built-in task's source.

        Raises:
            UserError: If there is neither.
        """
        if self.data.name is not None:
            return self.data
        if self.benchmark is None or self.benchmark.hub_id is None:
            raise UserError(f"--task {self.task}: give its --data")
        return Source(
            self.benchmark.hub_id,
            self.data.revision or self.benchmark.revision,
            self.benchmark.hub_config,
            self.data.split or self.benchmark.hub_split,
        )

    @property
    def is_mapped(self) -> bool:
        """Whether nothing about the data is left to be recognised."""
        return self.benchmark is not None or (self.mapping.is_complete and self.scoring != "auto")

    @property
    def label(self) -> str:
        """The task, and how many shots its prompts have: what a vector is registered for."""
        return f"{self.task}-{self.shots}shot" if self.shots else self.task

    @property
    def scored_by(self) -> Scoring:
        """What is scored: `scoring`, or the task's own where that is "auto"."""
        if self.scoring != "auto":
            return self.scoring
        return self.benchmark.scoring if self.benchmark else "letter"

    @property
    def estimators(self) -> tuple[str, ...]:
        """The methods without the random control."""
        return tuple(m for m in self.methods if m != RANDOM)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by their flat names, JSON-able, for `read`.

        What is not said about the data is left out.
        """
        values = flat(type(self), {name: getattr(self, name) for name in type(self).model_fields})
        for name in ("layers", "strengths"):  # as in the addresses and lineages that lakes have
            values[name] = written(values[name])
        unsaid = ("data", "mapping", "bad_rows", "keep_splits", "split_rule")
        return {
            option.name: values[option.name]
            for option in options_of(type(self))
            if option.path[0] not in unsaid or values[option.name] != option.default
        }


class Setup(NamedTuple):
    """A recipe, resolved for one model.

    Attributes:
        fingerprint: Of the model.
        rule: How choices are scored.
        write_layers: Blocks that the vectors are added to, ascending.
        read_layers: For each of these the block whose output is read; -1 is the embedding.
        strengths: Of the sweep, ascending.
    """

    fingerprint: str
    rule: "ScoringRule"
    write_layers: tuple[int, ...]
    read_layers: tuple[int, ...]
    strengths: tuple[float, ...]


def resolve(recipe: Recipe, info: "ModelInfo") -> Setup:
    """Resolve the recipe for its model.

    Raises:
        UserError: If the model lacks one of the layers, or its chat template cannot do what the
            recipe asks for.
    """
    from pas.engine.scoring import rule_of

    layers = layers_of(recipe.layers, info.n_layers)
    style = prompt_style(info, recipe.prompt, recipe.system, recipe.close_thinking, recipe.protocol)
    return Setup(
        info.fingerprint,
        rule_of(recipe.scored_by, recipe.protocol, recipe.length_norm, style),
        layers,
        tuple(read_layer(layer, recipe.protocol) for layer in layers),
        strengths_of(recipe.strengths, recipe.protocol),
    )
