"""Prometheus by its HTTP API, and by SIGHUP where its HTTP reload is switched off. For 2.42 to 3.x."""

import asyncio
import hashlib
import json
import os
import posixpath
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import yaml

from deployer_service.adapters.json_items import JsonItems
from deployer_service.pipeline.contents import ANNOTATION
from deployer_service.pipeline.names import own_name
from deployer_service.pipeline.ports import Configuration, Loaded, LoadedRules
from deployer_service.state import PrometheusStatus
from rulecast.errors import FailedPrecondition, Unavailable
from rulecast.reasons import Reason

T = TypeVar("T")

_MAX_WORDS = 2000
_MAX_FILTERS = 20
_BLOCK = 256 * 1024  # bytes of an answer that are read at once
_FIRST_POLL, _LAST_POLL = 0.05, 0.5
_RELOAD_METRIC = re.compile(rb"^prometheus_config_last_reload_(\w+) (\S+)$", re.MULTILINE)
_NO_LIFECYCLE = (403, 404, 405)
_TOLD = ("type", "name", "query", "duration", "keepFiringFor", "labels", "annotations")
"""The fields of a rule that come from its file. The others, as `health`, tell of its evaluation."""


class PrometheusHttp:
    """See `pipeline.ports.Prometheus`.

    session: with the authentication and TLS settings that Prometheus asks for; not closed here.
    directories: the paths under which Prometheus may know our rule directory; the files in another one are not ours.
    hang_up: sends SIGHUP to Prometheus and tells its pid, None if it can not.
    quick: seconds for an answer about its state; slow: for its rules, which it holds back while it reloads.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        address: str,
        directories: tuple[str, ...],
        hang_up: Callable[[], int | None] = lambda: None,
        *,
        quick: float = 5.0,
        slow: float = 60.0,
    ) -> None:
        self._session = session
        self._address = address.rstrip("/")
        self._directories = directories
        self._hang_up = hang_up
        self._quick = quick
        self._slow = slow
        self._version: tuple[str, str] | None = None
        self._globs: tuple[str, list[str]] | None = None
        self._seen_as: str | None = None

    @property
    def address(self) -> str:
        return self._address

    @property
    def directories(self) -> tuple[str, ...]:
        return self._directories

    async def check_ready(self) -> None:
        code, words = await self._request("GET", "/-/ready", self._quick)
        if code != 200:
            raise self._unreachable(f"is not ready: {_shown(words)}")

    async def reload(self, timeout: float) -> None:
        before = await self.status()
        try:
            code, words = await self._request("POST", "/-/reload", timeout)
        except TimeoutError:
            await self._await_late_reload(before, timeout)
            return
        if code in _NO_LIFECYCLE:
            await self._reload_by_signal(timeout, f"{code} {_shown(words)}")
        elif code in (502, 503, 504):
            raise self._unreachable(f"answered the reload with {code}: {_shown(words)}")
        elif code == 401:
            raise self._refused(f"401 {_shown(words)}", "give the deployer credentials for it")
        elif code != 200:
            raise self._failed(_shown(words) or f"status {code}")

    async def status(self) -> PrometheusStatus:
        info = await self._ask("/api/v1/status/runtimeinfo", self._quick, _data)
        started_at = str(info["startTime"])
        return PrometheusStatus(
            up=True,
            version=await self._version_of(started_at),
            started_at=started_at,
            last_reload_time=_time(str(info["lastConfigTime"])),
            last_reload_ok=bool(info["reloadConfigSuccess"]),
        )

    async def loaded(self, names: frozenset[str] | None = None) -> Loaded:
        # since 2.44 and 2.49 the server filters; before, it ignores both parameters
        parameters = [("exclude_alerts", "true")]
        if self._seen_as is not None and names is not None and len(names) <= _MAX_FILTERS:
            parameters += [("file[]", posixpath.join(self._seen_as, name)) for name in sorted(names)]
        files = await self._running(names, parameters)
        ours: dict[str, LoadedRules] = {}
        prints: dict[str, bytes] = {}
        elsewhere: set[str] = set()
        for (directory, name), running in files.items():
            if not self._is_ours(directory):
                elsewhere.add(directory)
                continue
            self._seen_as = directory
            if names is None or name in names:
                ours[name] = running.rules
                prints[name] = running.print()
        return Loaded(ours, prints, tuple(sorted(elsewhere)))

    async def _running(
        self, names: frozenset[str] | None, parameters: list[tuple[str, str]]
    ) -> Mapping[tuple[str, str], "_Running"]:
        """The files that have a name of ours, by directory and name."""
        path, files = "/api/v1/rules", _Files(names)
        groups = JsonItems(("data", "groups"), files.take)
        async with self._answer("GET", path, self._slow, parameters) as answer:
            if answer.status != 200:
                raise self._unreachable(f"answered {path} with {answer.status}: {_shown(await answer.read())}")
            with self._understanding(path):
                # off the event loop, and never all at once: the rules of a large server are tens of megabytes
                async for block in _blocks(answer.content):
                    await asyncio.to_thread(groups.feed, block)
                await asyncio.to_thread(groups.close)
        return files.found

    async def configuration(self) -> Configuration:
        flags = await self._ask("/api/v1/status/flags", self._quick, _data)
        info = await self._ask("/api/v1/status/runtimeinfo", self._quick, _data)
        folder = posixpath.join(str(info["CWD"]), posixpath.dirname(str(flags["config.file"])))
        text = await self._ask("/api/v1/status/config", self._slow, _configuration)
        if self._globs is None or self._globs[0] != text:
            try:
                self._globs = text, await asyncio.to_thread(_rule_globs, text)
            except yaml.YAMLError as error:
                raise self._unreachable(f"has a configuration that can not be read: {error}") from error
        globs = self._globs[1]
        auto_reload = flags.get("config.auto-reload") == "true" or "auto-reload-config" in flags.get(
            "enable-feature", ""
        )
        return Configuration(
            tuple(posixpath.normpath(posixpath.join(folder, pattern)) for pattern in globs), auto_reload
        )

    def _is_ours(self, directory: str) -> bool:
        if directory in self._directories:
            return True
        return any(os.path.realpath(directory) == os.path.realpath(known) for known in self._directories)

    async def _version_of(self, started_at: str) -> str:
        if self._version is None or self._version[0] != started_at:
            build = await self._ask("/api/v1/status/buildinfo", self._quick, _data)
            self._version = started_at, str(build["version"])
        return self._version[1]

    async def _await_late_reload(self, before: PrometheusStatus, timeout: float) -> None:
        """Giving up did not stop the reload: sees how it ended, for as long again."""
        deadline = time.monotonic() + timeout
        poll = _FIRST_POLL
        while time.monotonic() < deadline:
            try:
                now = await self.status()
            except Unavailable:
                break
            if now.last_reload_ok and (now.started_at, now.last_reload_time) != (
                before.started_at,
                before.last_reload_time,
            ):
                return
            if before.last_reload_ok and not now.last_reload_ok:
                raise self._failed("its log has the cause")
            await asyncio.sleep(poll)
            poll = min(2 * poll, _LAST_POLL)
        raise self._timed_out(timeout)

    async def _reload_by_signal(self, timeout: float, words: str) -> None:
        deadline = time.monotonic() + timeout
        before = await self._reload_metrics()
        if self._hang_up() is None:
            raise self._refused(
                words,
                "start it with --web.enable-lifecycle, or let the deployer see its process, so that it can send SIGHUP",
            )
        poll = _FIRST_POLL
        now = before
        while time.monotonic() < deadline:
            await asyncio.sleep(poll)
            now = await self._reload_metrics()
            if now["success_timestamp_seconds"] != before["success_timestamp_seconds"]:
                return
            if before["successful"] and not now["successful"]:
                raise self._failed("its log has the cause")
            poll = min(2 * poll, _LAST_POLL)
        if not now["successful"]:  # it was so before: a second failure changes no metric
            raise self._failed("its log has the cause")
        raise self._timed_out(timeout)

    async def _reload_metrics(self) -> Mapping[str, float]:
        """Finer than `lastConfigTime`, which has whole seconds."""
        names = [
            ("name[]", f"prometheus_config_last_reload_{end}") for end in ("successful", "success_timestamp_seconds")
        ]
        _, text = await self._request("GET", "/metrics", self._slow, names)
        found = {name.decode(): float(value) for name, value in _RELOAD_METRIC.findall(text)}
        if len(found) != 2:
            raise self._unreachable("has no metrics of its reloads under /metrics")
        return found

    async def _ask(self, path: str, timeout: float, read: Callable[[bytes], T]) -> T:
        code, body = await self._request("GET", path, timeout)
        if code != 200:
            raise self._unreachable(f"answered {path} with {code}: {_shown(body)}")
        with self._understanding(path):
            # off the event loop: a configuration may be megabytes
            return await asyncio.to_thread(read, body)

    @contextmanager
    def _understanding(self, path: str) -> Iterator[None]:
        try:
            yield
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise self._unreachable(f"answered {path} with something else than expected ({error!r})") from error

    async def _request(
        self, method: str, path: str, timeout: float, parameters: list[tuple[str, str]] | None = None
    ) -> tuple[int, bytes]:
        """As `_answer`."""
        async with self._answer(method, path, timeout, parameters) as answer:
            return answer.status, await answer.read()

    @asynccontextmanager
    async def _answer(
        self, method: str, path: str, timeout: float, parameters: list[tuple[str, str]] | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Raises TimeoutError for a POST that takes too long: it may still be at work."""
        limit = aiohttp.ClientTimeout(total=timeout, connect=self._quick)
        try:
            async with self._session.request(method, self._address + path, params=parameters, timeout=limit) as answer:
                yield answer
        except aiohttp.ConnectionTimeoutError as error:
            raise self._unreachable(f"accepts no connection within {self._quick:g} s") from error
        except TimeoutError as error:
            if method == "POST":
                raise
            raise self._unreachable(f"did not answer {path} within {timeout:g} s") from error
        except aiohttp.ClientError as error:
            raise self._unreachable(f"does not answer: {error}") from error

    def _unreachable(self, what: str) -> Unavailable:
        return Unavailable.of("", Reason.PROMETHEUS_UNREACHABLE, f"Prometheus at {self._address} {what}")

    def _failed(self, words: str) -> FailedPrecondition:
        return FailedPrecondition.of(
            "", Reason.RELOAD_FAILED, f"Prometheus at {self._address} could not load its files: {words}"
        )

    def _refused(self, words: str, remedy: str) -> FailedPrecondition:
        return FailedPrecondition.of(
            "", Reason.RELOAD_REFUSED, f"Prometheus at {self._address} refuses to be reloaded ({words}): {remedy}"
        )

    def _timed_out(self, timeout: float) -> Unavailable:
        return Unavailable.of(
            "",
            Reason.RELOAD_TIMEOUT,
            f"Prometheus at {self._address} did not finish its reload within {timeout:g} s; it may still be at it",
        )


def _shown(body: bytes) -> str:
    return body[:_MAX_WORDS].decode(errors="replace").strip()


def _data(body: bytes) -> dict[str, Any]:
    data = json.loads(body)["data"]
    if not isinstance(data, dict):
        raise TypeError("no object")
    return data


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


async def _blocks(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    block = bytearray()
    async for chunk in content.iter_chunked(_BLOCK):
        block += chunk
        if len(block) >= _BLOCK:
            yield bytes(block)
            block.clear()
    yield bytes(block)


class _Running:
    """The rules of one file. told: a digest of what it was told of each group of them."""

    def __init__(self) -> None:
        self.rules: LoadedRules = Counter()
        self.told: list[bytes] = []

    def print(self) -> bytes:
        return _digest(b"".join(sorted(self.told)))


class _Files:
    """The files that have a name of ours, by directory and name; those not asked about without what it was told."""

    def __init__(self, names: frozenset[str] | None) -> None:
        self._names = names
        self.found: dict[tuple[str, str], _Running] = {}

    def take(self, group: Mapping[str, Any]) -> None:
        directory, name = posixpath.split(group["file"])
        if own_name(name) is None:
            return
        running = self.found.setdefault((directory, name), _Running())
        for rule in group["rules"]:
            annotations = rule.get("annotations") or {}
            running.rules[group["name"], rule["name"], annotations.get(ANNOTATION, "")] += 1
        if self._names is None or name in self._names:
            # not the interval: where the file says none it is that of the configuration, which is not ours
            rules = [[rule.get(told) for told in _TOLD] for rule in group["rules"]]
            told = json.dumps([group["name"], group.get("limit"), rules], sort_keys=True)
            running.told.append(_digest(told.encode()))


def _digest(told: bytes) -> bytes:
    return hashlib.blake2b(told, digest_size=16).digest()


def _configuration(body: bytes) -> str:
    return str(_data(body)["yaml"])


def _rule_globs(text: str) -> list[str]:
    configuration = yaml.load(text, yaml.CSafeLoader)
    return [str(pattern) for pattern in configuration.get("rule_files") or ()]


def directories_of(rule_directory: Path, seen_as: str | None = None) -> tuple[str, ...]:
    """The paths under which Prometheus may know the rule directory; `seen_as` where it sees another one than we."""
    if seen_as is not None:
        return (posixpath.normpath(seen_as),)
    return tuple(dict.fromkeys((os.path.abspath(rule_directory), os.path.realpath(rule_directory))))
