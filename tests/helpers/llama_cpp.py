"""llama.cpp's own server in this process, with its own command line.

The package `xllamacpp` has llama.cpp as one library and its parameters as a Python object, but no
field for control vectors. So the arguments go through llama.cpp's own parser, which writes into
the parameters where they are in memory.
"""

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

_PARSER = "_Z19common_params_parseiPPcR13common_params13llama_examplePFviS0_E"
_COMMON = 1  # LLAMA_EXAMPLE_COMMON: the arguments that all of its programs have
_HEADER = 16  # bytes of a Python object; the parameters follow


class Step(NamedTuple):
    """A greedy token, and the log probabilities that it was chosen from, [vocabulary] float32."""

    token: int
    log_probabilities: np.ndarray


class LlamaCpp:
    """A GGUF model in llama.cpp, on one thread and with its cache in float32."""

    def __init__(self, model: Path, *arguments: str, vocabulary: int) -> None:
        import xllamacpp

        self._vocabulary = vocabulary
        parameters = xllamacpp.CommonParams()
        _parse(
            parameters,
            ["-m", str(model), "-c", "256", "-np", "1", "--threads", "1", "--no-warmup", "-lv", "0",
             "-ctk", "f32", "-ctv", "f32", "-fa", "off", *arguments],
        )  # fmt: skip
        self._server = xllamacpp.Server(parameters)

    def next(self, tokens: Sequence[int], banned: Sequence[int] = ()) -> Step:
        """Return the greedy token after some token ids.

        Args:
            tokens: The ids.
            banned: Tokens that are not chosen. The log probabilities are those of all.
        """
        answer: Any = self._server.handle_completions(
            {"prompt": [int(token) for token in tokens], "max_tokens": 1, "temperature": 0,
             "logprobs": self._vocabulary, "logit_bias": [[int(i), False] for i in banned]}
        )  # fmt: skip
        # There is none for a token that ends the text or is a part of a character.
        [entry] = answer["choices"][0]["logprobs"]["content"]
        row = np.full(self._vocabulary, -np.inf, dtype=np.float32)
        for one in entry["top_logprobs"]:
            row[one["id"]] = one["logprob"]
        return Step(entry["id"], row)


def _parse(parameters: Any, arguments: list[str]) -> None:
    """Let llama.cpp read its arguments into the parameters."""
    from xllamacpp import xllamacpp as library

    at = id(parameters) + _HEADER
    first = (ctypes.c_int32 * 3).from_address(at)
    known = [parameters.n_predict, parameters.n_ctx, parameters.n_batch]
    assert [*first] == known, "the parameters are elsewhere in this release of xllamacpp"
    parse = getattr(ctypes.CDLL(library.__file__), _PARSER)
    parse.restype = ctypes.c_bool
    words = [word.encode() for word in ("llama-server", *arguments)]
    given = (ctypes.c_char_p * (len(words) + 1))(*words, None)
    assert parse(len(words), given, ctypes.c_void_p(at), _COMMON, None), arguments
