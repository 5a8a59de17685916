"""The routing table's rules."""

import msgspec
import pytest

from app.gateway import routing

TABLE: dict[str, object] = {
    "default_model": "digits",
    "models": {
        "digits": {
            "address": "127.0.0.1:8500",
            "authority": "digits",
            "versions": [
                {"version": 1, "role": "stable", "weight": 70, "address": "127.0.0.1:8511"},
                {"version": 2, "role": "canary", "weight": 30, "address": "127.0.0.1:8512"},
            ],
            "input": {"tensor": "image", "size": [8, 8], "scaling": "unit", "channels": 1},
            "output": {"tensor": "scores", "labels": list("0123456789")},
        }
    },
    "image_hosts": {"public": ["images.example.com"]},
}


def _with(**changes: object) -> bytes:
    return msgspec.json.encode({**TABLE, **changes})


def test_a_whole_table_is_read_with_its_types() -> None:
    table = routing.decode(_with(), "routing.json")
    assert table.models["digits"].input.scaling is routing.Scaling.UNIT
    assert [version.weight for version in table.models["digits"].versions] == [70, 30]
    assert table.image_hosts.public == ("images.example.com",)


@pytest.mark.parametrize(
    ("document", "named"),
    [
        (b"{", "routing.json: "),
        (b"\xff", "routing.json: "),
        (_with(default_model="shoes"), "'shoes'"),
        (_with(surprise=1), "surprise"),
        (_with(models={"digits": {"address": "no-port"}}), "$.models"),
        (_with(image_hosts={"public": ["https://images.example.com/"]}), "$.image_hosts.public"),
        (_with(image_hosts={"public": ["images..example.com"]}), "$.image_hosts.public"),
        (_with().replace(b'"unit"', b'"caffe"'), "scaling caffe"),
    ],
)
def test_a_bad_table_is_refused_with_one_line_that_names_the_place(document: bytes, named: str) -> None:
    with pytest.raises(routing.RoutingError) as refused:
        routing.decode(document, "routing.json")
    assert named in str(refused.value)
    assert "\n" not in str(refused.value)


def test_weights_that_do_not_make_a_hundred_are_refused() -> None:
    document = _with().replace(b'"weight":30', b'"weight":31')
    with pytest.raises(routing.RoutingError, match="digits's versions add up to 101"):
        routing.decode(document, "routing.json")


def test_weights_may_be_left_to_the_mesh_for_all_versions_of_a_model_but_not_for_some() -> None:
    none = _with().replace(b'"weight":30,', b"").replace(b'"weight":70,', b"")
    assert {version.weight for version in routing.decode(none, "it").models["digits"].versions} == {None}
    with pytest.raises(routing.RoutingError, match="only some of digits's versions have a weight"):
        routing.decode(_with().replace(b'"weight":30,', b""), "routing.json")
