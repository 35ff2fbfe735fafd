"""How what a caller sent is shown back to them in messages."""

from rule_service.domain.promql.strings import quote

_SHOWN_LENGTH = 64


def shown(text: str) -> str:
    """`text` in quotes, printable whatever it holds, cut where it is long."""
    return quote(text if len(text) <= _SHOWN_LENGTH else text[:_SHOWN_LENGTH] + "...")
