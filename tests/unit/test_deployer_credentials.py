"""What the deployer shows to the rule service, read anew for each connection."""

from pathlib import Path
from typing import Any

import pytest
import structlog
from prometheus_client import CollectorRegistry
from pydantic import ValidationError

from deployer_service.adapters.credentials import PLAIN, UpstreamCredentials, load_credentials
from deployer_service.settings import Api, Upstream
from rulecast.process.supervise import CanNotStart
from rulecast.process.tls import now
from rulecast.tokens import new_token
from tests.support.certificates import DAY, Authority

FAILURES = "rulecast_deployer_upstream_credentials_failures_total"


def test_nothing_said_is_plain_text() -> None:
    assert load_credentials(Upstream(), now()) == PLAIN


@pytest.mark.parametrize("secure", [{"tls": True}, {"ca": "ca.pem"}, {"certificate": "a", "key": "b"}])
def test_whoever_names_a_certificate_means_tls(secure: dict[str, Any]) -> None:
    assert Upstream(**secure).secure


def test_a_certificate_and_its_key_belong_together() -> None:
    with pytest.raises(ValidationError, match="belong together"):
        Upstream(certificate=Path("a"))


def test_a_hash_is_a_hash() -> None:
    assert Api(token_sha256=("0" * 64,)).token_sha256 == ("0" * 64,)
    with pytest.raises(ValidationError, match="`deployer-service token` prints one"):
        Api(token_sha256=(new_token("x"),))


def test_another_token_is_taken_up_and_none_leaves_the_one_before(tmp_path: Path) -> None:
    file, registry = tmp_path / "token", CollectorRegistry()
    first, second = new_token("a"), new_token("b")
    file.write_text(first + "\n")
    credentials = UpstreamCredentials(Upstream(token_file=file), registry)
    assert credentials.current().metadata == (("authorization", f"Bearer {first}"),)
    file.write_text(second)
    assert credentials.current().metadata == (("authorization", f"Bearer {second}"),)
    file.unlink()
    with structlog.testing.capture_logs() as lines:
        assert credentials.current().metadata == (("authorization", f"Bearer {second}"),)
    (line,) = lines
    assert line["error"] == f"upstream.token_file: {file} can not be read: No such file or directory"
    assert registry.get_sample_value(FAILURES) == 1


def test_what_can_not_be_used_is_said_at_start(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    old, other = authority.sign("old", ends=-DAY / 24), authority.sign("other")
    none = tmp_path / "none.pem"
    for upstream, words in (
        (Upstream(ca=none), ("upstream.ca", "none.pem", "No such file")),
        (Upstream(ca=other.key), ("other.key", "no certificate")),
        (Upstream(certificate=old.certificate, key=old.key), ("old.crt", "expired")),
        (Upstream(certificate=other.certificate, key=old.key), ("old.key", "not the key", "other.crt")),
    ):
        with pytest.raises(CanNotStart) as wrong:
            UpstreamCredentials(upstream, CollectorRegistry())
        for word in words:
            assert word in str(wrong.value)


def test_a_broken_certificate_leaves_the_one_before(tmp_path: Path) -> None:
    pair, registry = Authority(tmp_path).sign("client"), CollectorRegistry()
    upstream = Upstream(certificate=pair.certificate, key=pair.key, server_name="rules")
    credentials = UpstreamCredentials(upstream, registry)
    before = credentials.current()
    pair.key.write_text("half a")
    assert credentials.current() is before
    assert before.server_name == "rules"
    assert registry.get_sample_value(FAILURES) == 1
