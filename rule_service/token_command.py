"""`rule-service token`: makes, lists and revokes tokens in the database itself, for whoever has none yet."""

import argparse
import asyncio
import getpass
import os
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from rule_service.settings import Settings
from rule_service.store.pool import connect
from rule_service.store.tokens import PostgresTokens
from rule_service.store.unit_of_work import PostgresStore
from rule_service.usecases.tokens import Role, Token, TokenDraft, Tokens
from rulecast.errors import RulecastError
from rulecast.process.logs import configure_audit, configure_logging
from rulecast.process.settings import Loaded
from rulecast.process.settings_types import parse_duration
from rulecast.process.supervise import CanNotStart
from rulecast.rpc import audit

_PAGE = 1000


def add_commands(parser: argparse.ArgumentParser, config: argparse.ArgumentParser) -> None:
    """config: the options that every command has."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    words = "make a token and print it; it can be read nowhere else"
    create = commands.add_parser("create", help=words, description=words, parents=[config])
    create.add_argument("--name", required=True, help="who uses it: the author of what is done; of a deployer: its id")
    create.add_argument("--role", required=True, type=Role, choices=list(Role), metavar="ROLE", help=", ".join(Role))
    create.add_argument(
        "--namespace", action="append", default=[], metavar="ID", help="of an editor: this one alone; may be repeated"
    )
    create.add_argument("--expires", type=_duration, metavar="90d", help="after so long; default: when it is revoked")
    create.set_defaults(run=_create)
    words = "list all tokens, without what is secret"
    commands.add_parser("list", help=words, description=words, parents=[config]).set_defaults(run=_list)
    words = "end a token within seconds"
    revoke = commands.add_parser("revoke", help=words, description=words, parents=[config])
    revoke.add_argument("id", help="as in rc_<id>_...")
    revoke.set_defaults(run=_revoke)


def _duration(text: str) -> timedelta:
    try:
        return timedelta(seconds=parse_duration(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _create(loaded: Loaded[Settings], arguments: argparse.Namespace) -> int:
    async def run() -> None:
        expires = datetime.now(UTC) + arguments.expires if arguments.expires else None
        draft = TokenDraft(arguments.name, arguments.role, tuple(arguments.namespace), expires)
        async with _tokens(loaded.settings) as tokens:
            minted = await tokens.create(draft, _who())
        _audit("create", minted.token)
        print(minted.secret)

    return _run(loaded.settings, run())


def _list(loaded: Loaded[Settings], _: argparse.Namespace) -> int:
    async def run() -> None:
        async with _tokens(loaded.settings) as tokens:
            after: str | None = ""
            while after is not None:
                page = await tokens.list(after, _PAGE)
                for token in page.items:
                    print(_line(token))
                after = page.next_after

    return _run(loaded.settings, run())


def _revoke(loaded: Loaded[Settings], arguments: argparse.Namespace) -> int:
    async def run() -> None:
        async with _tokens(loaded.settings) as tokens:
            token = await tokens.revoke(arguments.id, _who())
        _audit("revoke", token)
        print(_line(token))

    return _run(loaded.settings, run())


@asynccontextmanager
async def _tokens(settings: Settings) -> AsyncIterator[Tokens]:
    database = await connect(settings.database.url.get_secret_value(), min_size=1, max_size=1)
    try:
        yield Tokens(PostgresTokens(database), PostgresStore(database))
    finally:
        await database.close()


def _run(settings: Settings, work: Coroutine[None, None, None]) -> int:
    configure_logging(settings.logs.level, settings.logs.format)
    try:
        configure_audit(settings.audit.file)
        asyncio.run(work)
    except (RulecastError, CanNotStart) as error:
        work.close()
        print(f"rule-service: {error}", file=sys.stderr)
        return 1
    return 0


def _audit(method: str, token: Token) -> None:
    method = f"rule-service token {method}"
    audit.write(
        who=_who(), token=None, method=method, outcome="OK", peer="this machine", resource={"token.id": token.id}
    )


def _who() -> str:
    """Whoever can reach the database is not asked for a token; the name is that of their account."""
    try:
        return f"{getpass.getuser()} (command line)"
    except (KeyError, OSError):
        return f"user {os.getuid()} (command line)"


def _line(token: Token) -> str:
    ends = "until revoked" if token.expires_at is None else f"until {token.expires_at:%Y-%m-%d %H:%M} UTC"
    if token.revoked_at is not None:
        ends = f"revoked {token.revoked_at:%Y-%m-%d %H:%M} UTC by {token.revoked_by}"
    where = f" of {', '.join(token.namespaces)}" if token.namespaces else ""
    return f"{token.id}  {token.name}  {token.role}{where}  {ends}"
