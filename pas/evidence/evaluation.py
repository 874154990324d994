"""The evaluation of a training on its test items: comparisons, controls and verdict in one value.

Reports, metrics, tags and tables format this value; nothing is computed from the answers elsewhere.
docs/method.md, "Evidence".
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, NamedTuple

import numpy as np

from pas.data.examples import Example
from pas.data.splits import Split, order_choices
from pas.evidence.bias import UNKNOWN, BiasScores, bias_scores
from pas.evidence.clusters import clustered_interval
from pas.evidence.controls import Controls
from pas.evidence.damage import Damage
from pas.evidence.letters import best_constant, outside_share, position_counts
from pas.evidence.paired import Comparison, compare
from pas.evidence.verdict import Verdict, verdict
from pas.methods.answers import Answers
from pas.methods.contrast import RANDOM, random_direction
from pas.methods.grid import Cell, Configuration, Directions
from pas.methods.selection import Selection

RANDOM_DRAWS = 10


class EvaluationAnswers(NamedTuple):
    """Answers to the test items, each set asked once.

    Attributes:
        chosen: Unsteered and under every chosen configuration.
        random: Under random directions of the winner's norm, one set of answers per direction.
        reshuffled: Unsteered and under the winner, with the choices in another order; None under
            choice scoring, where the model sees no order.
    """

    chosen: Answers
    random: tuple[Answers, ...]
    reshuffled: Answers | None


class MethodResult(NamedTuple):
    """An estimator's own choice, and how it does on the test items."""

    configuration: Configuration
    comparison: Comparison


@dataclass(frozen=True)
class LetterCounts:
    """How often each letter is answered and correct: [n_choices] each, in the order shown.

    Attributes:
        unsteered: Answers of the unsteered model.
        steered: Answers under the winner.
        correct: Correct answers.
        best: Index of the letter that is correct most often.
    """

    unsteered: tuple[int, ...]
    steered: tuple[int, ...]
    correct: tuple[int, ...]
    best: int


@dataclass(frozen=True)
class Evaluation:
    """What the test items say of a training.

    Attributes:
        selected: The configuration that validation chose.
        validation_accuracy: Its accuracy there.
        validation_unsteered: Accuracy of the unsteered model there.
        methods: Each estimator's own choice, by estimator.
        random: Comparison of each random direction of the winner's norm.
        controls: The winner's comparison and what was measured besides.
        letters: Letters answered; None under choice scoring.
        damage: What the winner does to neutral text.
        verdict: Whether the gain is real, with every check.
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

    @property
    def test(self) -> Comparison:
        """The winner against the unsteered model on the test items."""
        return self.controls.test

    def as_dict(self) -> dict[str, Any]:
        """Return the document, JSON-able; numbers that are not finite become strings."""
        document: dict[str, Any] = _plain(self)
        return document | {"verdict": self.verdict.as_dict()}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> "Evaluation":
        """Read what `as_dict` returned.

        Raises:
            ValueError: If it is no such document.
        """
        from pydantic import TypeAdapter

        return TypeAdapter(cls).validate_python(document)


def random_controls(
    winner: Cell, d_model: int, seed: int, draws: int = RANDOM_DRAWS
) -> list[tuple[Configuration, np.ndarray]]:
    """Draw random directions of the winner's norm, at its layer; none where not steering won.

    Returns:
        For each draw a configuration of the method "random" and [d_model] float32.
    """
    at = winner.configuration
    size = math.copysign(winner.effect, at.strength)
    return [
        (
            Configuration(RANDOM, at.layer, at.strength),
            random_direction(d_model, size, f"test:{seed}:{draw}"),
        )
        for draw in range(draws if at.strength else 0)
    ]


def answer_test(
    ask: Callable[[Sequence[Example], list[tuple[Configuration, np.ndarray]]], Answers],
    test: Sequence[Example],
    directions: Directions,
    selection: Selection,
    *,
    letters: bool,
    seed: int = 0,
) -> EvaluationAnswers:
    """Answer the test items under the chosen configurations and the controls, each once.

    Args:
        ask: Answers items unsteered and under each (configuration, [d_model] float32); letters'
            scores have to be log-probabilities over the vocabulary.
        test: The items, choices in the order shown.
        directions: Of the training.
        selection: What validation chose.
        letters: Whether answers are letters; then the winner is asked with the choices in another
            order too.
        seed: Of the random directions and of that order.
    """
    winner = selection.selected
    chosen = directions.deltas(selection.configurations)
    d_model = len(next(iter(directions.direction.values())))
    random = random_controls(winner, d_model, seed)
    # The random directions share a configuration, so each has a name of its own while it is asked.
    named = [
        (at._replace(method=f"{RANDOM}-{draw}"), delta) for draw, (at, delta) in enumerate(random)
    ]
    answers = ask(test, [*chosen, *named])
    draws = [
        Answers(answers.item_ids, answers.labels, {at: answers.scores_of(name)})
        for (at, _), (name, _) in zip(random, named, strict=True)
    ]
    kept = {at: answers.scores[at] for at in (None, *(at for at, _ in chosen))}
    reshuffled = None
    if letters:
        other = [order_choices(example, f"reshuffled:{seed}", "sound") for example in test]
        reshuffled = ask(other, directions.deltas([winner.configuration]))
    return EvaluationAnswers(
        Answers(answers.item_ids, answers.labels, kept), tuple(draws), reshuffled
    )


def evaluate(
    split: Split,
    selection: Selection,
    answers: EvaluationAnswers,
    damage: Damage,
    *,
    validation: Answers,
    seed: int = 0,
) -> Evaluation:
    """Compare, control and judge.

    Args:
        split: Its training and test items.
        selection: What validation chose.
        answers: To the test items, in the order of the split.
        damage: Of the winner, on neutral text.
        validation: Answers to the validation items.
        seed: Of the bootstrap of the random directions.

    Raises:
        ValueError: If the answers are not to the split's test items.
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
        # With a group for every item it would be the same test once more.
        clustered=clustered_interval(gained, groups) if len(set(groups)) < len(test) else None,
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
    )


def bias_of(test: Sequence[Example], choices: np.ndarray) -> BiasScores | None:
    """Return BBQ's scores of answers; None for data whose choices have no such roles.

    Args:
        test: The items.
        choices: [n_items] int, the answered choice of each.
    """
    if not any(UNKNOWN in example.roles for example in test):
        return None
    return bias_scores(
        [e.roles[choice] if e.roles else None for e, choice in zip(test, choices, strict=True)],
        [e.stratum for e in test],
        [bool(choice == e.label) for e, choice in zip(test, choices, strict=True)],
    )


def _comparison(answers: Answers, configuration: Configuration) -> Comparison:
    return compare(answers.correct(), answers.correct(configuration))


def _letters(test: Sequence[Example], answers: Answers, winner: Configuration) -> LetterCounts:
    n_choices = max(len(example.choices) for example in test)
    labels = answers.labels.tolist()
    unsteered, steered, correct = (
        tuple(position_counts(picks, n_choices))
        for picks in (answers.choices().tolist(), answers.choices(winner).tolist(), labels)
    )
    return LetterCounts(unsteered, steered, correct, best_constant(labels)[0])


def _top_share(choices: np.ndarray) -> float:
    return float(np.bincount(choices).max() / len(choices))


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
