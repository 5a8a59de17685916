"""Settings from the environment."""

import pytest

from app.gateway.settings import SettingsError, from_environment

TABLE = {"GATEWAY_ROUTING_TABLE": "routing.json"}


def test_what_is_not_set_has_its_default() -> None:
    settings = from_environment({**TABLE, "HOME": "/root"})
    assert (settings.routing_table, settings.port) == ("routing.json", 9696)


def test_values_are_read_by_their_types() -> None:
    settings = from_environment(
        {**TABLE, "GATEWAY_PORT": "80", "GATEWAY_DRAIN_SECONDS": "1.5", "GATEWAY_ACCESS_LOG": "true"}
    )
    assert (settings.port, settings.drain_seconds, settings.access_log) == (80, 1.5, True)


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("GATEWAY_PORT", "http", "expected `int`"),
        ("GATEWAY_PORT", "70000", "<= 65535"),
        ("GATEWAY_MODEL_TIMEOUT", "0", "> 0"),
        ("GATEWAY_MAX_BATCH", "129", "GATEWAY_MAX_IN_FLIGHT=128"),
        ("GATEWAY_MAX_BODY_BYTES", "30000000", "GATEWAY_UPLOAD_BYTES_IN_FLIGHT"),
        ("GATEWAY_MAX_IMAGE_BYTES", "30000000", "GATEWAY_DOWNLOAD_BYTES_IN_FLIGHT"),
        ("GATEWAY_PROT", "80", "no such setting"),
        ("GATEWAY_SERVICE_HOST", "10.0.0.1", "enableServiceLinks"),
    ],
)
def test_a_bad_setting_is_refused_with_one_line_that_names_it_and_the_rule(name: str, value: str, rule: str) -> None:
    with pytest.raises(SettingsError) as refused:
        from_environment({**TABLE, name: value})
    line = str(refused.value)
    assert name in line
    assert rule in line
    assert "\n" not in line


def test_a_gateway_without_a_routing_table_says_what_is_missing() -> None:
    with pytest.raises(SettingsError, match="GATEWAY_ROUTING_TABLE is not set"):
        from_environment({})
