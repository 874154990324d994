"""Options of a command that are the fields of settings models.

The models are imported when the command is run or its own help is asked for: `pas --help` needs
neither them nor pydantic.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

if TYPE_CHECKING:
    from pas.options import Option


def command_with(
    options: Callable[[], Sequence["Option"]],
) -> type[TyperCommand]:
    """Return a class of commands that take options besides the parameters of their function.

    The function finds the values in the context's `obj`: texts and flags by the options' flat
    names, which the model reads. An option without a value is not there.

    Args:
        options: Imports the models and returns their leaves, in the order of the help.
    """

    class Command(TyperCommand):
        _offered: tuple[str, ...] = ()

        def get_params(self, ctx: Any) -> Any:
            """Return the options of the models, then those of the function."""
            if not self._offered:
                offered = _parameters(options())
                self.params = [*offered, *self.params]
                self._offered = tuple(str(parameter.name) for parameter in offered)
            return super().get_params(ctx)

        def invoke(self, ctx: Any) -> Any:
            """Run the function."""
            given = {name: ctx.params.pop(name) for name in self._offered}
            ctx.obj = {name: value for name, value in given.items() if value is not None}
            return super().invoke(ctx)

    return Command


def _parameters(options: Sequence["Option"]) -> list[Any]:
    """Return the parameters that typer makes of a function with these options."""

    def command(**_: Any) -> None: ...

    command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [_parameter(option) for option in options]
    )
    command.__annotations__ = {
        name: parameter.annotation
        for name, parameter in inspect.signature(command).parameters.items()
    }
    app = typer.Typer(add_completion=False)
    app.command()(command)
    return list(typer.main.get_command(app).params)


def _parameter(option: "Option") -> inspect.Parameter:
    from pas.options import REQUIRED, described

    keyword = inspect.Parameter.KEYWORD_ONLY
    text = described(option)
    panel = option.path[0].replace("_", " ").capitalize() if len(option.path) > 1 else None
    if option.kind is bool:
        off = option.flag.replace("--", "--no-", 1)
        flags = f"{option.flag}/{off}" if option.default else option.flag
        kind: Any = Annotated[bool, typer.Option(flags, help=text, rich_help_panel=panel)]
        return inspect.Parameter(option.name, keyword, default=option.default, annotation=kind)
    kind = Annotated[
        str if option.shown or option.default is REQUIRED else str | None,
        typer.Option(option.flag, help=text, metavar=_metavar(option), rich_help_panel=panel),
    ]
    default = inspect.Parameter.empty if option.default is REQUIRED else option.shown or None
    return inspect.Parameter(option.name, keyword, default=default, annotation=kind)


def _metavar(option: "Option") -> str:
    """Name what is to be given: a number, a list with commas, or text."""
    kind = option.item or option.kind
    if option.item is None and (int in option.members or float in option.members):
        return "NUMBER"
    if option.item is not None:
        return "LIST" if kind is str else "NUMBERS"
    return "TEXT"
