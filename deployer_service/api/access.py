"""Who may call the deployer's own service: whoever has one of the tokens in its settings may do everything."""

from collections.abc import Collection, Mapping
from typing import Final

from rulecast.rpc.access import Access, Caller, unknown_token
from rulecast.tokens import hash_of, looks_like_one

METHODS: Final[Mapping[str, Access]] = {
    "/rulecast.v1.DeployerService/GetStatus": Access.VIEWER,
    "/rulecast.v1.DeployerService/ListFiles": Access.VIEWER,
    "/rulecast.v1.DeployerService/Reload": Access.ADMIN,
    "/rulecast.v1.DeployerService/Resync": Access.ADMIN,
    "/rulecast.v1.DeployerService/Validate": Access.ADMIN,
}


class SettingsAuthenticator:
    """Implements `Authenticator`. sha256: of each token, in hex."""

    def __init__(self, sha256: Collection[str]) -> None:
        self._hashes = frozenset(bytes.fromhex(each) for each in sha256)

    async def authenticate(self, token: str, host: str) -> Caller:
        """Raises Unauthenticated."""
        known = hash_of(token)
        if not looks_like_one(token) or known not in self._hashes:
            raise unknown_token()
        # it has no name: the hash tells which one of the settings it is
        id = known.hex()[:12]
        return Caller(id, f"token {id}", frozenset({Access.VIEWER, Access.ADMIN}))
