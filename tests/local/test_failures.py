"""What fails outside the platform's own checks is one line too."""

import sys
from xmlrpc.client import Fault

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from app.local import __main__ as command


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (EndpointConnectionError(endpoint_url="http://127.0.0.1:9000/"), "upload: the model store fails: Could not"),
        (ClientError({"Error": {"Code": "NoSuchBucket"}}, "ListObjectsV2"), "upload: the model store fails: An error"),
        (Fault(10, "BAD_NAME: digits"), "upload: supervisord refuses: <Fault 10: 'BAD_NAME: digits'>"),
    ],
)
def test_a_neighbour_that_fails_is_one_line(monkeypatch: pytest.MonkeyPatch, error: Exception, said: str) -> None:
    def fail(_: object) -> None:
        raise error

    monkeypatch.setattr(command, "_run", fail)
    monkeypatch.setattr(sys, "argv", ["app.local", "upload", "digits", "."])
    with pytest.raises(SystemExit) as exit:
        command.main()
    assert str(exit.value).startswith(said)
    assert "\n" not in str(exit.value)
