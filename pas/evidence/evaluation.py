"""The evaluation of a training on its test items: comparisons, controls and verdict.

docs/method.md, "Evidence". Reports, metrics, tags and tables format this value. They compute
nothing from the answers.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from pas.data.examples import Example
from pas.data.splits import Split, order_choices
from pas.engine.decisions import UNDECIDED
from pas.evidence.asking import Told, asking
from pas.evidence.bias import UNKNOWN, BiasScores, bias_scores
from pas.evidence.clusters import clustered_test
from pas.evidence.controls import Controls
from pas.evidence.damage import Damage
from pas.evidence.letters import best_constant, outside_share
from pas.evidence.paired import Comparison, compare
from pas.evidence.verdict import Verdict, verdict
from pas.methods.answers import Answers
from pas.methods.contrast import RANDOM, random_direction
from pas.methods.grid import Cell, Configuration, Directions
from pas.methods.selection import Selection

RANDOM_DRAWS = 10


class EvaluationAnswers(NamedTuple):
    """Answers to the test items.

    Attributes:
        chosen: Answers unsteered and under every selected configuration.
        random: Answers under random directions of the winner's norm, one value per direction.
        reshuffled: Answers unsteered and under the winner, with the choices in another order;
            None under choice scoring, where the model sees no order.
        asked: Answers unsteered and under the winner, with the behaviour asked for in words, by
            how it was asked for.
    """

    chosen: Answers
    random: tuple[Answers, ...]
    reshuffled: Answers | None
    asked: Mapping[str, Answers] = MappingProxyType({})


class MethodResult(NamedTuple):
    """The configuration selected for one estimator, and its result on the test items."""

    configuration: Configuration
    comparison: Comparison


@dataclass(frozen=True)
class LetterCounts:
    """How often each letter is given and correct: [n_choices] each, in the order shown.

    Attributes:
        unsteered: Counts of the unsteered model's answers.
        steered: Counts of the answers under the winner.
        correct: Counts of the correct answers.
        best: Index of the letter that is correct most often.
    """

    unsteered: tuple[int, ...]
    steered: tuple[int, ...]
    correct: tuple[int, ...]
    best: int


@dataclass(frozen=True)
class Doubts:
    """Answers that do not follow from a single highest score.

    Attributes:
        answers: Number of answers that were looked at: to the validation items, unsteered and
            under every configuration of the sweep, and to the test items, unsteered and under
            the winner.
        ties: Number of these for which several choices had exactly the highest score.
        undecided: Number of test items for which a score under the winner is not finite. They
            count as wrong.
        broken: Configurations of the sweep under which a score is not finite, with the number of
            such validation items. They cannot be selected.
    """

    answers: int = 0
    ties: int = 0
    undecided: int = 0
    broken: tuple[tuple[Configuration, int], ...] = ()


@dataclass(frozen=True)
class Evaluation:
    """The evaluation of a training on its test items. The winner is the selected configuration.

    Attributes:
        selected: The configuration selected on the validation items.
        validation_accuracy: Its accuracy on the validation items.
        validation_unsteered: Accuracy of the unsteered model on the validation items.
        methods: The result of each estimator, by name.
        random: Comparison for each random direction of the winner's norm.
        controls: The winner's comparison and controls.
        letters: Counts of letters; None under choice scoring.
        damage: The winner's damage to neutral text.
        verdict: The verdict, with the finding of every check.
        doubts: Ties, and scores that are not finite; None if there are none.
    """

    selected: Configuration
    validation_accuracy: float
    validation_unsteered: float
    methods: dict[str, MethodResult]
    random: tuple[Comparison, ...]
    controls: Controls
    letters: LetterCounts | None
    damage: Damage
    verdict: Verdict
    doubts: Doubts | None = None

    @property
    def test(self) -> Comparison:
        """Comparison of the winner with the unsteered model on the test items."""
        return self.controls.test

    def as_dict(self) -> dict[str, Any]:
        """Return the evaluation as a JSON-able dict; numbers that are not finite become strings."""
        document: dict[str, Any] = _plain(self) | {"verdict": self.verdict.as_dict()}
        if self.doubts is None:  # a vector without any keeps the digest that it always had
            del document["doubts"]
        return document

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> "Evaluation":
        """Return the evaluation from the result of `as_dict`.

        Raises:
            ValueError: If the document does not have the fields of an evaluation.
        """
        from pydantic import TypeAdapter

        return TypeAdapter(cls).validate_python(document)


def random_controls(
    winner: Cell, d_model: int, seed: int
) -> list[tuple[Configuration, np.ndarray]]:
    """Draw `RANDOM_DRAWS` random directions with the winner's effect, at its layer.

    Args:
        winner: The selected cell.
        d_model: Number of dimensions.
        seed: Seed of the draws.

    Returns:
        For each draw a configuration of the method "random" and [d_model] float32. Empty if the
        winner's strength is 0.
    """
    _, layer, strength = winner.configuration
    size = math.copysign(winner.effect, strength)
    return [
        (
            Configuration(RANDOM, layer, strength),
            random_direction(d_model, size, f"test:{seed}:{draw}"),
        )
        for draw in range(RANDOM_DRAWS if strength else 0)
    ]


Ask = Callable[[Sequence[Example], list[tuple[Configuration, np.ndarray]]], Answers]
"""Answers items unsteered and under each (configuration, [d_model] float32). Scores of letters must
be log-probabilities over the vocabulary."""


def answer_test(
    ask: Ask,
    test: Sequence[Example],
    directions: Directions,
    selection: Selection,
    *,
    letters: bool,
    seed: int = 0,
) -> EvaluationAnswers:
    """Answer the test items under the selected configurations and the controls.

    Args:
        ask: Answers items.
        test: The test items, with their choices in the order shown.
        directions: The training's directions.
        selection: The cells selected on the validation items.
        letters: Whether answers are letters. If so, the winner also answers the items with the
            choices in another order.
        seed: Seed of the random directions and of that order.
    """
    winner = selection.selected
    chosen = directions.deltas(selection.configurations)
    d_model = len(next(iter(directions.direction.values())))
    random = random_controls(winner, d_model, seed)
    # The random directions have the same configuration, so each gets a name of its own here.
    named = [
        (c._replace(method=f"{RANDOM}-{draw}"), delta) for draw, (c, delta) in enumerate(random)
    ]
    answers = ask(test, [*chosen, *named])
    draws = [answers.under({c: name}) for (c, _), (name, _) in zip(random, named, strict=True)]
    own = answers.under({c: c for c in (None, *(c for c, _ in chosen))})
    reshuffled = None
    if letters:
        other = [order_choices(example, f"reshuffled:{seed}", "sound") for example in test]
        reshuffled = ask(other, directions.deltas([winner.configuration]))
    return EvaluationAnswers(own, tuple(draws), reshuffled)


def answer_asked(
    ask: Ask, ways: Sequence[Told], directions: Directions, selection: Selection
) -> dict[str, Answers]:
    """Answer test items with the behaviour asked for in words, unsteered and under the winner.

    Args:
        ask: Answers items.
        ways: From `pas.evidence.asking.ways_to_ask`.
        directions: The training's directions.
        selection: The cells selected on the validation items.

    Returns:
        Answers by how the behaviour was asked for.
    """
    deltas = directions.deltas([selection.selected.configuration])
    return {told.how: ask(told.items, deltas) for told in ways}


def evaluate(
    split: Split,
    selection: Selection,
    answers: EvaluationAnswers,
    damage: Damage,
    *,
    validation: Answers,
    seed: int = 0,
) -> Evaluation:
    """Return the evaluation: comparisons, controls and verdict.

    Args:
        split: The training and test items.
        selection: The cells selected on the validation items.
        answers: Answers to the test items, in the order of the split.
        damage: The winner's damage to neutral text.
        validation: Answers to the validation items.
        seed: Seed of the bootstrap of the random directions.

    Raises:
        ValueError: If the answers are not to the test items of the split.
    """
    test, chosen = split.test, answers.chosen
    if chosen.item_ids != tuple(example.id for example in test):
        raise ValueError("the answers are not to the test items of the split")
    winner = selection.selected.configuration
    comparison = _comparison(chosen, winner)
    unsteered = chosen.correct()
    random = tuple(
        compare(unsteered, draw.correct(draw.configurations[0]), seed) for draw in answers.random
    )
    letters = answers.reshuffled is not None
    reshuffled = _comparison(answers.reshuffled, winner) if answers.reshuffled else None
    groups = [example.group for example in test]
    gained = chosen.correct(winner).astype(float) - unsteered
    controls = Controls(
        test=comparison,
        strength=winner.strength,
        letters=letters,
        # If every item is a group of its own, the test over items is enough.
        clustered=clustered_test(gained, groups) if len(set(groups)) < len(test) else None,
        constant_accuracy=best_constant(chosen.labels.tolist())[1] if letters else None,
        top_letter_before=_top_share(chosen.choices()) if letters else None,
        top_letter_after=_top_share(chosen.choices(winner)) if letters else None,
        reshuffled=reshuffled,
        reshuffled_constant=(
            best_constant(answers.reshuffled.labels.tolist())[1] if answers.reshuffled else None
        ),
        random_accuracies=tuple(draw.steered_accuracy for draw in random),
        leaked_groups=len({*groups} & {example.group for example in split.train}),
        test_groups=len({*groups}),
        bias_before=bias_of(test, chosen.choices()),
        bias_after=bias_of(test, chosen.choices(winner)),
        outside_before=outside_share(chosen.scores_of()) if letters else None,
        outside_after=outside_share(chosen.scores_of(winner)) if letters else None,
        neutral_kl=damage.kl,
        asking=tuple(
            asking(how, chosen, told, winner, seed) for how, told in answers.asked.items()
        ),
    )
    return Evaluation(
        selected=winner,
        validation_accuracy=selection.selected.correct / selection.selected.n,
        validation_unsteered=validation.accuracy(),
        methods={
            method: MethodResult(cell.configuration, _comparison(chosen, cell.configuration))
            for method, cell in selection.methods.items()
        },
        random=random,
        controls=controls,
        letters=_letters(test, chosen, winner) if letters else None,
        damage=damage,
        verdict=verdict(controls),
        doubts=_doubts(validation, chosen, winner),
    )


def _doubts(validation: Answers, chosen: Answers, winner: Configuration) -> Doubts | None:
    looked_at = [(validation, at) for at in validation.scores]
    looked_at += [(chosen, at) for at in dict.fromkeys((None, winner if winner.strength else None))]
    found = Doubts(
        answers=sum(len(part.item_ids) for part, _ in looked_at),
        ties=sum(part.ties(at) for part, at in looked_at),
        undecided=chosen.undecided(winner),
        broken=tuple(
            (at, validation.undecided(at))
            for at in validation.configurations
            if validation.undecided(at)
        ),
    )
    return found if found.ties or found.undecided or found.broken else None


def bias_of(test: Sequence[Example], choices: np.ndarray) -> BiasScores | None:
    """Return BBQ's bias scores of answers.

    Args:
        test: The items.
        choices: [n_items] int64, the index of the chosen choice of each item, or `UNDECIDED`.

    Returns:
        None if no choice of the items has the role "unknown", or no answer has a role.
    """
    if not any(UNKNOWN in example.roles for example in test):
        return None
    picked = [
        e.roles[choice] if e.roles and choice != UNDECIDED else None
        for e, choice in zip(test, choices, strict=True)
    ]
    if not any(picked):
        return None
    return bias_scores(
        picked,
        [e.stratum for e in test],
        [bool(choice == e.label) for e, choice in zip(test, choices, strict=True)],
    )


def _comparison(answers: Answers, configuration: Configuration) -> Comparison:
    return compare(answers.correct(), answers.correct(configuration))


def _letters(test: Sequence[Example], answers: Answers, winner: Configuration) -> LetterCounts:
    n_choices = max(len(example.choices) for example in test)
    unsteered, steered, correct = (
        tuple(np.bincount(picks[picks != UNDECIDED], minlength=n_choices).tolist())
        for picks in (answers.choices(), answers.choices(winner), answers.labels)
    )
    best, _ = best_constant(answers.labels.tolist())
    return LetterCounts(unsteered, steered, correct, best)


def _top_share(choices: np.ndarray) -> float:
    return float(np.bincount(choices[choices != UNDECIDED], minlength=1).max() / len(choices))


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: _plain(part) for name, part in value._asdict().items()}
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
