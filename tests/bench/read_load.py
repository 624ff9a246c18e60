"""The load that the read API can serve: `python -m tests.bench.read_load URL CLIENTS SECONDS [PID...]`.

Each client sends one request after the other. `{i}` in the URL becomes a number that grows with every request. For the
processes with these ids it also prints the CPU time per request.
"""

import argparse
import asyncio
import itertools
import sys
import time
from urllib.parse import urlsplit

import psutil

from tests.bench.reads.http_load import body
from tests.support.machine.arguments import amount, count


async def client(url: str, numbers: "itertools.count[int]", until: float, times: list[float]) -> int:
    """Send one request after the other on one connection; return the bytes of all bodies."""
    place, size = urlsplit(url), 0
    reader, writer = await asyncio.open_connection(place.hostname, place.port, limit=2**22)
    path = url.split(place.netloc, 1)[1]
    while time.perf_counter() < until:
        began = time.perf_counter()
        target = path.replace("{i}", str(next(numbers)))
        writer.write(f"GET {target} HTTP/1.1\r\nHost: {place.netloc}\r\nAccept: */*\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        if " 200 " not in head.split("\r\n", 1)[0]:
            raise SystemExit(head)
        size += await body(reader, head)
        times.append(time.perf_counter() - began)
    writer.close()
    return size


async def measure(url: str, clients: int, seconds: float, processes: list[psutil.Process]) -> None:
    """Run the clients and print the figures."""
    times: list[float] = []
    numbers = itertools.count(int(time.time()) % 1000)
    before = [cpu(one) for one in processes]
    began = time.perf_counter()
    sizes = await asyncio.gather(*(client(url, numbers, began + seconds, times) for _ in range(clients)))
    took = time.perf_counter() - began
    times.sort()
    spent = [f"{(cpu(one) - was) / len(times) * 1000:.2f}" for one, was in zip(processes, before, strict=True)]
    middle, late = times[len(times) // 2] * 1000, times[int(len(times) * 0.99)] * 1000
    rate = f"{len(times) / took:.0f}/s {sum(sizes) / took / 1e6:.1f} MB/s p50 {middle:.1f} ms p99 {late:.1f} ms"
    sys.stdout.write(f"{rate} CPU ms/request {' + '.join(spent) or '?'}\n")


def cpu(process: psutil.Process) -> float:
    """Return the CPU seconds of a process and its descendants."""
    every = [process, *process.children(recursive=True)]
    return sum(sum(one.cpu_times()[:2]) for one in every)


def process(text: str) -> psutil.Process:
    """Return the process with this id."""
    try:
        return psutil.Process(int(text))
    except (ValueError, psutil.NoSuchProcess):
        raise argparse.ArgumentTypeError(f"{text!r} should be the id of a process that runs") from None


def address(text: str) -> str:
    """Return the URL if it is http:// with a port."""
    if not (text.startswith("http://") and urlsplit(text).port):
        raise argparse.ArgumentTypeError(f"{text!r} should be like http://127.0.0.1:8060/dicomweb/studies")
    return text


def main() -> None:
    """Measure from the command line."""
    wanted = argparse.ArgumentParser(
        prog="python -m tests.bench.read_load",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    wanted.add_argument("url", type=address)
    wanted.add_argument("clients", type=count(1))
    wanted.add_argument("seconds", type=amount)
    wanted.add_argument("pid", type=process, nargs="*")
    given = wanted.parse_args()
    asyncio.run(measure(given.url, given.clients, given.seconds, given.pid))


if __name__ == "__main__":
    main()
