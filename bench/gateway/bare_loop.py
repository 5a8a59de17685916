"""The 100 % line: get, decode, resize, ask; with the gateway's libraries, in a loop, without a server around it.

``python -m bench.gateway.bare_loop SHAPE SECONDS MODEL_SERVER URL...`` prints one line of JSON. No limit is checked, no
error handled, nothing counted; four pictures are under way at once so that the core never waits for the other one.
Two shapes, since neither is the faster one everywhere: asyncio (aiohttp, grpc.aio) and threads (http.client, grpc). A
third, decode, only decodes: nothing that decodes these photos in full can be faster.
"""

import asyncio
import ctypes
import http.client
import itertools
import json
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import aiohttp
import grpc
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from app.protocol import PREDICT
from app.protocol.serving_pb2 import DT_FLOAT, PredictRequest

UNDER_WAY = 4
SIZE = 299  # pixels, both ways
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h


def keep_memory() -> None:
    """Keep freed memory in the process: to fault it in anew for every picture would cost up to half the time."""
    libc = ctypes.CDLL(None)
    libc.mallopt(M_TRIM_THRESHOLD, 1 << 30)
    libc.mallopt(M_MMAP_THRESHOLD, 1 << 30)


@lru_cache
def nearest(length: int) -> NDArray[np.intp]:
    """Where Pillow's nearest-neighbour resize takes its pixels: it adds up the step, rounding errors included."""
    step = length / SIZE
    return np.array(list(itertools.islice(itertools.accumulate(itertools.repeat(step), initial=step / 2), SIZE)), int)


def predict_request(jpeg: bytes) -> bytes:
    pixels = simplejpeg.decode_jpeg(jpeg)
    picked = pixels.take(nearest(pixels.shape[0]), axis=0).take(nearest(pixels.shape[1]), axis=1)
    tensor = picked.astype(np.float32)
    tensor /= 127.5
    tensor -= 1.0
    request = PredictRequest()
    request.model_spec.name = "clothing"
    request.model_spec.signature_name = "serving_default"
    content = request.inputs["input_8"]
    content.dtype = DT_FLOAT
    for size in (1, *tensor.shape):
        content.tensor_shape.dim.add(size=size)
    content.tensor_content = tensor.tobytes()
    return request.SerializeToString()


def with_threads(urls: Iterator[str], deadline: float, model_server: str) -> int:
    ask = grpc.insecure_channel(model_server).unary_unary(PREDICT, None, None)

    def loop(_: int) -> int:
        connections: dict[str, http.client.HTTPConnection] = {}
        answers = 0
        while time.monotonic() < deadline:
            url = urllib.parse.urlsplit(next(urls))
            connection = connections.setdefault(url.netloc, http.client.HTTPConnection(url.netloc))
            connection.request("GET", url.path)
            ask(predict_request(connection.getresponse().read()))
            answers += 1
        return answers

    with ThreadPoolExecutor(UNDER_WAY) as pool:
        return sum(pool.map(loop, range(UNDER_WAY)))


async def with_asyncio(urls: Iterator[str], deadline: float, model_server: str) -> int:
    async with aiohttp.ClientSession() as session, grpc.aio.insecure_channel(model_server) as channel:
        ask = channel.unary_unary(PREDICT, None, None)

        async def loop() -> int:
            answers = 0
            while time.monotonic() < deadline:
                async with session.get(next(urls)) as response:
                    jpeg = await response.read()
                await ask(predict_request(jpeg))
                answers += 1
            return answers

        return sum(await asyncio.gather(*(loop() for _ in range(UNDER_WAY))))


def decoding_only(urls: list[str], seconds: float) -> int:
    jpegs = [urllib.request.urlopen(url).read() for url in urls]
    turns = itertools.cycle(jpegs)
    deadline = time.monotonic() + seconds
    answers = 0
    while time.monotonic() < deadline:
        simplejpeg.decode_jpeg(next(turns))
        answers += 1
    return answers


def main() -> None:
    shape, seconds, model_server, *urls = sys.argv[1:]
    keep_memory()
    turns = itertools.cycle(urls)
    started, cpu_before = time.monotonic(), time.process_time()
    deadline = started + float(seconds)
    match shape:
        case "threads":
            answers = with_threads(turns, deadline, model_server)
        case "asyncio":
            answers = asyncio.run(with_asyncio(turns, deadline, model_server))
        case _:
            answers = decoding_only(urls, float(seconds))
    elapsed = time.monotonic() - started
    print(json.dumps({"answers": answers, "seconds": elapsed, "cpu": time.process_time() - cpu_before}))


if __name__ == "__main__":
    main()
