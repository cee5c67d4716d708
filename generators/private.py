"""What a seed chooses beside data: sizes and scalars, of the kinds that are promised.

With the public seed sizes are as they are written; scalars are drawn beside those of the page with any seed.
"""

from generators.stream import Stream, seed


def size_near(name: str, n: int, low: int | None = None, high: int | None = None, step: int = 1) -> int:
    """Return a size in [low, high) that leaves the remainder of n by ``step``; with the public seed n itself.

    Unless given, the limits are three quarters of n and half as much again. ``name``: of the choice.
    """
    low, high = (n - n // 4 if low is None else low), (n + n // 2 if high is None else high)
    if not seed() or high - low <= step:
        return n
    first = low + (n - low) % step
    return first + step * int(Stream(f"size/{name}/{n}").integers(1, 0, (high - first + step - 1) // step)[0])


def sizes_near(name: str, sizes: tuple[int, ...], step: int = 1) -> tuple[int, ...]:
    """Return such a size for each of ``sizes``, which lie far enough apart to stay different."""
    return tuple(size_near(name, n, step=step) for n in sizes)


def drawn_scalars(name: str) -> tuple[float, ...]:
    """Return scalars of three digits: below 0.1, two below 1, above 1, above 10.

    None is a power of two, nor one that is written in a generator: their last digits are odd and no 5.
    """
    stream, last = Stream(f"scalars/{name}"), (1, 3, 7, 9)
    ranges = ((10_000, 10, 100), (1_000, 10, 40), (1_000, 40, 100), (100, 10, 100), (10, 10, 100))
    return tuple(
        (10 * int(stream.integers(1, low, high)[0]) + int(stream.choice(1, last)[0])) / scale
        for scale, low, high in ranges
    )
