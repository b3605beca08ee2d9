"""What is to be run, as the command line says it: a script, a module, or, after `--`, any command."""

import math

import click

from otelprof.cli.child import command_found, script_command

_IS_COMMAND = "otelprof.run.is_command"


def finite(_: click.Context, param: click.Parameter, number: float | None) -> float | None:
    """What an option's number must be: `nan` is neither below nor above the ends of a range, and passes those."""
    if number is not None and math.isnan(number):
        raise click.BadParameter(f"'{number}' is not a number.", param=param)
    return number


class RunCommand(click.Command):
    """Options of `run` end where the program begins: all that follows is the program's, also what looks like ours."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Note whether `--` stood in front of the program, and end our options after `-m MODULE` as Python does."""
        end, ends_with = self._options_end(args)
        ctx.meta[_IS_COMMAND] = ends_with == "--"
        if ends_with == "-m":
            args = [*args[:end], "--", *args[end:]]
        return super().parse_args(ctx, args)

    def _options_end(self, args: list[str]) -> tuple[int, str]:
        """Where in `args` the program begins, and behind what: `--`, `-m` and a module, or nothing."""
        with_value = {
            name
            for option in self.params
            if isinstance(option, click.Option) and not option.is_flag
            for name in option.opts
        }
        at = 0
        while at < len(args):
            word = args[at]
            if word == "--":
                return at + 1, "--"
            if not word.startswith("-") or word == "-":
                break
            at += 2 if word in with_value else 1
            if word == "--module" or word.startswith(("-m", "--module=")):
                return at, "-m" if at <= len(args) else ""
        return at, ""


def command_of(ctx: click.Context, module: str, words: tuple[str, ...], python: str) -> list[str]:
    """The command to run.

    Raises:
        click.UsageError: none is named, or it is not there.
    """
    if module:
        return [python, "-m", module, *words]
    if not words:
        raise click.UsageError("say what to run: SCRIPT, -m MODULE or -- COMMAND")
    if ctx.meta[_IS_COMMAND]:
        return command_found(words)
    return script_command(words[0], words[1:])
