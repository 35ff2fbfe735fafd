"""What is not protected does not start: one line each, about what is wrong and what would be right."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rulecast.process.addresses import HostPort, is_loopback
from rulecast.process.exposure import Security, Unprotected, check_exposure
from rulecast.process.tls import Tls
from rulecast.tokens import hash_of
from tests.support.certificates import Authority

TLS = Tls(certificate=Path("a"), key=Path("b"))
MUTUAL = Tls(certificate=Path("a"), key=Path("b"), client_ca=Path("c"))


@pytest.mark.parametrize(
    ("host", "only_here"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("rules.example.org", False),
    ],
)
def test_loopback(host: str, only_here: bool) -> None:
    assert is_loopback(host) is only_here


@pytest.mark.parametrize(
    ("security", "tls", "host", "starts"),
    [
        (Security(), None, "127.0.0.1", True),
        (Security(), None, "0.0.0.0", False),
        (Security(), TLS, "0.0.0.0", True),
        (Security(plain_text=True), None, "0.0.0.0", True),
        (Security(insecure=True), None, "0.0.0.0", True),
        (Security(authentication=False), TLS, "0.0.0.0", False),
        (Security(authentication=False), MUTUAL, "0.0.0.0", True),
        (Security(authentication=False, plain_text=True), None, "0.0.0.0", False),
        (Security(authentication=True), None, "127.0.0.1", True),
    ],
)
def test_where_it_starts(security: Security, tls: Tls | None, host: str, starts: bool) -> None:
    listens = {"grpc_listen": HostPort("127.0.0.1", 1), "http_listen": HostPort(host, 2)}
    if starts:
        check_exposure(security, listens, tls, "X")
        return
    with pytest.raises(Unprotected, match=r"http_listen 0\.0\.0\.0:2 .*X_SECURITY_INSECURE"):
        check_exposure(security, listens, tls, "X")


@pytest.mark.parametrize(
    ("security", "host", "needs"),
    [
        (Security(), "127.0.0.1", False),
        (Security(), "0.0.0.0", True),
        (Security(authentication=True), "127.0.0.1", True),
        (Security(authentication=True, insecure=True), "0.0.0.0", False),
    ],
)
def test_who_needs_a_token(security: Security, host: str, needs: bool) -> None:
    assert security.needs_tokens({"grpc_listen": HostPort(host, 1)}) is needs


def serve(module: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RULE_SERVICE_", "DEPLOYER_"))}
    return subprocess.run(
        [sys.executable, "-m", module, "serve"],
        capture_output=True,
        text=True,
        env={**kept, "PROMETHEUS_VALIDATE_RULES": "false", **environment},
        timeout=60,
        check=False,
    )


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """The one line with which it has ended."""
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    return line


DATABASE = "postgresql://nobody:hunter2@127.0.0.1:1/none"


def test_the_rule_service_does_not_start_on_other_addresses() -> None:
    said = refused(serve("rule_service", RULE_SERVICE_DATABASE_URL=DATABASE, RULE_SERVICE_GRPC_LISTEN="0.0.0.0:0"))
    assert said.startswith("rule-service: grpc_listen 0.0.0.0:0 can be reached from other hosts")
    assert "RULE_SERVICE_SECURITY_INSECURE=true" in said
    assert "hunter2" not in said


def test_the_rule_service_does_not_start_with_a_wrong_certificate(tmp_path: Path) -> None:
    pair = Authority(tmp_path).sign("server")
    pair.key.unlink()
    said = refused(
        serve(
            "rule_service",
            RULE_SERVICE_DATABASE_URL=DATABASE,
            RULE_SERVICE_TLS_CERTIFICATE=str(pair.certificate),
            RULE_SERVICE_TLS_KEY=str(pair.key),
        )
    )
    assert said == f"rule-service: tls.key: {pair.key} can not be read: No such file or directory"


def test_the_rule_service_does_not_start_without_its_audit_log(tmp_path: Path) -> None:
    file = tmp_path / "nowhere" / "audit.log"
    said = refused(serve("rule_service", RULE_SERVICE_DATABASE_URL=DATABASE, RULE_SERVICE_AUDIT_FILE=str(file)))
    assert said == f"rule-service: the log file {file} can not be written: No such file or directory"


def test_the_deployer_does_not_start_on_other_addresses(tmp_path: Path) -> None:
    everywhere = {"DEPLOYER_GRPC_LISTEN": "0.0.0.0:0", "PROMETHEUS_RULE_PATH": str(tmp_path / "rules")}
    assert "DEPLOYER_SECURITY_INSECURE=true" in refused(serve("deployer_service", **everywhere))
    said = refused(serve("deployer_service", **everywhere, DEPLOYER_SECURITY_PLAIN_TEXT="true"))
    assert "`deployer-service token` makes one" in said
    assert not (tmp_path / "rules").exists()


def test_the_deployer_does_not_send_its_token_in_plain_text(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("rc_0123_secret")
    elsewhere = {"DEPLOYER_RULE_SERVICE": "127.0.0.1:1,10.0.0.1:1", "DEPLOYER_UPSTREAM_TOKEN_FILE": str(token)}
    said = refused(serve("deployer_service", **elsewhere))
    assert "in plain text to rule_service 10.0.0.1:1" in said
    assert "secret" not in said


@pytest.mark.parametrize(
    ("content", "says"), [(None, "No such file"), (b"password", "no token"), (b"\xff", "no token")]
)
def test_the_deployer_does_not_start_without_its_token(tmp_path: Path, content: bytes | None, says: str) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    said = refused(serve("deployer_service", DEPLOYER_UPSTREAM_TOKEN_FILE=str(file)))
    assert f"upstream.token_file: {file}" in said
    assert says in said
    assert "password" not in said


def test_a_token_of_the_deployers_own_service_is_made_with_its_hash() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "deployer_service", "token"], capture_output=True, text=True, timeout=60, check=True
    )
    token, sha256 = (line.partition(": ")[2] for line in done.stdout.splitlines())
    assert token.startswith("rc_")
    assert hash_of(token).hex() == sha256
