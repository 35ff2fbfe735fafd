"""A real Prometheus of our own, as a child process."""

from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp

from deploy.local.parts import PrometheusParts
from deploy.local.process import Child, ChildFailed, free_port

START_TIMEOUT = 60.0  # seconds; it replays its log before it is ready
PORTS_TRIED = 5
PORT_TAKEN = "address already in use"
_ANSWER_TIMEOUT = aiohttp.ClientTimeout(total=2)


class PrometheusServer:
    """One Prometheus over `data` with the configuration file given, on 127.0.0.1.

    lifecycle: whether POST /-/reload is allowed; otherwise it answers 403.
    `port` is tried first and kept over another `start`; a taken one is replaced by a free one, so ask for `url` after
    the start.
    """

    def __init__(
        self,
        parts: PrometheusParts,
        *,
        config: Path,
        data: Path,
        log: Path,
        port: int | None = None,
        lifecycle: bool = True,
        flags: tuple[str, ...] = (),
    ) -> None:
        self.parts = parts
        self.config = config
        self._data = data.absolute()
        self._log = log
        self._port = port
        self._flags = (*(("--web.enable-lifecycle",) if lifecycle else ()), *flags)
        self._server: Child | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def url(self) -> str:
        """Such as http://127.0.0.1:9090; known once it was started."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def port(self) -> int:
        if self._port is None:
            raise ChildFailed("prometheus was not started")
        return self._port

    @property
    def process(self) -> Child:
        """Raises ChildFailed if it was never started."""
        if self._server is None:
            raise ChildFailed("prometheus was not started")
        return self._server

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def running(self) -> bool:
        return self._server is not None and self._server.running

    async def start(self) -> None:
        """Returns when it is ready. Raises ChildFailed with the end of its log if it ends or takes a minute."""
        for attempt in range(PORTS_TRIED):
            if attempt or self._port is None:
                self._port = free_port()
            self._server = self._launch(self._port)
            try:
                await self._server.until(self._ready, timeout=START_TIMEOUT)
                return
            except ChildFailed:
                if PORT_TAKEN not in self._server.output():
                    raise
        raise self.process.failure(f"found no free port in {PORTS_TRIED} attempts")

    async def stop(self, *, grace: float = 20.0) -> None:
        """SIGTERM, and SIGKILL after `grace` seconds or when cancelled. Nothing happens if it is not running."""
        if self._server is not None:
            await self._server.stop(grace=grace)

    def kill(self) -> None:
        """SIGKILL, as the out-of-memory killer would do."""
        self.process.kill()

    def output(self, lines: int = 20) -> str:
        """The last lines it logged."""
        return self.process.output(lines)

    def _launch(self, port: int) -> Child:
        command: list[str | Path] = [
            self.parts.prometheus,
            f"--config.file={self.config}",
            f"--storage.tsdb.path={self._data}",
            f"--web.listen-address=127.0.0.1:{port}",
            *self._flags,
        ]
        child = Child("prometheus", command, log=self._log)
        child.start()
        return child

    async def _ready(self) -> bool:
        """Whether the Prometheus that answers is ready and is ours: another one may have taken the port."""
        try:
            async with aiohttp.ClientSession(base_url=self.url, timeout=_ANSWER_TIMEOUT) as session:
                async with session.get("/-/ready") as answer:
                    if answer.status != 200:
                        return False
                async with session.get("/api/v1/status/flags") as answer:
                    flags = (await answer.json())["data"]
                    return bool(flags["storage.tsdb.path"] == str(self._data))
        except (aiohttp.ClientError, TimeoutError, ValueError, KeyError):
            return False
