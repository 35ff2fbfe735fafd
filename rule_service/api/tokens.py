"""TokenService."""

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from rule_service.api.calls import Context, caller, page_after, page_size, page_token
from rule_service.api.encode import timestamp
from rule_service.usecases.tokens import Role, Token, TokenDraft, Tokens
from rulecast.errors import InvalidInput
from rulecast.reasons import Reason
from rulecast.v1 import token_pb2 as pb
from rulecast.v1.token_pb2_grpc import TokenServiceServicer

_ROLES = {pb.Token.Role.Value(role.name): role for role in Role}


class TokenApi(TokenServiceServicer):
    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    async def CreateToken(self, request: pb.CreateTokenRequest, context: Context) -> pb.CreateTokenResponse:
        minted = await self._tokens.create(_draft(request.token), caller(context))
        return pb.CreateTokenResponse(token=_token(minted.token), secret=minted.secret)

    async def ListTokens(self, request: pb.ListTokensRequest, context: Context) -> pb.ListTokensResponse:
        page = await self._tokens.list(page_after(request.page_token), page_size(request.page_size))
        return pb.ListTokensResponse(
            tokens=[_token(each) for each in page.items], next_page_token=page_token(page.next_after)
        )

    async def RevokeToken(self, request: pb.RevokeTokenRequest, context: Context) -> pb.Token:
        return _token(await self._tokens.revoke(request.id, caller(context)))


def _draft(token: pb.Token) -> TokenDraft:
    role = _ROLES.get(token.role)
    if role is None:
        message = f"say one of {', '.join(each.name for each in Role)}"
        raise InvalidInput.of("token.role", Reason.FIELD_REQUIRED, message)
    expires = _time(token.expire_time) if token.HasField("expire_time") else None
    return TokenDraft(token.name, role, tuple(token.namespaces), expires)


def _time(value: Timestamp) -> datetime:
    try:
        return value.ToDatetime(UTC)
    except (ValueError, OverflowError):
        message = "it is not a time: say e.g. 2030-01-31T00:00:00Z"
        raise InvalidInput.of("token.expire_time", Reason.FIELD_INVALID, message) from None


def _token(token: Token) -> pb.Token:
    return pb.Token(
        id=token.id,
        name=token.name,
        role=pb.Token.Role.Value(token.role.name),
        namespaces=token.namespaces,
        expire_time=_timestamp(token.expires_at),
        create_time=_timestamp(token.created_at),
        creator=token.created_by,
        revoke_time=_timestamp(token.revoked_at),
        revoker=token.revoked_by or "",
    )


def _timestamp(value: datetime | None) -> Timestamp | None:
    return None if value is None else timestamp(value)
