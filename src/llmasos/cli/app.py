"""The ``llmasos`` command: a group that imports a command's module only when that command runs.

Global options are accepted before and after the command. An :class:`LLMasOSError` becomes a message, a hint and
the exit code of its class; anything else that is raised is a defect and is reported as one.
"""

from __future__ import annotations

import errno
import importlib
import logging
import os
import re
import signal
import sys
import tomllib
from collections.abc import Iterator, Sequence
from types import FrameType, TracebackType
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperCommand, TyperGroup

from llmasos import __version__, i18n
from llmasos.cli import help as help_pages
from llmasos.cli.commands import command_table, near_commands
from llmasos.cli.completion import mend_bash_words, without_prefix
from llmasos.errors import InvalidRequest, LLMasOSError, did_you_mean
from llmasos.home import home_directory
from llmasos.i18n import t

INTERRUPTED = 130
TERMINATED = 143
_FLAGS = ("--debug",)
_VALUED = ("--lang", "--home")


class Command(TyperCommand):
    """A command whose help page is ours: fast, and in the language in force."""

    def get_help(self, ctx: typer.Context) -> str:  # type: ignore[override]  # the base says click.Context
        return help_pages.command_page(self, ctx)


class LazyGroup(TyperGroup):
    """The root group. Its own commands are stand-ins with a name and a help line; the real ones load when called."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for row in command_table(i18n.language()):
            self.add_command(TyperCommand(row.name, help=row.help, rich_help_panel=row.panel))

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name = args[0]
        rows = {row.name: row for row in command_table(i18n.language())}
        if name not in rows:
            if ctx.resilient_parsing:
                return None, None, args[1:]
            near = near_commands(name, list(rows))
            raise InvalidRequest(
                t("there is no command {name!r}", name=name),
                hint=t("did you mean {names}?", names=", ".join(near))
                if near
                else t("`llmasos --help` lists all commands."),
            )
        return name, load_command(name, rows[name].module), args[1:]

    def get_help(self, ctx: typer.Context) -> str:  # type: ignore[override]  # the base says click.Context
        rows = [(row.panel, row.name, row.help) for row in command_table(i18n.language())]
        return help_pages.group_page(
            self,
            ctx,
            rows,
            intro=[t("From a base language model to a trustworthy application, on the machine you have.")],
            outro=[t("`llmasos COMMAND --help` explains a command. Start with `llmasos run`.")],
        )


class Group(TyperGroup):
    """A command with commands of its own, such as ``llmasos data``, whose help page is ours."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        if args[0] not in self.commands and not ctx.resilient_parsing:
            near = did_you_mean(args[0], list(self.commands))
            raise InvalidRequest(
                t("there is no command {name!r}", name=f"{self.name} {args[0]}"),
                hint=near or t("`{command} --help` shows what is allowed.", command=ctx.command_path),
            )
        return super().resolve_command(ctx, args)

    def get_help(self, ctx: typer.Context) -> str:  # type: ignore[override]  # the base says click.Context
        rows = [(t("Commands"), name, help_pages.paragraphs(item.help)[0]) for name, item in self.commands.items()]
        return help_pages.group_page(
            self,
            ctx,
            rows,
            intro=help_pages.paragraphs(self.help),
            outro=[t("`{command} COMMAND --help` explains a command.", command=ctx.command_path)],
        )


def load_command(name: str, module: str) -> Command | Group:
    """Import ``module`` and return its command or group ``name`` with our help pages."""
    loaded: Any = typer.main.get_command(importlib.import_module(module).app)
    if isinstance(loaded, TyperGroup) and name in loaded.commands:
        loaded = loaded.commands[name]
    if loaded.name != name:
        raise LookupError(f"{module} has no command {name!r}")
    return _with_our_help(loaded)


def _with_our_help(loaded: Any) -> Command | Group:
    if isinstance(loaded, TyperGroup):
        commands: dict[str, Any] = {name: _with_our_help(item) for name, item in loaded.commands.items()}
        return Group(name=loaded.name, commands=commands, help=loaded.help, no_args_is_help=True)
    return Command(
        loaded.name,
        context_settings=loaded.context_settings,
        callback=loaded.callback,
        params=[item for item in loaded.params if item.name not in ("install_completion", "show_completion")],
        help=loaded.help,
        epilog=loaded.epilog,
        no_args_is_help=loaded.no_args_is_help,
        deprecated=loaded.deprecated,
    )


def leaves(command: Command | Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Command]]:
    """(words, command) of a command, or of all commands of a group."""
    words = (*path, str(command.name))
    if isinstance(command, Command):
        yield words, command
    else:
        for item in command.commands.values():
            yield from leaves(item, words)  # type: ignore[arg-type]  # only our two classes are made here


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"llmasos {__version__}")
        raise typer.Exit


def _set_language(chosen: str | None) -> str | None:
    if chosen:
        i18n.set_language(chosen)
    return chosen


def _set_home(home: str | None) -> str | None:
    if home:
        os.environ["LLMASOS_HOME"] = home
    return home


def global_options(
    version: Annotated[
        bool, typer.Option("--version", help=t("Print the version."), callback=_show_version, is_eager=True)
    ] = False,
    lang: Annotated[
        Literal["en", "zh"] | None,
        typer.Option(help=t("Language of messages."), callback=_set_language, is_eager=True),
    ] = None,
    home: Annotated[
        str | None,
        typer.Option(
            help=t("Folder of the library and settings instead of ~/.llmasos."), callback=_set_home, is_eager=True
        ),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help=t("Show tracebacks and debug messages."))] = False,
) -> None:
    """The options that every command has. Annotations are evaluated by :func:`build`, in the language then in force."""
    configure_logging(debug=debug)


def build() -> Any:
    """The root command, with texts in the language in force."""
    root = typer.Typer(cls=LazyGroup, add_completion=True, pretty_exceptions_enable=False)
    root.callback()(global_options)
    return typer.main.get_command(root)


def hoist_global_options(arguments: Sequence[str]) -> list[str]:
    """Move the global options to the front, so that they work after the command too; ``--`` ends the search."""
    front: list[str] = []
    rest: list[str] = []
    words = iter(arguments)
    for word in words:
        if word == "--":
            rest += [word, *words]
        elif word in _FLAGS or (word.split("=", 1)[0] in _VALUED and "=" in word):
            front.append(word)
        elif word in _VALUED:
            value = next(words, None)
            if value is None:
                return [*front, word]  # the parser says that a value is missing
            front += [word, value]
        else:
            rest.append(word)
    return front + rest


def choose_language(arguments: Sequence[str]) -> None:
    """Set the language before any text is made: ``--lang``, ``LLMASOS_LANG``, ``lang`` in config.toml, the locale."""
    chosen: str | None = None
    for index, word in enumerate(arguments):
        if word == "--":
            break
        if word == "--lang" and index + 1 < len(arguments):
            chosen = arguments[index + 1]
        elif word.startswith("--lang="):
            chosen = word.split("=", 1)[1]
        elif word == "--home" and index + 1 < len(arguments):
            os.environ["LLMASOS_HOME"] = arguments[index + 1]
        elif word.startswith("--home="):
            os.environ["LLMASOS_HOME"] = word.split("=", 1)[1]
    if chosen is None and not os.environ.get("LLMASOS_LANG"):
        chosen = _configured_language()
    i18n.set_language(chosen if chosen in i18n.LANGUAGES else None)


def _configured_language() -> str | None:
    """``lang`` of config.toml, read without the settings, whose import is slow. They report what is wrong in it."""
    try:
        value = tomllib.loads((home_directory() / "config.toml").read_text(encoding="utf-8")).get("lang")
    except (OSError, ValueError):
        return None
    return value if isinstance(value, str) else None


def configure_logging(*, debug: bool) -> None:
    """Send log records to standard error: warnings of ours, errors of others, everything with ``--debug``."""
    logging.basicConfig(
        level=logging.DEBUG if debug else logging.ERROR, format="%(levelname)s %(name)s: %(message)s", force=True
    )
    logging.getLogger("llmasos").setLevel(logging.DEBUG if debug else logging.WARNING)
    logging.captureWarnings(True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code (see docs/errors.md)."""
    words = hoist_global_options(sys.argv[1:] if arguments is None else arguments)
    choose_language(words)
    before_options = words[: words.index("--")] if "--" in words else words
    machine, debug = "--json" in before_options, "--debug" in before_options
    if arguments is None:
        repeated = mend_bash_words()
        if repeated:
            without_prefix(lambda: build().main(args=[], prog_name="llmasos"), repeated)
            return 0
        signal.signal(signal.SIGTERM, _terminate)
        if not debug:
            sys.excepthook = report_defect
    try:
        result = build().main(args=words or ["--help"], prog_name="llmasos", standalone_mode=False)
    except LLMasOSError as error:
        return report(error, machine=machine, debug=debug)
    except typer.TyperException as error:
        return report(usage_error(error), machine=machine, debug=debug)
    except typer.Abort:
        return _interrupted()
    except KeyboardInterrupt:
        return _interrupted()
    except OSError as error:
        return report(system_error(error), machine=machine, debug=debug)
    if result == INTERRUPTED:
        return _interrupted()
    return result if isinstance(result, int) else 0


def _interrupted() -> int:
    sys.stderr.write("\n" + t("Interrupted.") + "\n")
    return INTERRUPTED


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    """End on SIGTERM as if by an exception, so that locks are freed and the terminal is put right."""
    raise SystemExit(TERMINATED)


def usage_error(error: typer.TyperException) -> InvalidRequest:
    """What the parser refused, as an error of ours: in the language in force, with a suggestion and a next step."""
    context: Any = getattr(error, "ctx", None)
    path = context.command_path if context else "llmasos"
    hint = t("`{command} --help` shows what is allowed.", command=path)
    message = error.format_message()
    parameter: Any = getattr(error, "param", None)
    option: str | None = getattr(error, "option_name", None)
    if option is not None and hasattr(error, "possibilities") and context is not None:
        known = [name for item in context.command.get_params(context) for name in (*item.opts, *item.secondary_opts)]
        message = t("{command} has no option {option}", command=path, option=option)
        near = did_you_mean(option, [name for name in known if name.startswith("-")])
        hint = f"{near} {hint}" if near else hint
    elif option is not None:
        message = t("{option} needs a value", option=option)
    elif hasattr(error, "param_type") and parameter is not None:
        message = t("{command} needs {name}", command=path, name=help_pages.parameter_name(parameter))
    elif parameter is not None:
        name, problem = help_pages.parameter_name(parameter), _value_problem(error.message)
        message = t("{name} has a value that is not allowed: {problem}", name=name, problem=problem)
    elif message == "Missing command.":
        message, hint = t("there is no command in this line"), t("`llmasos --help` lists all commands.")
    elif extra := re.fullmatch(r"Got unexpected extra argument.*\((.*)\)\.?", message):
        message = t("{command} takes no further argument: {extra}", command=path, extra=extra[1])
    return InvalidRequest(message, hint=hint)


def _value_problem(message: str) -> str:
    """What the parser says of a value, in the language in force for the two commonest kinds."""
    if "valid integer" in message:
        return t("a whole number is needed")
    if "valid number" in message or "valid float" in message:
        return t("a number is needed")
    return message


class OperatingSystemError(LLMasOSError):
    """The operating system refused: no permission, no such folder, a read-only disk."""

    code = "system_error"


class DiskFullError(OperatingSystemError):
    """The disk or the quota is full."""

    code = "out_of_disk"
    exit_code = 7
    http_status = 507


def system_error(error: OSError) -> LLMasOSError:
    """An operating-system error that no layer below explained."""
    where = f": {error.filename}" if error.filename else ""
    message = f"{error.strerror or error}{where}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFullError(message, hint=t("Free space on this disk: `llmasos rm`, then `llmasos gc`."))
    return OperatingSystemError(message, hint=t("Check the path and its permissions; --debug shows where it happened."))


def report(error: LLMasOSError, *, machine: bool, debug: bool) -> int:
    """Tell the person or the program what went wrong, and return the exit code."""
    if debug:
        import traceback

        traceback.print_exception(error)
    if machine:
        from llmasos.cli.output import write_json

        write_json({"error": {"code": error.code, "message": error.message, "hint": error.hint}})
    else:
        colour = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
        red, dim, off = ("\x1b[1;31m", "\x1b[2m", "\x1b[0m") if colour else ("", "", "")
        sys.stderr.write(f"{red}{t('error:')}{off} {error.message}\n")
        if error.hint:
            sys.stderr.write(f"  {dim}{t('hint:')} {error.hint}{off}\n")
    return error.exit_code


def report_defect(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """The exception hook: a defect of ours, said in two lines; the traceback comes with ``--debug``."""
    sys.stderr.write(t("internal error: {kind}: {error}", kind=kind.__name__, error=error) + "\n")
    sys.stderr.write("  " + t("hint: run it again with --debug and report the traceback.") + "\n")


if __name__ == "__main__":
    sys.exit(main())
