"""What a training is asked to do: one value, JSON-able, that determines the result."""

import re
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

from pas.data.columns import Columns
from pas.data.sources import Source
from pas.data.splits import Protocol
from pas.datasets import benchmarks
from pas.datasets.benchmark import Benchmark
from pas.engine.scoring import ScoringRule, rule_of
from pas.errors import UserError
from pas.methods.contrast import METHODS, RANDOM
from pas.methods.grid import strengths_of
from pas.methods.selection import Rule, rule_named
from pas.models.sites import SITES, Site
from pas.models.spec import ModelSpec

_TASK = re.compile(r"[a-z0-9][a-z0-9_.-]{0,79}")


@dataclass(frozen=True)
class Recipe:
    """A training, as a flow parameter or from the command line.

    Attributes:
        task: A built-in task, or your own name for your own data.
        data: File, folder or hub id; a built-in task may do without.
        data_revision: Hub revision of the data.
        data_config: Hub configuration of the data.
        data_split: Split of the source to read.
        question_col: Column of the question.
        choices_col: One list column, or several columns.
        label_col: Column of the correct choice: index from 0, letter or text.
        group_col: Column whose equal values stay on one side of the split.
        id_col: Column of unique ids.
        model: "demo", a hub id, a folder or a GGUF file.
        revision: Hub revision of the model.
        dtype: See `pas.models.spec.ModelSpec`, as are the next three.
        device: Where the model runs.
        quantization: "4bit" or "8bit".
        trust_remote_code: Run code that comes with the model.
        protocol: "sound" or "paper".
        scoring: "letter" or "choice"; the task's own by default.
        length_norm: Choice scoring: mean log-probability per token instead of the sum.
        methods: Estimators; "random" is the control direction.
        layers: "auto", "all" or comma-separated block indices.
        strengths: "auto" or comma-separated factors.
        site: Where in the block the vector is read and written.
        seed: Of the split, the order of choices and the controls.
        order_seed: Of the order of choices alone. Held fixed, further seeds find the prompts and
            answers of items that an earlier one has trained on.
        max_items: Cap on the items, drawn by seed.
        train_items: Cap on the training items alone; a smaller training set is part of a larger.
        shots: Worked examples before every prompt, see `pas.data.fewshot`.
        select: How validation chooses: "best", "one-se" or "least-damage", see
            `pas.methods.selection`.
        max_kl: Largest damage to neutral text (KL, nats per token) that selection accepts under
            `sound`; None for no limit. Under `paper` it has no effect.
    """

    task: str
    data: str | None = None
    data_revision: str | None = None
    data_config: str | None = None
    data_split: str | None = None
    question_col: str = "question"
    choices_col: tuple[str, ...] = ("choices",)
    label_col: str = "label"
    group_col: str | None = None
    id_col: str | None = None
    model: str = "demo"
    revision: str | None = None
    dtype: str = "auto"
    device: str = "auto"
    quantization: str | None = None
    trust_remote_code: bool = False
    protocol: Protocol = "sound"
    scoring: Literal["auto", "letter", "choice"] = "auto"
    length_norm: bool = True
    methods: tuple[str, ...] = (*METHODS, RANDOM)
    layers: str = "auto"
    strengths: str = "auto"
    site: Site = "residual"
    seed: int = 0
    order_seed: int | None = None
    max_items: int | None = 4000
    train_items: int | None = None
    shots: int = 0
    select: Rule = "best"
    max_kl: float | None = 0.1

    # As a flow parameter: pydantic would ignore a misspelt field, and train with its default.
    __pydantic_config__: ClassVar = {"extra": "forbid"}

    def __post_init__(self) -> None:
        """Refuse what cannot work before anything is loaded.

        Raises:
            UserError: Naming the option and the remedy.
        """
        if not _TASK.fullmatch(self.task):
            raise UserError(
                f"--task {self.task!r}: give a lower-case name of letters, digits, '.', '_', '-'"
            )
        if self.benchmark is None and self.data is None:
            known = ", ".join(dict.fromkeys(b.family or b.name for b in benchmarks().values()))
            raise UserError(
                f"--task {self.task} is not built in (those are {known}); give its --data"
            )
        if self.protocol not in ("sound", "paper"):
            raise UserError(f"--protocol {self.protocol}: give sound or paper")
        if self.site not in SITES:
            raise UserError(f"--site {self.site}: give one of {', '.join(SITES)}")
        unknown = [m for m in self.methods if m not in (*METHODS, RANDOM)]
        if unknown or not set(self.methods) - {RANDOM}:
            raise UserError(
                f"--methods {','.join(self.methods)}: give one or more of {', '.join(METHODS)}, "
                f"and {RANDOM} for the control"
            )
        if self.max_items is not None and self.max_items < 5:
            raise UserError(f"--max-items {self.max_items}: at least 5 are needed for a split")
        if self.train_items is not None and self.train_items < 1:
            raise UserError(f"--train-items {self.train_items}: at least 1 is needed")
        rule_named(self.select)
        if self.max_kl is not None and not 0 < self.max_kl < float("inf"):
            raise UserError(
                f"--max-kl {self.max_kl:g}: give a number above 0, or none for no limit"
            )
        if self.shots < 0:
            raise UserError(f"--shots {self.shots}: give 0 or more")
        _ = self.spec, self.rule, self.grid_strengths  # each refuses its own bad values

    @cached_property
    def benchmark(self) -> Benchmark | None:
        """The built-in task of this name, if there is one."""
        return benchmarks().get(self.task)

    @property
    def spec(self) -> ModelSpec:
        """The model."""
        return ModelSpec(
            self.model, self.revision, self.dtype, self.device, self.quantization,
            self.trust_remote_code,
        )  # fmt: skip

    @property
    def source(self) -> Source:
        """Where the rows come from."""
        if self.data is not None:
            return Source(self.data, self.data_revision, self.data_config, self.data_split)
        if self.benchmark is None or self.benchmark.hub_id is None:
            raise UserError(f"--task {self.task}: give its --data")
        return Source(
            self.benchmark.hub_id, self.data_revision or self.benchmark.revision,
            self.benchmark.hub_config,
            self.data_split or self.benchmark.hub_split,
        )  # fmt: skip

    @property
    def columns(self) -> Columns:
        """The column mapping, for data that is not a built-in task's."""
        return Columns(
            self.question_col, self.choices_col, self.label_col, self.group_col, self.id_col
        )

    @property
    def label(self) -> str:
        """The task, and how many shots its prompts have: what a vector is registered for."""
        return f"{self.task}-{self.shots}shot" if self.shots else self.task

    @property
    def rule(self) -> ScoringRule:
        """How choices are scored."""
        own = self.benchmark.scoring if self.benchmark else "letter"
        scoring = own if self.scoring == "auto" else self.scoring
        return rule_of(scoring, self.protocol, self.length_norm)

    @property
    def grid_strengths(self) -> tuple[float, ...]:
        """The strengths of the sweep, ascending."""
        return strengths_of(self.strengths, self.protocol)

    @property
    def estimators(self) -> tuple[str, ...]:
        """The methods without the random control."""
        return tuple(m for m in self.methods if m != RANDOM)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields, JSON-able."""
        return asdict(self)
