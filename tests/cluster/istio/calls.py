"""Asks by gRPC: ``python -m tests.cluster.istio.calls <address> <authority> <method> <times> [<header>=<value>]``.

It prints a JSON object: how often which answer came, or which status in its place.
"""

import json
import sys
from collections import Counter
from collections.abc import Sequence

import grpc

_PATIENCE_SECONDS = 20


def calls(
    address: str, authority: str, method: str, times: int, headers: Sequence[tuple[str, str]] = ()
) -> dict[str, int]:
    """How often which answer came, or which status in its place, such as UNAVAILABLE."""
    answers = Counter[str]()
    options = [("grpc.default_authority", authority), ("grpc.enable_http_proxy", 0)]
    with grpc.insecure_channel(address, options) as channel:
        call = channel.unary_unary(method)
        for _ in range(times):
            try:
                answers[call(b"", timeout=_PATIENCE_SECONDS, metadata=headers).decode()] += 1
            except grpc.RpcError as error:
                answers[error.code().name] += 1
    return dict(answers)


if __name__ == "__main__":
    address, authority, method, times, *pairs = sys.argv[1:]
    headers = [(name, value) for name, _, value in (pair.partition("=") for pair in pairs)]
    print(json.dumps(calls(address, authority, method, int(times), headers)))
