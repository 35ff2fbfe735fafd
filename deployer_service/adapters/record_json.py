"""The record as JSON, strictly: what is not exactly a record is refused. Pure."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, assert_never

from deployer_service.pipeline.names import own_name
from deployer_service.state import (
    Active,
    Deferred,
    FileReport,
    Files,
    FileVersion,
    Generation,
    Outcome,
    Record,
    Rejected,
    Reported,
    RolledBack,
    Trouble,
    Unchanged,
    Why,
)
from rulecast.reasons import Reason

FORMAT = 1
_KINDS: Mapping[str, type[Trouble]] = {"rejected": Rejected, "rolled_back": RolledBack, "deferred": Deferred}


class NotARecord(Exception):
    """The bytes are not a record that this version wrote."""


def encode_record(record: Record) -> bytes:
    return _dump(
        {
            "format": FORMAT,
            "generation": record.generation,
            "revision": record.revision,
            "epoch": record.epoch,
            "history_id": record.history_id,
            "commit_id": record.commit_id,
            "files": _files(record.files),
            "good": _files(record.good),
            "troubles": [_report(report) for _, report in sorted(record.troubles.items())],
            "verified_at": record.verified_at.isoformat() if record.verified_at else None,
            "told": {
                "version": record.reported.version,
                "prints": {name: seen.hex() for name, seen in record.reported.prints.items()},
            },
        }
    )


def decode_record(content: bytes) -> Record:
    """Raises NotARecord."""
    try:
        document = _load(content)
        troubles = [_read_report(report) for report in document["troubles"]]
        verified_at = document["verified_at"]
        return Record(
            generation=_count(document["generation"]),
            revision=_count(document["revision"]),
            epoch=_count(document["epoch"]),
            history_id=str(document["history_id"]),
            commit_id=str(document.get("commit_id", "")),  # an older deployer wrote none
            files=_read_files(document["files"]),
            good=_read_files(document["good"]),
            troubles={report.file_name: report for report in troubles},
            verified_at=datetime.fromisoformat(verified_at) if verified_at else None,
            reported=_read_reported(document.get("told")),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise NotARecord(str(error)) from error


def encode_generation(generation: Generation) -> bytes:
    return _dump({"format": FORMAT, "number": generation.number, "files": _files(generation.files)})


def decode_generation(content: bytes) -> Generation:
    """Raises NotARecord."""
    try:
        document = _load(content)
        return Generation(_count(document["number"]), _read_files(document["files"]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise NotARecord(str(error)) from error


def _dump(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, indent=1, sort_keys=True).encode() + b"\n"


def _load(content: bytes) -> dict[str, Any]:
    document = json.loads(content)
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ValueError(f"not of format {FORMAT}")
    return document


def _files(files: Files) -> dict[str, Any]:
    return {
        name: [version.sha256.hex(), version.revision, version.rules, version.fingerprint.hex(), version.size]
        for name, version in files.items()
    }


def _read_files(document: Mapping[str, Any]) -> Files:
    files: dict[str, FileVersion] = {}
    for name, (sha256, revision, rules, fingerprint, size) in document.items():
        if own_name(name) is None:
            raise ValueError(f"{name!r} is not a name of ours")
        files[name] = FileVersion(
            _sha256(sha256), _count(revision), _count(rules), bytes.fromhex(fingerprint), _count(size)
        )
    return files


def _read_reported(document: Mapping[str, Any] | None) -> Reported:
    """document: None in a record of an older deployer; under `reported` it may have prints made in another way."""
    if document is None:
        return Reported()
    prints = {str(name): bytes.fromhex(seen) for name, seen in document["prints"].items()}
    return Reported(str(document["version"]), prints)


def _sha256(text: str) -> bytes:
    sha256 = bytes.fromhex(text)
    if len(sha256) != 32:
        raise ValueError("not a SHA-256")
    return sha256


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value!r} is not a number from 0")
    return value


def _report(report: FileReport) -> dict[str, Any]:
    kind, why = _trouble(report.outcome)
    return {
        "file_name": report.file_name,
        "sha256": report.sha256.hex(),
        "kind": kind,
        "reason": why.reason,
        "message": why.message,
        "group": why.group,
        "rule": why.rule,
        "time": report.time.isoformat(),
    }


def _trouble(outcome: Outcome) -> tuple[str, Why]:
    match outcome:
        case Rejected(why):
            return "rejected", why
        case RolledBack(why):
            return "rolled_back", why
        case Deferred(why):
            return "deferred", why
        case Active() | Unchanged():
            raise AssertionError("only troubles are recorded")
        case _:
            assert_never(outcome)


def _read_report(document: Mapping[str, Any]) -> FileReport:
    why = Why(Reason(document["reason"]), document["message"], document["group"], document["rule"])
    return FileReport(
        document["file_name"],
        bytes.fromhex(document["sha256"]),
        _KINDS[document["kind"]](why),
        datetime.fromisoformat(document["time"]),
    )
