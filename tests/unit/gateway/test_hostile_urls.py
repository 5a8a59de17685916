"""URLs that must lead nowhere: each refused with its own problem, and before any connection is made."""

import sys
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.gateway.errors import GatewayError, Problem
from app.gateway.fetch import FetchLimits, ImageFetcher
from app.gateway.routing import ImageHosts
from tests.unit.gateway.image_hosts import Names, answering, ok, redirect

HOSTS = ImageHosts(
    public=("pictures.example", "rebound.example", "xn--bcher-kva.example", "127.0.0.1", "10.0.0.1", "8.8.8.8"),
    private=("localhost", "internal.example", "169.254.169.254", "127.0.0.2", "0.0.0.0", "224.0.0.1"),
)

_connects: list[object] = []
_watching = False


def _watch(event: str, arguments: tuple[object, ...]) -> None:
    if _watching and event == "socket.connect":
        _connects.append(arguments[1])


sys.addaudithook(_watch)


@pytest.fixture
def connects() -> Iterator[list[object]]:
    """Every address that a socket of this process is connected to, from now on: an audit hook misses none."""
    global _watching  # noqa: PLW0603
    _connects.clear()
    _watching = True
    yield _connects
    _watching = False


async def problem_of(url: str, names: Names | None = None, hosts: ImageHosts = HOSTS) -> Problem:
    async with ImageFetcher(FetchLimits(), names) as fetcher:
        with pytest.raises(GatewayError) as raised:
            async with fetcher.fetch(url, hosts, 5):
                pass
        return raised.value.problem


@pytest.mark.parametrize(
    "url",
    [
        "",
        "picture.jpg",
        "//pictures.example/a.jpg",
        "http:",
        "http:pictures.example",
        "http:///pictures.example",
        "http://:80/",
        "http://[::1",
        "http://[pictures.example]/",
        "http://pictures.example:99999/",
        "http://pictures.example:-80/",
        "http://pictures.example:http/",
        "http://pictures.example\\@evil.example/",
        "file:///etc/passwd",
        "ftp://pictures.example/a.jpg",
        "gopher://pictures.example/",
        "data:image/png;base64,iVBORw0KGgo=",
        "javascript:alert(1)",
        "unix:///run/docker.sock",
        "ws://pictures.example/",
        "http://user@pictures.example/",
        "http://user:password@pictures.example/",
        "http://:password@pictures.example/",
        "http://pictures.example@localhost/",
        "http://" + "a" * 9000,
    ],
)
async def test_what_is_not_a_plain_http_url_is_an_invalid_url(url: str, connects: list[object]) -> None:
    assert await problem_of(url) is Problem.INVALID_URL
    assert connects == []


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "pictures.example.evil.example",
        "evil-pictures.example",
        "sub.pictures.example",
        "example",
        "pictures.example..",
        ".pictures.example",
        "pictures%2eexample",
        "pictures.example%00.evil.example",
        "pictures.example%20",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0x7f.0x0.0x0.0x1",
        "0177.0.0.1",
        "017700000001",
        "127.0.0.01",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[fe80::1%25eth0]",
        "[fd00:ec2::254]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[v1.127.0.0.1]",
        "192.168.0.1",
        "169.254.170.23",
        "metadata.google.internal",
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_host_that_is_not_on_the_list_by_its_exact_name_is_refused(
    scheme: str, host: str, connects: list[object]
) -> None:
    names = Names({})
    problem = await problem_of(f"{scheme}://{host}/a.jpg", names)
    # Some of these spellings are no URLs at all.
    assert problem in {Problem.HOST_NOT_ALLOWED, Problem.INVALID_URL}
    assert connects == []
    assert names.asked == []


@pytest.mark.parametrize(
    "url",
    [
        "http://pictures.example:8080/",
        "http://pictures.example:443/",
        "https://pictures.example:80/",
        "http://pictures.example:22/",
        "http://pictures.example:0/",
    ],
)
async def test_a_public_host_is_asked_on_its_schemes_own_port_alone(url: str, connects: list[object]) -> None:
    assert await problem_of(url) is Problem.HOST_NOT_ALLOWED
    assert connects == []


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://10.0.0.1/",
        "http://①②⑦.⓪.⓪.①/",
        "http://169.254.169.254/latest/meta-data/",
        "https://169.254.169.254/",
        "http://169.254.169.254:8080/",
        "http://0.0.0.0/",
        "http://224.0.0.1/",
    ],
)
async def test_an_address_in_the_url_must_be_of_the_right_kind_even_if_it_is_on_the_list(
    url: str, connects: list[object]
) -> None:
    assert await problem_of(url) is Problem.ADDRESS_NOT_ALLOWED
    assert connects == []


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["10.1.2.3"],
        ["100.64.0.1"],
        ["169.254.169.254"],
        ["::1"],
        ["fd00::1"],
        ["fe80::1%2"],
        ["::ffff:127.0.0.1"],
        ["64:ff9b::a9fe:a9fe"],
        ["2002:7f00:1::"],
        ["8.8.8.8", "127.0.0.1"],
        ["127.0.0.1", "8.8.8.8"],
    ],
)
async def test_a_public_host_must_have_public_addresses_only(addresses: list[str], connects: list[object]) -> None:
    names = Names({"rebound.example": [addresses]})
    assert await problem_of("http://rebound.example/a.jpg", names) is Problem.ADDRESS_NOT_ALLOWED
    assert connects == []


@pytest.mark.parametrize(
    "addresses", [["169.254.169.254"], ["fd00:ec2::254"], ["0.0.0.0"], ["224.0.0.1"], ["127.0.0.1", "169.254.170.23"]]
)
async def test_a_private_host_may_not_be_a_metadata_service_either(
    addresses: list[str], connects: list[object]
) -> None:
    names = Names({"internal.example": [addresses]})
    assert await problem_of("http://internal.example:8080/a.jpg", names) is Problem.ADDRESS_NOT_ALLOWED
    assert connects == []


@pytest.mark.parametrize(
    "spelling",
    ["pictures.example", "PICTURES.Example", "pictures.example.", "\uff50ictures.example", "pictures\u3002example"],
)
async def test_other_spellings_of_an_allowed_name_are_that_name(spelling: str) -> None:
    names = Names({"pictures.example": [["127.0.0.1"]], "pictures.example.": [["127.0.0.1"]]})
    assert await problem_of(f"http://{spelling}/", names) is Problem.ADDRESS_NOT_ALLOWED


async def test_an_international_name_is_on_the_list_in_its_ascii_form() -> None:
    names = Names({"xn--bcher-kva.example": [["127.0.0.1"]]})
    assert await problem_of("http://Bücher.example/", names) is Problem.ADDRESS_NOT_ALLOWED


async def test_a_host_on_both_lists_must_be_public() -> None:
    both = ImageHosts(public=("twice.example",), private=("twice.example",))
    names = Names({"twice.example": [["127.0.0.1"]]})
    assert await problem_of("http://twice.example/", names, both) is Problem.ADDRESS_NOT_ALLOWED


@pytest.mark.parametrize(
    ("location", "problem"),
    [
        ("http://evil.example/", Problem.HOST_NOT_ALLOWED),
        ("//evil.example/", Problem.HOST_NOT_ALLOWED),
        ("http://[::1]/", Problem.HOST_NOT_ALLOWED),
        ("http://2130706433/", Problem.HOST_NOT_ALLOWED),
        ("http://127.0.0.1/", Problem.ADDRESS_NOT_ALLOWED),
        ("http://169.254.169.254/latest/meta-data/", Problem.ADDRESS_NOT_ALLOWED),
        ("http://pictures.example:8080/", Problem.HOST_NOT_ALLOWED),
        ("http://rebound.example/", Problem.ADDRESS_NOT_ALLOWED),
        ("http://user:password@localhost/", Problem.INVALID_URL),
        ("file:///etc/passwd", Problem.INVALID_URL),
        ("http://[::1", Problem.INVALID_URL),
        ("ftp://localhost/", Problem.INVALID_URL),
    ],
)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_checked_as_the_first_url_is(
    status: int, location: str, problem: Problem, connects: list[object]
) -> None:
    names = Names({"localhost": [["127.0.0.1"]], "rebound.example": [["127.0.0.1"]]})
    async with answering(redirect(location, status)).running() as host:
        assert await problem_of(host.url(), names) is problem
        assert connects == [("127.0.0.1", host.port)]


async def test_the_address_that_was_checked_is_the_one_connected_to() -> None:
    names = Names({"internal.example": [["127.0.0.1"], ["169.254.169.254"]]})
    async with (
        answering(ok(2), b"ok").running() as host,
        ImageFetcher(FetchLimits(), names) as fetcher,
        fetcher.fetch(host.url("internal.example"), HOSTS, 5) as data,
    ):
        assert data == b"ok"
    assert names.asked == ["internal.example"]


async def test_a_name_that_changes_its_address_is_checked_again(connects: list[object]) -> None:
    names = Names({"internal.example": [["127.0.0.1"], ["169.254.169.254"]]})
    async with answering(ok(2), b"ok").running() as host, ImageFetcher(FetchLimits(), names) as fetcher:
        async with fetcher.fetch(host.url("internal.example"), HOSTS, 5):
            pass
        # Another port is another entry in the cache of names.
        with pytest.raises(GatewayError) as raised:
            async with fetcher.fetch("http://internal.example:1/", HOSTS, 5):
                pass
        assert raised.value.problem is Problem.ADDRESS_NOT_ALLOWED
        assert connects == [("127.0.0.1", host.port)]


@pytest.mark.parametrize(
    "url",
    [
        "http://user:hunter2@pictures.example/",
        "ftp://user:hunter2@pictures.example/",
        "http://evil.example/?X-Amz-Signature=hunter2",
        "http://evil.example/#hunter2",
        "http://[::1/?hunter2",
    ],
)
async def test_no_password_or_signature_of_a_url_reaches_the_log(url: str) -> None:
    async with ImageFetcher(FetchLimits()) as fetcher:
        with pytest.raises(GatewayError) as raised:
            async with fetcher.fetch(url, HOSTS, 5):
                pass
    assert "hunter2" not in str(raised.value)


async def test_no_url_can_write_a_line_of_its_own_into_the_log() -> None:
    async with ImageFetcher(FetchLimits()) as fetcher:
        with pytest.raises(GatewayError) as raised:
            async with fetcher.fetch("http://evil.example/a\u2028\x85\x1b[2Jb", HOSTS, 5):
                pass
    assert raised.value.detail.isprintable()
    assert raised.value.detail.isascii()


@given(st.text(max_size=60) | st.from_regex(r"(?i)https?:[/\\]{1,3}.{0,40}", fullmatch=True))
@settings(deadline=None)
async def test_any_text_at_all_is_refused_as_a_gateway_error(url: str) -> None:
    nothing_allowed = ImageHosts()
    assert await problem_of(url, hosts=nothing_allowed) in {Problem.INVALID_URL, Problem.HOST_NOT_ALLOWED}
