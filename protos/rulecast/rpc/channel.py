"""The client's end of a connection."""

from typing import Final

import grpc

KEEPALIVE: Final = (
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # without it a frozen peer is noticed after 70 s, whatever the two above say (grpcio 1.85)
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
)
RECONNECT: Final = (
    # the caller has a backoff of its own; the channel's would be added to it
    ("grpc.initial_reconnect_backoff_ms", 100),
    # no pause, whatever its name says: the time that one attempt has, with TCP, TLS and the first frames
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)


MAX_MESSAGE_BYTES: Final = 4 * 1024 * 1024


def open_channel(
    address: str,
    credentials: grpc.ChannelCredentials | None = None,
    *,
    server_name: str | None = None,
    max_answer_bytes: int = MAX_MESSAGE_BYTES,
) -> grpc.aio.Channel:
    """A channel to `host:port` or `unix:/path`; connects on first use. Whoever opens it has to close it.

    credentials: None is plain text. server_name: in the server's certificate, where it is not that of the address.
    max_answer_bytes: a longer answer fails with RESOURCE_EXHAUSTED.
    """
    options: tuple[tuple[str, int | str], ...] = (
        *KEEPALIVE,
        *RECONNECT,
        ("grpc.max_receive_message_length", max_answer_bytes),
    )
    if credentials is None:
        return grpc.aio.insecure_channel(address, options)
    if server_name is not None:
        options = (*options, ("grpc.ssl_target_name_override", server_name))
    return grpc.aio.secure_channel(address, credentials, options)
