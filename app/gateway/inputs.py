"""What a request asks for: its body read, within limits, into the images it names or carries."""

import asyncio
from typing import Annotated, NamedTuple

import msgspec
from aiohttp import BodyPartReader, web
from aiohttp.http_exceptions import HttpProcessingError

from app.gateway.budget import Room
from app.gateway.errors import GatewayError, Problem
from app.gateway.settings import Settings

Url = Annotated[str, msgspec.Meta(extra_json_schema={"format": "uri"})]

_CHUNK = 64 * 1024


class ImageUrls(msgspec.Struct, forbid_unknown_fields=True):
    """One image by its URL, or several: exactly one of the two fields."""

    url: Url | msgspec.UnsetType = msgspec.UNSET
    urls: Annotated[list[Url], msgspec.Meta(min_length=1)] | msgspec.UnsetType = msgspec.UNSET


class Images(NamedTuple):
    """The images of a request, each by its URL or as the bytes of its file."""

    sources: list[str | bytes]
    batch: bool
    """Whether several answers are expected, in a list."""


_json = msgspec.json.Decoder(ImageUrls)


async def read(request: web.Request, room: Room, settings: Settings, deadline: float) -> Images:
    """The images of a request; their bytes are held in ``room``, which they may have to wait for.

    Raises GatewayError: INVALID_JSON, INVALID_FORM, NO_IMAGE, UNSUPPORTED_BODY, BODY_TOO_LARGE, BATCH_TOO_LARGE; after
    the deadline BODY_TIMEOUT, or OVERLOADED if the body had to wait for others.
    """
    if (request.content_length or 0) > settings.max_body_bytes:
        raise GatewayError(Problem.BODY_TOO_LARGE, f"{request.content_length} bytes announced")
    try:
        async with asyncio.timeout_at(deadline):
            images = await _read(request, _Body(request, room, settings.max_body_bytes), settings)
    except TimeoutError:
        problem = Problem.OVERLOADED if room.waiting else Problem.BODY_TIMEOUT
        raise GatewayError(problem, "the body did not arrive in time") from None
    except web.RequestPayloadError as error:
        raise GatewayError(Problem.INVALID_FORM, f"the body is broken off: {error}") from None
    if len(images.sources) > settings.max_batch:
        raise GatewayError(Problem.BATCH_TOO_LARGE, f"{len(images.sources)} images")
    return images


class _Body:
    """Reads a body and counts its bytes."""

    def __init__(self, request: web.Request, room: Room, limit: int) -> None:
        self._content = request.content
        self._at_most = request.content_length or limit
        self._room = room
        self._limit = limit
        self._size = 0

    async def whole(self) -> bytes:
        chunks = []
        while chunk := await self._content.readany():
            chunks.append(await self._counted(chunk))
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def part(self, part: BodyPartReader) -> bytes:
        chunks = []
        while not part.at_eof():
            chunks.append(await self._counted(await part.read_chunk(_CHUNK)))
        return b"".join(chunks)

    async def _counted(self, chunk: bytes) -> bytes:
        self._size += len(chunk)
        if self._size > self._limit:
            raise GatewayError(Problem.BODY_TOO_LARGE, "more than was allowed arrived")
        await self._room.grow_to(self._size, self._at_most)
        return chunk


async def _read(request: web.Request, body: _Body, settings: Settings) -> Images:
    content_type = request.content_type
    if content_type == "application/json":
        return _named(await body.whole())
    if content_type.startswith("image/"):
        return Images([await body.whole()], batch=False)
    if content_type == "multipart/form-data":
        return await _form(request, body, settings.max_batch)
    raise GatewayError(Problem.UNSUPPORTED_BODY, f"content type {content_type!r}")


def _named(document: bytes) -> Images:
    try:
        body = _json.decode(document)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise GatewayError(Problem.INVALID_JSON, str(error)) from None
    if isinstance(body.url, str) and body.urls is msgspec.UNSET:
        return Images([body.url], batch=False)
    if isinstance(body.urls, list) and body.url is msgspec.UNSET:
        return Images(list(body.urls), batch=True)
    raise GatewayError(Problem.NO_IMAGE, "not exactly one of url and urls")


async def _form(request: web.Request, body: _Body, max_batch: int) -> Images:
    files: list[str | bytes] = []
    try:
        async for part in await request.multipart():
            if not isinstance(part, BodyPartReader):
                raise GatewayError(Problem.INVALID_FORM, "a form within the form")
            if len(files) == max_batch:
                raise GatewayError(Problem.BATCH_TOO_LARGE, f"more than {max_batch} images")
            files.append(await body.part(part))
    # What aiohttp's parser raises for damaged forms.
    except (ValueError, AssertionError, HttpProcessingError, web.HTTPException) as error:
        raise GatewayError(Problem.INVALID_FORM, f"{type(error).__name__}: {error}") from None
    if not files:
        raise GatewayError(Problem.NO_IMAGE, "an empty form")
    return Images(files, batch=len(files) > 1)
