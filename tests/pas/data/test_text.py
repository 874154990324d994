"""Text that arrives in pieces is the text of all tokens, and ends before a stop text."""

from hypothesis import given, settings
from hypothesis import strategies as st

from pas.data.text import TextStream
from tests.helpers.tiny_models import tiny_tokenizer

TEXTS = st.text(min_size=1, max_size=30) | st.sampled_from(
    ["The heron sat under the bridge.", "été, 你好 and 👩‍👩‍👧 😀 too", "\n\n  indented\tand tabs "]
)


def pieces_of(text: str, stop: tuple[str, ...] = ()) -> tuple[list[str], bool]:
    tokenizer = tiny_tokenizer(bos=False)
    stream, pieces = TextStream(tokenizer, stop), []
    for token in tokenizer(text)["input_ids"]:
        pieces.append(stream.push(token))
        if stream.stopped:
            return pieces, True
    return [*pieces, stream.finish()], stream.stopped


@settings(deadline=None)
@given(TEXTS)
def test_pieces_together_are_the_whole(text: str) -> None:
    tokenizer = tiny_tokenizer(bos=False)
    whole = tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True)
    pieces, stopped = pieces_of(text)
    assert "".join(pieces) == whole and not stopped
    assert "\ufffd" not in "".join(pieces[:-1]) or "\ufffd" in text


@settings(deadline=None)
@given(TEXTS, st.lists(st.text("ab e.\n", min_size=1, max_size=4), min_size=1, max_size=3))
def test_a_stop_text_ends_it(text: str, stop: list[str]) -> None:
    whole = "".join(pieces_of(text)[0])
    ends = [(whole.find(s) + len(s), whole.find(s)) for s in stop if s in whole]
    pieces, stopped = pieces_of(text, tuple(stop))
    assert "".join(pieces) == (whole[: min(ends)[1]] if ends else whole)
    assert stopped is bool(ends)


def test_text_is_not_held_back_for_long() -> None:
    pieces, _ = pieces_of("The heron sat under the bridge.", ("\n\n",))
    assert all(pieces[:-1]) and not pieces[-1]
