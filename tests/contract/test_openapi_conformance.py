"""The OpenAPI document against the running service: what is made from it is answered as it says, and by no 5xx."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from rule_service.api.http.openapi import DOCUMENT_PATH
from tests.support.system import Replica, replica

CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
)
PREVIEWED = ("create_group", "update_alert_rule", "rollback")


@pytest_asyncio.fixture
async def service(tmp_path: Path, database: str, promtool: Path) -> AsyncIterator[Replica]:
    """A rule service that has logged no error when the test ends."""
    one = replica(tmp_path, database, promtool)
    try:
        await one.start()
        yield one
        assert await one.serving()
        assert '"level": "error"' not in one.child.log.read_text()
    finally:
        await one.child.stop()
        await one.channel.close()


def call_all(url: str, document: dict[str, Any], examples: int) -> list[str]:
    """The operations that were called, with so many requests that fit the document and so many that do not."""
    called = []
    for found in schemathesis.openapi.from_dict(document).get_all_operations():
        assert isinstance(found, Ok), found
        operation = found.ok()
        for mode in GenerationMode:

            @settings(
                max_examples=examples,
                derandomize=True,
                database=None,
                deadline=None,
                phases=[Phase.generate, Phase.shrink],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=operation.as_strategy(generation_mode=mode))
            def every_answer_is_as_the_document_says(case: Any) -> None:
                response = case.call(base_url=url)
                case.validate_response(response, checks=CHECKS)

            # of a call without a parameter there is no wrong one
            with suppress(Unsatisfiable) if mode is GenerationMode.NEGATIVE else nullcontext():
                every_answer_is_as_the_document_says()
        called.append(operation.label)
    return called


def with_fewer_previews(document: dict[str, Any]) -> None:
    """A preview takes any one of all writes, which is more than can be combined; each is called by itself too."""
    preview = document["components"]["schemas"]["PreviewChangeRequest"]
    preview["properties"] = {name: preview["properties"][name] for name in PREVIEWED}
    pairs = preview["not"]["anyOf"]
    preview["not"]["anyOf"] = [pair for pair in pairs if set(pair["required"]) <= set(PREVIEWED)]
    assert preview["not"]["anyOf"]


async def answered_as_it_says(service: Replica, examples: int) -> None:
    async with aiohttp.ClientSession() as http, http.get(service.url + DOCUMENT_PATH) as answer:
        document = await answer.json()
    with_fewer_previews(document)
    called = await asyncio.to_thread(call_all, service.url, document, examples)
    assert len(called) == sum(len(operations) for operations in document["paths"].values())


async def test_every_answer_is_as_the_document_says(service: Replica) -> None:
    await answered_as_it_says(service, examples=5)


@pytest.mark.prove
@pytest.mark.timeout(3600)
async def test_every_answer_is_as_the_document_says_for_long(service: Replica) -> None:
    await answered_as_it_says(service, examples=200)
