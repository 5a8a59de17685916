"""What is measured, one method each: sets up, has the rounds done, and says it in Markdown."""

import asyncio
import sys
from pathlib import Path

from bench.gateway import (
    footprint,
    gateways,
    load,
    machine,
    overload,
    reduced_effect,
    rounds,
    same_tensor,
    shipped_size,
)
from bench.gateway.environments import CACHE, bookcamp_environment, gateway_environment, kserve_environment
from bench.gateway.footprint import Footprint
from bench.gateway.gateways import Gateway
from bench.gateway.photos import make_photos
from bench.gateway.report import Goal, number, table
from bench.gateway.rounds import Series
from bench.gateway.world import fast_world, nginx, slow_world

CLIENTS = 16
SLOW_CLIENTS = 64
IMAGE_DELAY, MODEL_DELAY = 0.05, 0.03  # seconds
OVERLOAD = 4  # times what can be served

REDUCED, BARE, DECODING = "this gateway, reduced decoding", "bare loop", "decoding alone"


class Bench:
    """One run; each method measures one thing, says it in Markdown, and adds the goals it decides."""

    def __init__(self, directory: Path, *, quick: bool) -> None:
        self.directory = directory
        self.rounds, self.seconds = (1, 2) if quick else (5, 3)
        self.starts = 1 if quick else 3
        self.goals: list[Goal] = []
        self.photos = make_photos(CACHE / "photos")
        self.photo_directory = CACHE / "photos"
        self.our_environment = gateway_environment()
        book, kserve = bookcamp_environment(), kserve_environment()
        self.ours = gateways.ours(self.our_environment)
        self.book_default = gateways.bookcamp_default(book)
        self.book_threads = gateways.bookcamp_threads(book)
        self.book_two = gateways.bookcamp_two_workers(book)
        self.kserve = gateways.kserve(kserve)

    @property
    def books(self) -> list[Gateway]:
        """The book's design, in the settings it is tried in."""
        return [self.book_default, self.book_two, self.book_threads]

    def generator_ceiling(self) -> str:
        with nginx(self.directory, self.photo_directory, machine.GATEWAY_CORE) as trivial:
            seen = load.run(f"http://{trivial}/trivial", ["{}"], clients=CLIENTS, seconds=2)
        return f"Load generator's own ceiling, against an nginx that answers at once: {seen.rate:.0f} requests/s."

    def same_tensor(self) -> str:
        record = self.directory / "request"
        everything = [photo for photos in self.photos.values() for photo in photos]
        with fast_world(sys.executable, self.directory, self.photo_directory, record) as world:
            expected, *others = (
                same_tensor.tensors(gateway, world, self.directory, everything, record)
                for gateway in (self.book_default, self.ours, self.kserve)
            )
        names = [self.ours.name, self.kserve.name]
        rows = [
            (name, f"{sum(a == b for a, b in zip(expected, other, strict=True))} of {len(everything)}")
            for name, other in zip(names, others, strict=True)
        ]
        self.goals.append(
            Goal(
                name="tensors equal to the book's design, bit for bit",
                sense=">=",
                limit=len(everything),
                measured=sum(a == b for a, b in zip(expected, others[0], strict=True)),
            )
        )
        return table(["", "tensors equal to the book's design"], rows)

    def speed(self) -> str:
        rows: list[tuple[str, ...]] = []
        for size, photos in self.photos.items():
            print(f"  {size}", file=sys.stderr)
            with fast_world(sys.executable, self.directory, self.photo_directory) as world:
                urls = world.urls(photos)
                contestants = [self.ours, *self.books, self.kserve]
                with gateways.start_all(contestants, world, self.directory, urls[0]) as running:
                    contenders = {one.gateway.name: rounds.served(one, urls, clients=CLIENTS) for one in running}
                    contenders[REDUCED] = rounds.served(
                        running[0], urls, clients=CLIENTS, path=gateways.OUR_REDUCED_PATH
                    )
                    python = self.our_environment.python
                    for shape in ("asyncio", "threads"):
                        contenders[f"{BARE}, {shape}"] = rounds.bare(python, shape, urls, world.model_server)
                    contenders[DECODING] = rounds.bare(python, "decode", urls, world.model_server)
                    seconds = self.seconds * (2 if size == "12 MP" else 1)
                    series = rounds.alternate(contenders, rounds=self.rounds, seconds=seconds)
            rows += self._speed_rows(size, series)
            self._speed_goals(size, series)
        header = ["photos", "", "requests/s, median", "lowest to highest", "CPU ms", "p50 ms", "p99 ms"]
        return table([*header, "load's core busy", "noise on the gateway's core"], rows)

    def _speed_rows(self, size: str, series: dict[str, Series]) -> list[tuple[str, ...]]:
        rows = []
        for name, one in series.items():
            low, high = one.spread
            row = [size, name, number(one.rate), f"{number(low)} to {number(high)}", number(one.cpu_milliseconds)]
            if one.median(lambda r: r.p99):
                row += [number(one.median(lambda r: r.p50)), number(one.median(lambda r: r.p99))]
                row += [f"{one.median(lambda r: r.load_core):.0%}", f"{one.median(lambda r: r.others):.0%}"]
            else:
                row += [""] * 4
            rows.append(tuple(row))
        return rows

    def _speed_goals(self, size: str, series: dict[str, Series]) -> None:
        ours = series[self.ours.name].rate
        best_name, best = max(((one.name, series[one.name].rate) for one in self.books), key=lambda pair: pair[1])
        bare = max(series[f"{BARE}, {shape}"].rate for shape in ("asyncio", "threads"))
        decoding = series[DECODING].cpu_milliseconds
        in_the_way = (
            f"both decode, {number(decoding)} of the peer's {number(1e3 / best)} ms; the bare loop, serving nobody, "
            f"reaches {number(bare / best)}x, decoding alone {number(1e3 / decoding / best)}x"
        )
        self.goals.append(
            Goal(
                name=f"requests/s at {size} against the {best_name}",
                sense=">=",
                limit={"0.3 MP": 2, "2 MP": 1.3, "12 MP": 1.5}[size],
                measured=ours / best,
                unit="x",
                in_the_way=in_the_way,
            )
        )
        ours_cpu, bare_cpu = (
            series[self.ours.name].cpu_milliseconds,
            min(series[f"{BARE}, {shape}"].cpu_milliseconds for shape in ("asyncio", "threads")),
        )
        self.goals.append(
            Goal(
                name=f"share of the bare loop at {size}",
                sense=">=",
                limit=80,
                measured=ours / bare * 100,
                unit=" %",
                in_the_way=f"{number(ours_cpu - bare_cpu)} ms of CPU on top of the loop's {number(bare_cpu)}",
            )
        )
        if size != "0.3 MP":
            self.goals.append(
                Goal(
                    name=f"reduced decoding at {size} against the {best_name}",
                    sense=">=",
                    limit={"2 MP": 1.7, "12 MP": 2.4}[size],
                    measured=series[REDUCED].rate / best,
                    unit="x",
                    in_the_way="undoing the Huffman coding takes the same time at every scale",
                )
            )

    def slow_world(self) -> str:
        photos = self.photos["0.3 MP"]
        with slow_world(
            sys.executable,
            self.directory,
            self.photo_directory,
            image_delay=IMAGE_DELAY,
            model_delay=MODEL_DELAY,
        ) as world:
            urls = world.urls(photos)
            contestants = [self.ours, self.book_default, self.book_threads, self.kserve]
            with gateways.start_all(contestants, world, self.directory, urls[0]) as running:
                series = rounds.alternate(
                    {one.gateway.name: rounds.served(one, urls, clients=SLOW_CLIENTS) for one in running},
                    rounds=self.rounds,
                    seconds=self.seconds,
                )
        ours = series[self.ours.name]
        busy = ours.median(lambda one: one.cpu / one.seconds)
        for peer, limit in ((self.book_default, 30), (self.book_threads, 2)):
            self.goals.append(
                Goal(
                    name=f"slow world against the {peer.name}",
                    sense=">=",
                    limit=limit,
                    measured=ours.rate / series[peer.name].rate,
                    unit="x",
                    in_the_way=f"its core is {busy:.0%} busy at {number(ours.cpu_milliseconds)} ms an answer",
                )
            )
        header = ["photos", "", "requests/s, median", "lowest to highest", "CPU ms", "p50 ms", "p99 ms"]
        return table(
            [*header, "load's core busy", "noise on the gateway's core"], self._speed_rows("0.3 MP, slow", series)
        )

    def footprint(self) -> str:
        rows = []
        with fast_world(sys.executable, self.directory, self.photo_directory) as world:
            for gateway in (self.ours, *self.books, self.kserve):
                seen = footprint.measure(
                    gateway,
                    world,
                    self.directory,
                    first=world.urls(self.photos["0.3 MP"])[0],
                    urls=world.urls(self.photos["12 MP"]),
                    starts=self.starts,
                    seconds=self.seconds * 3,
                )
                if gateway is self.ours:
                    installed = shipped_size.measure(gateway.environment, self.directory) / 1e6
                    self._footprint_goals(seen, installed)
                else:
                    installed = gateway.environment.installed_bytes() / 1e6
                numbers = (seen.peak_resident, seen.peak_proportional, seen.first_answer, installed)
                rows.append((gateway.name, *map(number, numbers)))
        header = ["", "peak resident MB", "peak proportional MB", "first answer after s", "installed MB"]
        return table(header, rows)

    def _footprint_goals(self, seen: Footprint, installed: float) -> None:
        memory = (
            f"{number(seen.resident_at_first)} MB at the first answer; then a frame of 36 MB and files on their way"
        )
        imports = "nearly all of it is the import of aiohttp, NumPy and gRPC"
        for name, limit, measured, unit, in_the_way in (
            ("memory at 12 MP with 16 clients", 150, seen.peak_resident, " MB", memory),
            ("start to first answer", 0.5, seen.first_answer, " s", imports),
            ("installed size, as in the image", 100, installed, " MB", ""),
        ):
            goal = Goal(name=name, sense="<=", limit=limit, measured=measured, unit=unit, in_the_way=in_the_way)
            self.goals.append(goal)

    def overload(self) -> str:
        with fast_world(sys.executable, self.directory, self.photo_directory) as world:
            urls = world.urls(self.photos["2 MP"])
            with gateways.start(self.ours, world, self.directory, urls[0]) as running:
                bodies = [self.ours.body(url) for url in urls]
                capacity = rounds.served(running, urls, clients=CLIENTS)(self.seconds).rate
                seen = asyncio.run(
                    overload.run(running.url(), bodies, per_second=OVERLOAD * capacity, seconds=self.seconds * 2)
                )
        answered = len(seen.accepted) / seen.seconds
        return (
            f"At {OVERLOAD} times the {number(capacity)} requests/s that it can serve at 2 MP, the gateway refused "
            f"{seen.refused_share:.0%} with 503 and Retry-After, and served {number(answered)} a second; p50 and p99 "
            f"of what it served {number(overload.percentile(seen.accepted, 50))} and "
            f"{number(overload.percentile(seen.accepted, 99))} ms, p99 of the refusals "
            f"{number(overload.percentile(seen.refused, 99))} ms; {seen.other} failed otherwise."
        )

    def reduced_effect(self) -> str:
        rows = []
        for size in ("2 MP", "12 MP"):
            seen = reduced_effect.measure(size, self.photos[size])
            rows.append(
                (
                    size,
                    f"{seen.right_in_full} of {seen.pictures}",
                    f"{seen.right_reduced} of {seen.pictures}",
                    f"{seen.same_label} of {seen.pictures}",
                    f"{seen.mean_score_difference:.2g}, of scores that spread by {seen.score_spread:.2g}",
                    f"{seen.mean_pixel_difference:.1%} of the range",
                )
            )
        return table(
            [
                "pictures",
                "right, decoded in full",
                "right, reduced",
                "same label both ways",
                "mean difference of a score",
                "mean difference of a value on the photos above",
            ],
            rows,
        )
