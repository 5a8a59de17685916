"""Who is let in: clients with a token or with a key, or all of them where the stack file says so; otherwise nobody."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pulumi import Output

from infra import config
from infra.mesh.ingress import GRPC, HTTP, SELECTOR, authorities, serving_port
from infra.mesh.namespaces import namespace_of

API_KEY_HEADER: Final = "x-api-key"
PREDICTIONS: Final = "/tensorflow.serving.PredictionService/*"
"""All of TF Serving's gRPC that a client may call: the call that loads other models shares the port."""

# 32 characters of 64 are 192 bits. A star would stand for anything: no other characters than these.
_API_KEY = re.compile(r"[A-Za-z0-9_-]{32,256}")

STRICT_MUTUAL_TLS: Final = {"mtls": {"mode": "STRICT"}}

NOTHING: Final[dict[str, Any]] = {}
"""The spec of an AuthorizationPolicy that allows nothing; others add what is allowed.

Source: https://istio.io/latest/docs/concepts/security/#allow-nothing-deny-all-and-allow-all-policy
"""


def check_api_keys(keys: Sequence[str]) -> list[str]:
    """The keys as they are; raises SettingsError, without showing a key, where they are none or one can be guessed."""
    if not keys:
        raise config.SettingsError(f"{_API_KEYS} has no key: with none, nobody could ever come in; {_HOW}")
    for index, key in enumerate(keys):
        if not isinstance(key, str) or not _API_KEY.fullmatch(key):
            raise config.SettingsError(f"{_API_KEYS}[{index}] must be 32 to 256 of A-Z, a-z, 0-9, _ and -: {_HOW}")
    return list(keys)


_API_KEYS = "model-serving:apiKeys"
_HOW = "set it with `pulumi config set --secret --path 'model-serving:apiKeys[0]' $(openssl rand -hex 32)`"


def request_authentication(jwt: config.Jwt) -> dict[str, Any]:
    """Whose tokens are believed; a request without one passes here, and is stopped by the policy of the clients.

    Source: https://istio.io/latest/docs/reference/config/security/request_authentication/
    """
    return {
        "selector": {"matchLabels": SELECTOR},
        "jwtRules": [{"issuer": jwt.issuer, "jwksUri": jwt.jwks_uri, "audiences": list(jwt.audiences)}],
    }


def clients(
    settings: config.Ingress, models: Mapping[str, config.Model], api_keys: Output[Sequence[str]] | None
) -> dict[str, Any]:
    """What clients may do at the door, once they have shown who they are.

    Raises SettingsError where API keys are asked for and there are none.
    """
    proof = _proof(settings.authentication, api_keys)
    rules = [{**proof, "to": [{"operation": {"ports": [str(serving_port(settings).number)]}}]}]
    if settings.certificate_arn:
        # Where nothing is served: a redirect to port 443, which asks for the proof.
        rules.append({"to": [{"operation": {"ports": [str(HTTP.number)]}}]})
    if settings.grpc.enabled:
        port = {"ports": [str(GRPC.number)]}
        operations = [{**port, "paths": [PREDICTIONS]}]
        if hosts := _containers_of_their_own(settings, models):
            operations.append({**port, "hosts": hosts})
        rules.append({**proof, "to": [{"operation": operation} for operation in operations]})
    return {"selector": {"matchLabels": SELECTOR}, "action": "ALLOW", "rules": rules}


def _containers_of_their_own(settings: config.Ingress, models: Mapping[str, config.Model]) -> list[str]:
    """The names, with a port or without, of images that speak gRPC by themselves: what they can be asked is theirs."""
    names = [
        name
        for model, container in sorted(models.items())
        if isinstance(container, config.ContainerModel) and container.protocol == "grpc"
        for name in authorities(model, namespace_of(container), settings.host)
    ]
    return [host for name in names for host in (name, f"{name}:*")]


def _proof(
    authentication: config.Jwt | config.ApiKey | config.Open, api_keys: Output[Sequence[str]] | None
) -> dict[str, Any]:
    match authentication:
        case config.Jwt(issuer=issuer):
            return {"from": [{"source": {"requestPrincipals": [f"{issuer}/*"]}}]}
        case config.ApiKey():
            if api_keys is None:
                raise config.SettingsError(f"{_API_KEYS} is missing with authentication.kind api-key: {_HOW}")
            keys: Output[Sequence[str]] = Output.secret(api_keys)
            return {"when": [{"key": f"request.headers[{API_KEY_HEADER}]", "values": keys.apply(check_api_keys)}]}
        case config.Open():
            return {}
