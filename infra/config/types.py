"""What a single value of the settings may be: each type carries its rule in words and as a check."""

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, GetCoreSchemaHandler
from pydantic_core import core_schema

from infra import conventions, versions


@dataclass(frozen=True)
class Rule:
    """What a text or number must be: in words, for errors and the documentation, and as a check."""

    words: str
    holds: Callable[[Any], bool]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def _checked(self, value: Any) -> Any:
        if not self.holds(value):
            raise ValueError(self.words)
        return value


def _like(words: str, pattern: str) -> Rule:
    expression = re.compile(pattern)
    return Rule(words, lambda text: expression.fullmatch(text) is not None)


def _dns_label(max_length: int) -> Rule:
    return _like(
        f"lower-case letters, digits and hyphens, a letter first, {max_length} characters at most",
        rf"(?=.{{1,{max_length}}}$)[a-z]([a-z0-9-]*[a-z0-9])?",
    )


def _tag(max_length: int) -> Rule:
    """What all of AWS's services take, but for what would cut the annotation of the load balancer's tags in two.

    Source: https://docs.aws.amazon.com/tag-editor/latest/userguide/best-practices-and-strats.html
    """
    character = r"[\w./+@-]"
    return _like(
        f"letters, digits, inner spaces and _ . / + - @, {max_length} characters at most",
        rf"(?=.{{1,{max_length}}}$){character}+( +{character}+)*",
    )


def _is_network(text: str) -> bool:
    try:
        return ipaddress.IPv4Network(text) is not None
    except ValueError:
        return False


PRIVATE_NETWORKS: Final = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
"""Of RFC 1918."""


def is_private(cidr: str) -> bool:
    """Whether a network lies within the private ones."""
    network = ipaddress.IPv4Network(cidr)
    return any(network.subnet_of(ipaddress.IPv4Network(private)) for private in PRIVATE_NETWORKS)


def _is_https_url(text: str) -> bool:
    try:
        url = urlsplit(text)
        known = url.port is None or url.port > 0
    except ValueError:
        return False
    return known and url.scheme == "https" and re.fullmatch(r"[A-Za-z0-9.-]+", url.hostname or "") is not None


def _is_s3_api(text: str) -> bool:
    try:
        url = urlsplit(text)
        known = url.port is None or url.port > 0
    except ValueError:
        return False
    host = url.hostname or ""
    return (
        known
        # model-sync refuses plain HTTP out of the cluster.
        and (url.scheme == "https" or (url.scheme == "http" and host.endswith((".svc", ".svc.cluster.local"))))
        and not url.path.strip("/")
        and re.fullmatch(_HOST_NAME, host) is not None
    )


def _is_host_and_port(text: str) -> bool:
    host, colon, port = text.partition(":")
    known = re.fullmatch("[1-9][0-9]{0,4}", port) is not None and int(port) <= 65535
    return re.fullmatch(_HOST_NAME, host) is not None and (known or not colon)


# The last label begins with a letter: no address is a name.
_HOST_NAME: Final = r"(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?"

# https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html
_RETENTIONS = (1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653)

Positive = Annotated[int, Field(ge=1)]
# As many digits as seconds since 1970 have, which exporters number by; names have room for no more.
VersionNumber = Annotated[int, Field(ge=1, le=9_999_999_999)]
Percent = Annotated[int, Field(ge=0, le=100)]
PortNumber = Annotated[
    int,
    # https://istio.io/latest/docs/ops/deployment/application-requirements/#ports-used-by-istio
    Rule(
        "a port from 1 to 65535, but not from 15000 to 15090, which are those of the mesh's proxy in the same pod",
        lambda port: 1 <= port <= 65535 and not 15000 <= port <= 15090,
    ),
]
Pixels = Annotated[int, Field(ge=1, le=4096)]
Accelerator = Literal["cpu", "gpu"]

Cidr = Annotated[str, Rule("an IPv4 network such as 10.0.0.0/16, with no bits set after its prefix", _is_network)]
HostName = Annotated[str, _like("a host's full name in lower case such as images.example.com", _HOST_NAME)]
HostAndPort = Annotated[
    str,
    Rule("a host's full name in lower case, alone or with a port such as images.example.com:8080", _is_host_and_port),
]
# Without a name, clients take the one that happens to be current.
ContextName = Annotated[str, _like("the name of a context, as `kubectl config get-contexts` shows it", r"\S+")]
NodeHost = Annotated[str, _like("a host's name or address", r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")]
HttpsUrl = Annotated[str, Rule("an https:// URL with a host's name, and a port if it has one", _is_https_url)]
TensorName = Annotated[str, _like("a tensor's name, without spaces", r"\S+")]
Text = Annotated[str, _like("a text that is not empty", r".*\S.*")]
UrlPath = Annotated[str, _like("a path that begins with /", r"/\S*")]
S3Api = Annotated[
    str,
    Rule(
        "https://host or https://host:port, or http:// to a Service (*.svc.cluster.local), and host a name: the mesh"
        " knows hosts by name",
        _is_s3_api,
    ),
]
RegistryAddress = Annotated[
    str,
    _like(
        "a registry's host, port and path such as localhost:5001, without https://",
        r"[a-z0-9][^\s:/]*(:\d+)?(/[^\s:/]+)*",
    ),
]
ImageByDigest = Annotated[
    str,
    _like(
        "an image by its digest: name@sha256: and 64 hexadecimal digits", r"[a-z0-9][a-z0-9._/:-]*@sha256:[0-9a-f]{64}"
    ),
]

ModelName = Annotated[
    str,
    _dns_label(conventions.MODEL_NAME_MAX),
    Rule(
        "a name that does not end as versions do, in -v and a number, -primary, -canary, -progressive or -latest",
        lambda model: re.search(r"-(v[0-9]+|primary|canary|progressive|latest)$", model) is None,
    ),
    Rule(
        f"a name that nothing else beside the models has ({', '.join(conventions.NOT_FOR_MODELS)})",
        lambda model: model not in conventions.NOT_FOR_MODELS,
    ),
]
NodeGroupName = Annotated[str, _dns_label(conventions.NODE_GROUP_NAME_MAX)]
StackName = Annotated[str, _dns_label(conventions.STACK_NAME_MAX)]

Region = Annotated[str, _like("an AWS region such as eu-central-1", r"[a-z]{2,3}(-[a-z]+)+-\d")]
AccountId = Annotated[str, _like("the 12 digits of an AWS account, in quotes", r"\d{12}")]
RoleArn = Annotated[
    str,
    _like(
        "the ARN of an IAM role such as arn:aws:iam::111122223333:role/platform",
        r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+",
    ),
]
CertificateArn = Annotated[
    str,
    _like(
        "the ARN of a certificate in AWS Certificate Manager",
        r"arn:aws[a-z-]*:acm:[a-z0-9-]+:\d{12}:certificate/[\w-]+",
    ),
]
InstanceType = Annotated[str, _like("an EC2 instance type such as m7i.large", r"[a-z][a-z0-9-]*\.[a-z0-9-]+")]
KubernetesVersion = Annotated[
    str,
    Rule(
        f"a Kubernetes version that all add-ons support ({', '.join(versions.END_OF_SUPPORT)}), in quotes",
        lambda version: version in versions.END_OF_SUPPORT,
    ),
]
LogDays = Annotated[
    int,
    Rule(
        f"a number of days that CloudWatch keeps logs for: {', '.join(map(str, _RETENTIONS))}",
        lambda days: days in _RETENTIONS,
    ),
]

Cpu = Annotated[str, _like("CPUs such as 500m or 2", r"(?=.*[1-9])(\d+m|\d+(\.\d{1,3})?)")]
Memory = Annotated[str, _like("an amount of bytes such as 512Mi or 4Gi", r"0*[1-9]\d*(Mi|Gi)")]

TagName = Annotated[str, _tag(128)]
TagText = Annotated[str, _tag(256)]

# https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set
_LABEL_TEXT: Final = r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
LabelName = Annotated[
    str,
    _like(
        "the name of a label such as team or example.com/team",
        rf"([a-z0-9]([a-z0-9.-]{{0,251}}[a-z0-9])?/)?{_LABEL_TEXT}",
    ),
    Rule(
        "one that Kubernetes, EKS and the GPU's device plugin do not keep for themselves",
        lambda name: re.match(r"([^/]+\.)?(kubernetes\.io|k8s\.io|amazonaws\.com|nvidia\.com)/", name) is None,
    ),
]
LabelText = Annotated[
    str, _like("a label's value: letters, digits and inner _ . -, 63 characters at most", rf"({_LABEL_TEXT})?")
]
