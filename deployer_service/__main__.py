"""The command line: `serve`, `token`, `health`, `check-config`."""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from deployer_service.settings import PREFIX, Settings
from rulecast.errors import RulecastError
from rulecast.process.health import Question, why_not
from rulecast.process.logs import configure_audit, configure_logging
from rulecast.process.settings import Loaded, load_settings, print_settings
from rulecast.process.settings_file import SettingsError
from rulecast.process.supervise import CanNotStart
from rulecast.tokens import hash_of, new_id, new_token

_FAILED = 1
_WRONG_SETTINGS = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 ended as told, 1 failed, 2 wrong settings or command line."""
    parsed = _parser().parse_args(arguments)
    if parsed.run is None:
        return _token()
    try:
        loaded = load_settings(Settings, PREFIX, parsed.config, os.environ)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return _WRONG_SETTINGS
    return int(parsed.run(loaded, parsed))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="deployer-service", description="Rulecast's deployer.")
    config = argparse.ArgumentParser(add_help=False)
    config.add_argument("--config", type=Path, metavar="FILE", help="settings file; RULECAST_CONFIG names one too")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, run, words in (
        ("serve", _serve, "run the deployer until SIGTERM or SIGINT"),
        ("check-config", _check_config, "print the settings in force and where each is from, secrets masked"),
    ):
        command = commands.add_parser(name, help=words, description=words, parents=[config])
        command.set_defaults(run=run)
    words = "ask the deployer that runs here with these settings whether it is ready"
    health = commands.add_parser("health", help=words, description=words, parents=[config])
    health.add_argument("--live", action="store_true", help="only whether it has not got stuck")
    health.set_defaults(run=_health)
    words = "make a token for the deployer's own service, and print it with what to put into the settings"
    commands.add_parser("token", help=words, description=words).set_defaults(run=None)
    return parser


def _token() -> int:
    token = new_token(new_id())
    print(f"token: {token}\napi.token_sha256: {hash_of(token).hex()}")
    return 0


def _serve(loaded: Loaded[Settings], _: argparse.Namespace) -> int:
    settings = loaded.settings
    configure_logging(settings.logs.level, settings.logs.format)
    # here: `health` is run every few seconds, and needs none of it
    from deployer_service.wiring import serve

    try:
        configure_audit(settings.audit.file)
        return asyncio.run(serve(settings))
    except (RulecastError, CanNotStart) as error:
        print(f"deployer-service: {error}", file=sys.stderr)
        return _FAILED


def _health(loaded: Loaded[Settings], arguments: argparse.Namespace) -> int:
    settings, question = loaded.settings, Question.LIVE if arguments.live else Question.READY
    why = why_not(question, settings.http_listen, settings.tls is not None)
    if why is not None:
        print(f"deployer-service: not {question.name.lower()}: {why}", file=sys.stderr)
        return _FAILED
    print(question.name.lower())
    return 0


def _check_config(loaded: Loaded[Settings], _: argparse.Namespace) -> int:
    print(print_settings(loaded), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
