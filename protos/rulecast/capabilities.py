"""What a peer of the stream can do beyond the first version of the protocol, as Hello and Welcome name it."""

from typing import Final

FRAGMENTS: Final = "fragments"
"""The rule service takes an Inventory and an EffectiveState in several messages, see `more` in distribution.proto."""
