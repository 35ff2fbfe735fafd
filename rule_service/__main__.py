"""The command line: `serve`, `migrate`, `new-history`, `token`, `health`, `check-config`."""

import argparse
import asyncio
import os
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path

from rule_service import token_command
from rule_service.settings import PREFIX, Settings
from rule_service.store.history import begin_anew
from rule_service.store.migrate import SchemaMismatch, migrate
from rule_service.store.pool import connect, wait_for_database
from rulecast.errors import RulecastError
from rulecast.process.garbage import settle
from rulecast.process.health import Question, why_not
from rulecast.process.logs import configure_audit, configure_logging
from rulecast.process.settings import Loaded, load_settings, print_settings
from rulecast.process.settings_file import SettingsError
from rulecast.process.supervise import CanNotStart

_WRONG_SETTINGS = 2


def main() -> int:
    arguments = _parser().parse_args()
    try:
        loaded = load_settings(Settings, PREFIX, arguments.config, os.environ)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return _WRONG_SETTINGS
    return int(arguments.run(loaded, arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rule-service", description="Rulecast's rule service.")
    config = argparse.ArgumentParser(add_help=False)
    config.add_argument("--config", type=Path, metavar="FILE", help="settings file; RULECAST_CONFIG names one too")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, run, words in (
        ("serve", _serve, "run the service until SIGTERM or SIGINT"),
        ("migrate", _migrate, "bring the database's schema up to date, and end"),
        (
            "new-history",
            _new_history,
            "after the database was restored from a backup: have every deployer compare all its files with it. None "
            "deletes more than half of them until ResyncDeployers allows it. While the service runs, or before",
        ),
        ("check-config", _check_config, "print the settings in force and where each is from, secrets masked"),
    ):
        command = commands.add_parser(name, help=words, description=words, parents=[config])
        command.set_defaults(run=run)
    words = "ask the service that runs here with these settings whether it is ready"
    health = commands.add_parser("health", help=words, description=words, parents=[config])
    health.add_argument("--live", action="store_true", help="only whether it has not got stuck")
    health.set_defaults(run=_health)
    words = "make, list and revoke tokens, in the database itself"
    token_command.add_commands(commands.add_parser("token", help=words, description=words), config)
    return parser


def _serve(loaded: Loaded[Settings], _: argparse.Namespace) -> int:
    settings = loaded.settings
    configure_logging(settings.logs.level, settings.logs.format)
    # here: `health` is run every few seconds, and needs none of it
    from rule_service.wiring import serve

    try:
        configure_audit(settings.audit.file)
        settle()
        return asyncio.run(serve(settings))
    except (RulecastError, CanNotStart) as error:
        print(f"rule-service: {error}", file=sys.stderr)
        return 1


def _migrate(loaded: Loaded[Settings], _: argparse.Namespace) -> int:
    async def run(url: str) -> str:
        await wait_for_database(url)
        return f"the schema is at version {await migrate(url)}"

    return _done(loaded, run)


def _health(loaded: Loaded[Settings], arguments: argparse.Namespace) -> int:
    settings, question = loaded.settings, Question.LIVE if arguments.live else Question.READY
    why = why_not(question, settings.http_listen, settings.tls is not None)
    if why is not None:
        print(f"rule-service: not {question.name.lower()}: {why}", file=sys.stderr)
        return 1
    print(question.name.lower())
    return 0


def _new_history(loaded: Loaded[Settings], _: argparse.Namespace) -> int:
    async def run(url: str) -> str:
        await wait_for_database(url)
        if loaded.settings.database.migrate:  # a backup may be one of an older build
            await migrate(url)
        database = await connect(url, min_size=0, max_size=1)
        try:
            async with database.transaction() as session:
                history_id = await begin_anew(session)
        finally:
            await database.close()
        return f"the history is {history_id} now; deployers compare all files when they connect"

    return _done(loaded, run)


def _done(loaded: Loaded[Settings], work: Callable[[str], Coroutine[None, None, str]]) -> int:
    """The exit code of work on the database with this URL, which answers what to print."""
    settings = loaded.settings
    configure_logging(settings.logs.level, settings.logs.format)
    try:
        print(asyncio.run(work(settings.database.url.get_secret_value())))
    except (RulecastError, SchemaMismatch) as error:
        print(f"rule-service: {error}", file=sys.stderr)
        return 1
    return 0


def _check_config(loaded: Loaded[Settings], _: argparse.Namespace) -> int:
    print(print_settings(loaded), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
