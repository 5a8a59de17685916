"""What the gateway answers, as types: the OpenAPI document is made from them."""

from typing import Annotated, Any, Literal

import msgspec

Scores = dict[str, float]


class Error(msgspec.Struct):
    """What went wrong: a stable code and a sentence."""

    code: str
    message: str


class ErrorAnswer(msgspec.Struct):
    """The answer to a request, or to one image of a batch, that failed."""

    error: Error


# msgspec knows no union of two kinds of objects; the OpenAPI document does.
Prediction = Annotated[
    Any,
    msgspec.Meta(
        extra_json_schema={
            "anyOf": [{"$ref": "#/components/schemas/ErrorAnswer"}, {"$ref": "#/components/schemas/Scores"}]
        }
    ),
]


class BatchAnswer(msgspec.Struct):
    """One answer for each image, in the order of the request: its scores, or what is wrong with it."""

    predictions: list[Prediction]


class VersionAnswer(msgspec.Struct):
    """One version of a model."""

    version: Annotated[int | None, msgspec.Meta(description="null if it cannot be asked for")]
    role: Literal["stable", "canary"]
    weight: Annotated[
        Annotated[int, msgspec.Meta(ge=0, le=100)] | None,
        msgspec.Meta(description="percent of the predictions; null if it is known to the mesh alone"),
    ]
    state: Annotated[
        str,
        msgspec.Meta(description="TensorFlow Serving's name of the state, AVAILABLE if all is well, or UNREACHABLE"),
    ]


class ModelAnswer(msgspec.Struct):
    """One model."""

    name: str
    default: bool
    labels: tuple[str, ...]
    versions: list[VersionAnswer]


class ModelsAnswer(msgspec.Struct):
    """All models."""

    models: list[ModelAnswer]


class HealthAnswer(msgspec.Struct):
    """Whether the gateway lives, or is ready, and if not, why."""

    status: str
