"""`pas chat`: a conversation in the terminal, with vectors switched on and off between messages."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.display import say
from flows.cli.references import Reference

if TYPE_CHECKING:
    from pas.data.chat import Message
    from pas.decoding.request import Request, Sampling
    from pas.decoding.scheduler import Piece, Scheduler
    from pas.models.loading import LoadedModel
    from pas.steering.intervention import Intervention
    from serving.vectors import ServedVector, Vectors

_HELP = """/strength 2   factor on the vector; without a number, its own
/off, /on     answer without the vector, or with it
/vector NAME  use another vector
/compare      answer each message twice, without and with it; again to stop
/reset        forget the conversation
/quit         end; so does Ctrl-D"""


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("chat", help=chat.__doc__)(chat)


def chat(
    vector: Reference,
    model: Annotated[
        str | None, typer.Option(help="Another model than the vector's, of its architecture.")
    ] = None,
    strength: Annotated[float | None, typer.Option(help="Factor; the vector's own.")] = None,
    temperature: Annotated[float, typer.Option(min=0, help="0 takes the likeliest token.")] = 0.0,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Length of an answer.")] = 256,
) -> None:
    """Talk to a model, with a vector on or off.

    pas chat pas-smollm2-135m-instruct-demo

    Within the conversation /strength, /off, /on, /vector and /compare change the steering, and
    /help explains them.
    """
    from flows.cli.serve import load_served
    from flows.cli.session import begin

    begin(with_server=False)
    from pas.decoding.request import Sampling
    from pas.decoding.scheduler import Scheduler
    from serving.vectors import reference_of

    loaded, vectors = load_served([vector], model)
    talk = _Talk(
        loaded,
        vectors,
        vectors.find(reference_of(vector)),
        strength,
        Sampling(temperature),
        max_new_tokens,
    )
    scheduler = Scheduler(loaded)
    scheduler.start()
    say(f"{loaded.spec.slug} with {talk.about}; /help explains the commands, /quit ends")
    for line in _lines():
        if line.startswith("/"):
            if not _obey(talk, line):
                break
        elif line:
            _answer(talk, scheduler, line)
    scheduler.stop()


@dataclass
class _Talk:
    """The state of a conversation."""

    model: "LoadedModel"
    vectors: "Vectors"
    vector: "ServedVector"
    strength: float | None
    sampling: "Sampling"
    max_new_tokens: int
    is_on: bool = True
    compare: bool = False
    messages: "list[Message]" = field(default_factory=list)

    @property
    def interventions(self) -> "tuple[Intervention, ...]":
        """What is done to the hidden states when the vector is on."""
        return self.vector.at(self.strength).interventions

    @property
    def about(self) -> str:
        """The vector and its strength, in words."""
        if not self.is_on:
            return f"{self.vector.label} off"
        own = [one.strengths[0] for one in self.interventions]
        return f"{self.vector.label}, strength {', '.join(f'{s:g}' for s in own)}"


def _lines() -> Iterator[str]:
    """Yield what is typed, until the end of the input."""
    terminal = sys.stdin.isatty()
    while True:
        if terminal:
            sys.stderr.write("> ")
            sys.stderr.flush()
        line = sys.stdin.readline()
        if not line:
            return
        yield line.strip()


def _obey(talk: _Talk, line: str) -> bool:
    """Do what a line that begins with / asks for; return whether the conversation goes on."""
    from pas.errors import UserError

    command, _, rest = line.partition(" ")
    rest = rest.strip()
    try:
        match command:
            case "/quit" | "/exit":
                return False
            case "/strength":
                talk.strength, talk.is_on = (float(rest) if rest else None), True
                talk.interventions  # noqa: B018  (a strength that is not finite is refused)
            case "/off" | "/on":
                talk.is_on = command == "/on"
            case "/vector":
                talk.vector, talk.strength = talk.vectors.find(rest), None
            case "/compare":
                talk.compare = not talk.compare
                say("each message is answered twice" if talk.compare else "one answer a message")
            case "/reset":
                talk.messages.clear()
                say("the conversation is forgotten")
            case "/help":
                say(_HELP)
            case _:
                say(f"{command}: no such command; /help lists them")
    except UserError as error:
        talk.strength = None if command == "/strength" else talk.strength
        say(str(error))
        return True
    except ValueError:
        say(f"{rest!r} is no number")
        return True
    if command in ("/strength", "/off", "/on", "/vector"):
        say(talk.about)
    return True


def _answer(talk: _Talk, scheduler: "Scheduler", text: str) -> None:
    """Print the answer to a message while it is generated, and remember it."""
    from pas.data.chat import Message
    from pas.data.prompts import encode
    from pas.decoding.request import Request
    from pas.errors import UserError
    from serving.prompts import prompt_text

    messages = [*talk.messages, Message(role="user", content=text)]
    on = talk.interventions
    asked: Sequence[tuple[str, tuple[Intervention, ...]]] = (
        [("off", ()), ("on", on)] if talk.compare else [("", on if talk.is_on else ())]
    )
    for title, interventions in asked:
        if title:
            say(f"[{title}]")
        try:
            prompt = encode(talk.model.info, prompt_text(talk.model, messages, interventions))
            request = Request(prompt.token_ids, talk.max_new_tokens, interventions, talk.sampling)
            answer = _print(scheduler, request)
        except UserError as error:
            say(str(error))
            return
    # The next message follows the steered answer, the last one.
    talk.messages = [*messages, Message(role="assistant", content=answer)]


def _print(scheduler: "Scheduler", request: "Request") -> str:
    """Print a continuation while it is generated; return it whole.

    Raises:
        UserError: If the scores overflow.
    """
    inbox: SimpleQueue[Piece] = SimpleQueue()
    scheduler.submit([request], lambda _, piece: inbox.put(piece))
    whole = ""
    while True:
        piece = inbox.get()
        if piece.error is not None:
            sys.stdout.write("\n")
            raise piece.error
        text = piece.text if whole else piece.text.lstrip()
        whole += text
        sys.stdout.write(text)
        sys.stdout.flush()
        if piece.finish:
            sys.stdout.write("\n")
            return whole
