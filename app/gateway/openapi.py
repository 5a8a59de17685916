"""The OpenAPI document, made from the types of the answers, the table of problems and the routing table."""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from app.gateway import answers
from app.gateway.errors import Problem
from app.gateway.inputs import ImageUrls
from app.gateway.routing import RoutingTable

Json = dict[str, Any]

_TYPES: Final = (ImageUrls, answers.BatchAnswer, answers.ErrorAnswer, answers.ModelsAnswer, answers.HealthAnswer)
_IMAGE_TYPES = ("image/jpeg", "image/png", "image/webp")
_FILE: Json = {"type": "string", "format": "binary"}
_SCORES: Json = {
    "title": "Scores",
    "description": "Each label with its score.",
    "type": "object",
    "additionalProperties": {"type": "number"},
}
_NOT_FROM_PREDICT = frozenset({Problem.NOT_FOUND, Problem.METHOD_NOT_ALLOWED})


def document(table: RoutingTable, max_batch: int) -> bytes:
    """The document as JSON; ``max_batch`` is the largest number of images in one request."""
    schemas, components = msgspec.json.schema_components(_TYPES, ref_template="#/components/schemas/{name}")
    references = dict(zip(_TYPES, schemas, strict=True))
    components["ImageUrls"] |= {"minProperties": 1, "maxProperties": 1}
    components["ImageUrls"]["properties"]["urls"]["maxItems"] = max_batch
    components["Scores"] = _SCORES
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "Predictions",
                "version": "1",
                "description": "Send an image, by its URL or as a file, and get each label's score.",
            },
            "paths": {
                "/predict": {"post": _predict(table, references, max_batch, None)},
                "/models/{model}/predict": {
                    "parameters": [_model_parameter(table)],
                    "post": _predict(table, references, max_batch, "model"),
                },
                "/models": {
                    "get": {
                        "operationId": "models",
                        "tags": ["models"],
                        "summary": "The models and the state of their versions",
                        "responses": {"200": _answer("The models.", references[answers.ModelsAnswer])},
                    }
                },
                "/livez": _health("livez", "Whether the gateway lives", references, ["200"]),
                "/readyz": _health("readyz", "Whether predictions can be made", references, ["200", "503"]),
            },
            "components": {"schemas": components},
        }
    )


def _model_parameter(table: RoutingTable) -> Json:
    return {
        "name": "model",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "enum": sorted(table.models)},
        "example": table.default_model,
    }


def _predict(table: RoutingTable, references: dict[Any, Json], max_batch: int, parameter: str | None) -> Json:
    by_status: dict[str, list[Problem]] = {}
    for problem in Problem:
        if problem not in _NOT_FROM_PREDICT:
            by_status.setdefault(str(int(problem.status)), []).append(problem)
    scores = {"$ref": "#/components/schemas/Scores"}
    return {
        "operationId": "predict_with_model" if parameter else "predict",
        "tags": ["predictions"],
        "summary": "Predict with a model of your choice" if parameter else f"Predict with {table.default_model}",
        "description": f"One image gives its scores; `urls`, or several files of a form, up to {max_batch}, give one"
        " answer each, in order: its scores or what is wrong with it. JPEG, PNG and WebP.",
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": references[ImageUrls], "examples": _examples(table, parameter)},
                "multipart/form-data": {"schema": _form(max_batch)},
                **{image_type: {"schema": _FILE} for image_type in _IMAGE_TYPES},
            },
        },
        "responses": {
            "200": _answer("The scores.", {"anyOf": [references[answers.BatchAnswer], scores]})
            | {
                "headers": {
                    "X-Model-Version": {
                        "description": "The version of the model that answered.",
                        "schema": {"type": "string", "pattern": "^[0-9]+$"},
                    }
                }
            },
            **{status: _problems(problems, references) for status, problems in sorted(by_status.items())},
        },
    }


def _examples(table: RoutingTable, parameter: str | None) -> Json:
    default = table.default_model
    names = sorted(table.models, key=lambda name: (name != default, name)) if parameter else [default]
    given = {name: {"value": {"url": table.models[name].example}} for name in names if table.models[name].example}
    return given or {"url": {"value": {"url": _made_up_url(table)}}}


def _made_up_url(table: RoutingTable) -> str:
    hosts = (*table.image_hosts.public, "images.example.com")
    return f"https://{hosts[0]}/image.jpg"


def _form(max_batch: int) -> Json:
    return {
        "description": "Every field is taken for an image, whatever its name.",
        "type": "object",
        "properties": {"images": {"type": "array", "items": _FILE, "minItems": 1, "maxItems": max_batch}},
        "additionalProperties": _FILE,
        "minProperties": 1,
    }


def _problems(problems: Iterable[Problem], references: dict[Any, Json]) -> Json:
    answer = _answer(" ".join(problem.message for problem in problems), references[answers.ErrorAnswer])
    answer["content"]["application/json"]["examples"] = {
        problem.code: {"value": {"error": {"code": problem.code, "message": problem.message}}} for problem in problems
    }
    return answer


def _health(name: str, summary: str, references: dict[Any, Json], statuses: Iterable[str]) -> Json:
    answer = _answer("See the status.", references[answers.HealthAnswer])
    return {
        "get": {
            "operationId": name,
            "tags": ["health"],
            "summary": summary,
            "responses": dict.fromkeys(statuses, answer),
        }
    }


def _answer(description: str, schema: Json) -> Json:
    return {"description": description, "content": {"application/json": {"schema": schema}}}
