"""An image host that takes its time: HTTP/1.1 over asyncio, every picture after a delay, at little CPU.

``python -m bench.gateway.slow_host --port P --directory D --delay SECONDS``
"""

import argparse
import asyncio
from pathlib import Path


class Host(asyncio.Protocol):
    """One connection; it knows only GET for a file of the directory, and keeps the connection open."""

    def __init__(self, answers: dict[bytes, bytes], delay: float) -> None:
        self._answers = answers
        self._delay = delay
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, _, self._received = self._received.partition(b"\r\n\r\n")
            answer = self._answers.get(head.split(b" ", 2)[1])
            asyncio.get_running_loop().call_later(self._delay, self._answer, answer)

    def _answer(self, answer: bytes | None) -> None:
        self._transport.write(answer or b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")


def answer_of(file: Path) -> bytes:
    picture = file.read_bytes()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
    return head.encode() + picture


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--delay", type=float, required=True)
    arguments = parser.parse_args()
    answers = {f"/{file.name}".encode(): answer_of(file) for file in arguments.directory.glob("*.jpg")}
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Host(answers, arguments.delay), "127.0.0.1", arguments.port, backlog=512)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
