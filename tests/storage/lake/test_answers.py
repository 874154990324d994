"""Answers are kept by question, model and rule, found whatever file they lie in."""

import struct
from pathlib import Path

import pytest

from pas.engine.scoring import Query, ScoredSequence, canonical, query_key
from pas.errors import UserError
from storage.lake.answers import answers_address, read_answers, write_answers
from storage.lake.files import Lake, open_lake

FINGERPRINT, RULE = "f" * 32, "letter-both"
SCORES = {bytes([n]) * 16: [0.5 * n, -1.25, 3.0] for n in range(1, 6)}


@pytest.fixture(params=["folder", "memory"])
def lake(request: pytest.FixtureRequest, tmp_path) -> Lake:
    return open_lake(str(tmp_path) if request.param == "folder" else f"memory://{tmp_path.name}")


def write(lake: Lake, keys: list[bytes], rule: str = RULE, shift: float = 0.0) -> str:
    address = answers_address(lake, FINGERPRINT, rule, keys)
    scores = {key: [value + shift for value in SCORES[key]] for key in keys}
    return write_answers(lake, address, scores)


def test_what_was_written_is_found_and_nothing_else(lake: Lake) -> None:
    keys = list(SCORES)
    assert read_answers(lake, FINGERPRINT, RULE, keys) == {}
    write(lake, keys[:3])
    write(lake, keys[2:4])  # one of them again
    found = read_answers(lake, FINGERPRINT, RULE, keys)
    assert found == {key: SCORES[key] for key in keys[:4]}
    assert read_answers(lake, FINGERPRINT, RULE, keys[3:]) == {keys[3]: SCORES[keys[3]]}
    assert read_answers(lake, FINGERPRINT, RULE, []) == {}


def test_models_and_rules_are_kept_apart(lake: Lake) -> None:
    (key, *_) = SCORES
    write(lake, [key])
    write(lake, [key], "choice-mean", shift=1.0)
    assert read_answers(lake, FINGERPRINT, RULE, [key])[key] == SCORES[key]
    assert read_answers(lake, FINGERPRINT, "choice-mean", [key])[key][0] == SCORES[key][0] + 1.0
    assert read_answers(lake, "0" * 32, RULE, [key]) == {}


def test_a_damaged_file_is_set_aside(tmp_path: Path) -> None:
    lake = open_lake(str(tmp_path))
    one, two = list(SCORES)[:2], list(SCORES)[2:]
    write(lake, one)
    address = write(lake, two)
    for content in (b"PAR1 and no more", flipped((tmp_path / address).read_bytes())):
        (tmp_path / address).write_bytes(content)
        assert read_answers(lake, FINGERPRINT, RULE, list(SCORES)).keys() == {*one}
        assert not lake.exists(address) and lake.exists(f"quarantine/{address}")
        write(lake, two)
    assert read_answers(lake, FINGERPRINT, RULE, list(SCORES)) == SCORES


def flipped(content: bytes) -> bytes:
    """Return it with one bit of a score changed, which no reader of Parquet notices."""
    place = content.index(struct.pack("<d", 3.0))
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def test_scores_that_are_no_numbers_are_refused(lake: Lake) -> None:
    (key, *_) = SCORES
    address = answers_address(lake, FINGERPRINT, RULE, [key])
    with pytest.raises(UserError, match="not numbers"):
        write_answers(lake, address, {key: [0.0, float("nan")]})
    assert lake.list() == []


def test_the_address_is_that_of_the_questions(lake: Lake) -> None:
    keys = list(SCORES)
    assert write(lake, keys) == write(lake, keys[::-1])
    assert answers_address(lake, FINGERPRINT, RULE, keys[:2]) != write(lake, keys)


def test_a_question_is_its_tokens_and_what_is_read_not_its_label() -> None:
    asked = Query((ScoredSequence((1, 2, 3), 1, ()),), ((7,), (8, 9)), 0)
    key = query_key(FINGERPRINT, asked)
    assert key == query_key(FINGERPRINT, asked._replace(label=1)) and len(key) == 16
    others = [
        query_key("0" * 32, asked),
        query_key(FINGERPRINT, asked._replace(letters=((7,), (8,)))),
        query_key(FINGERPRINT, asked._replace(sequences=(ScoredSequence((1, 2, 4), 1, ()),))),
        query_key(FINGERPRINT, asked._replace(sequences=(ScoredSequence((1, 2, 3), 2, (4, 5)),))),
    ]
    assert len({key, *others}) == 5


def test_choices_scored_by_their_text_are_one_question_in_any_order() -> None:
    tails = (
        ScoredSequence((1, 2, 9), 1, (5,)),
        ScoredSequence((1, 2, 3), 1, (7,)),
        ScoredSequence((1, 2, 3), 1, (6,)),
    )
    asked = Query(tails, (), 0)
    turned = asked._replace(sequences=tails[::-1])
    assert query_key(FINGERPRINT, asked) == query_key(FINGERPRINT, turned)
    assert [asked.sequences[i] for i in canonical(asked)] == [
        turned.sequences[i] for i in canonical(turned)
    ]
    lettered = asked._replace(letters=((7,), (8,), (9,)))
    assert canonical(lettered) == [0, 1, 2]
    assert query_key(FINGERPRINT, lettered) != query_key(
        FINGERPRINT, lettered._replace(sequences=tails[::-1])
    )
