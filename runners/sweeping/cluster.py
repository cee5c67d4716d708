"""Evaluates blocks on a Dask cluster: the same blocks, the same results bit for bit.

A task is a pure function of the work and a range of blocks, so a worker that dies costs what it was at, and the
scheduler gives that to another one. The work and the library's bytes reach every worker, those that join later too, as
a worker plugin. On the worker the library runs as everywhere else: in a guarded process of its own, never in the
worker, whose threads hold one evaluator each.
"""

import contextlib
import math
import queue
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Generator, Iterator
from itertools import islice
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import msgspec
from distributed import Client, Future, KilledWorker, Worker, WorkerPlugin, get_worker
from distributed.client import FutureCancelledError
from distributed.comm import get_address_host_port

from golden import __version__
from golden.errors import TargetError, UsageError
from runners.sweeping.evaluate import file_digest, identity
from runners.sweeping.pool import Evaluating, T, Work

#: Seconds for reaching the scheduler.
_CONNECTING = 5.0
#: Seconds that a cluster may be without any worker.
_PATIENCE = 60.0
#: Seconds between two looks at how many threads the workers have.
_LOOKING = 1.0


class Shipment(WorkerPlugin):
    """What every worker needs: the work, the library's bytes, and evaluators for the worker's threads."""

    def __init__(self, work: Work[Any], library: bytes) -> None:
        self.name = f"golden-{work.noun}-{uuid.uuid4().hex[:16]}"
        self.noun = work.noun
        self._kind = f"{type(work).__module__}:{type(work).__qualname__}"
        self._identity, self._library = identity(), library
        self._work = msgspec.json.encode(work)  # decoded where golden is known to be the same

    def setup(self, worker: Worker) -> None:
        """Arrive on a worker."""
        self._address, self._scratch = worker.address, worker.local_directory
        self._folder: Path | None = None
        self._lock = threading.Lock()
        self._evaluators: list[Evaluating[Any]] = []
        self.gone = False

    def teardown(self, worker: Worker) -> None:
        """Leave a worker: end the libraries' processes, whatever they are at."""
        with self._lock:
            self.gone = True
            for evaluator in self._evaluators:
                evaluator.close()
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)

    def open_evaluator(self) -> Evaluating[Any]:
        """Return a new evaluator; raises :class:`UsageError` if golden is not the client's here."""
        if self._identity != identity():
            raise UsageError(
                f"Worker {self._address} has golden {identity()}, and this is {self._identity}: "
                "install the same version on both."
            )
        work: Work[Any] = msgspec.json.decode(self._work, type=resolve_name(self._kind))
        if work.path:
            with self._lock:
                work = work.moved(str(self._library_file(work)))
        evaluator = work.evaluator()
        with self._lock:
            self._evaluators.append(evaluator)
            if self.gone:
                evaluator.close()
        return evaluator

    def _library_file(self, work: Work[Any]) -> Path:
        """Return the library's file on this worker: the one of that path, if it is the same, or the shipped one."""
        with contextlib.suppress(OSError):
            if file_digest(Path(work.path)) == work.sha256:
                return Path(work.path)
        try:
            if self._folder is None:
                self._folder = Path(tempfile.mkdtemp(prefix="golden-", dir=self._scratch))  # for this user alone
            path = self._folder / f"{work.sha256}.so"
            if not path.is_file() or file_digest(path) != work.sha256:
                path.unlink(missing_ok=True)
                path.write_bytes(self._library)
        except OSError as error:
            raise UsageError(
                f"Worker {self._address} cannot keep the library in {self._scratch}: {error.strerror}. "
                "Start it with another --local-directory."
            ) from error
        return path  # its digest is looked at once more before it is loaded


class _Held(threading.local):
    """The evaluator of a worker's thread, and the name of its shipment: it is closed when another one comes."""

    name = ""
    evaluator: Evaluating[Any] | None = None

    def close(self) -> None:
        if self.evaluator is not None:
            self.evaluator.close()
        self.name, self.evaluator = "", None


_held = _Held()


def evaluate_blocks(name: str, blocks: range) -> Any:
    """Evaluate blocks on a worker that a shipment has reached; the task that the cluster runs."""
    shipment = get_worker().plugins.get(name)
    if not isinstance(shipment, Shipment):
        raise UsageError("A worker has not got the library: look at its log, then go on with --resume.")
    if _held.evaluator is None or _held.name != name:
        _held.close()
        _held.evaluator, _held.name = shipment.open_evaluator(), name
    try:
        return _held.evaluator.evaluate(blocks)
    except BaseException as error:
        _held.close()
        if shipment.gone:  # nobody waits for this any more; it is for the worker's log
            raise UsageError(f"The {shipment.noun} was ended.") from error
        raise


class Cluster:
    """A :class:`runners.sweeping.pool.Pool` of the workers of a Dask scheduler; ``address`` such as ``tcp://HOST:8786``.

    Workers may come and go. They need golden in the client's version, and so does the scheduler. Raises
    :class:`UsageError` for what cannot be an address.
    """

    def __init__(self, address: str) -> None:
        try:
            get_address_host_port(address)
        except ValueError as error:
            raise UsageError(f"{address!r} is no scheduler's address: give one such as tcp://HOST:8786.") from error
        self.address = address
        self.jobs = 0
        self._threads = 0
        self._seen = self._alone = -math.inf

    def evaluate(self, work: Work[T], tasks: Iterator[tuple[int, range]]) -> Generator[tuple[int, T], None, None]:
        """Evaluate tasks and yield them as they finish.

        Raises :class:`UsageError` if the scheduler cannot be reached, is lost, has no workers or has workers with
        another golden, and :class:`TargetError` if the library crashes or hangs, or a task ends every worker.
        """
        shipment = Shipment(work, _library_bytes(work))
        with contextlib.closing(self._connect()) as client, self._shipped(client, shipment):
            self._alone = time.monotonic()
            running: dict[str, tuple[int, range, Future]] = {}
            finished: queue.SimpleQueue[Future] = queue.SimpleQueue()
            try:
                while True:
                    self._look(client)
                    # Two a thread: none waits for the next.
                    for task, blocks in islice(tasks, max(0, 2 * max(1, self._threads) - len(running))):
                        key = f"{shipment.name}-{task}"
                        future = client.submit(evaluate_blocks, shipment.name, blocks, key=key)
                        running[key] = task, blocks, future
                        future.add_done_callback(finished.put)
                    if not running:
                        return
                    task, blocks, future = running.pop(self._next(client, finished).key)
                    yield task, self._result(future, work.named(blocks))
            finally:
                if client.status == "running":
                    client.cancel([future for _, _, future in running.values()], force=True)

    def _connect(self) -> Client:
        try:
            return Client(self.address, timeout=_CONNECTING, set_as_default=False)
        except OSError as error:
            raise UsageError(
                f"No Dask scheduler answers at {self.address} within {_CONNECTING:g} s: check the address, or start "
                "one with 'dask scheduler' and workers with 'dask worker ADDRESS'."
            ) from error

    @contextlib.contextmanager
    def _shipped(self, client: Client, shipment: Shipment) -> Iterator[None]:
        try:
            client.register_plugin(shipment)
        except OSError as error:
            raise self._lost() from error
        except Exception as error:  # Dask passes on a worker's as it can
            raise _without_golden(error) from error
        try:
            yield
        finally:
            if client.status == "running":
                with contextlib.suppress(Exception):  # a worker may have died since
                    client.unregister_worker_plugin(shipment.name)

    def _look(self, client: Client) -> None:
        """See, once in a while, how many threads the workers have; raises :class:`UsageError` if none for long."""
        now = time.monotonic()
        if now < self._seen + _LOOKING:
            return
        try:
            threads = sum(client.nthreads().values())
        except OSError as error:
            raise self._lost() from error
        if threads:
            self._threads, self._alone = threads, now
            self.jobs = max(self.jobs, threads)
        elif now > self._alone + _PATIENCE:
            raise UsageError(
                f"The scheduler at {self.address} has had no workers for {_PATIENCE:g} s: start some with "
                f"'dask worker {self.address}', then go on with --resume."
            )
        self._seen = now

    def _next(self, client: Client, finished: "queue.SimpleQueue[Future]") -> Future:
        """Wait for the next finished task."""
        while True:
            with contextlib.suppress(queue.Empty):
                return finished.get(timeout=_LOOKING)
            if client.status != "running":
                raise self._lost()
            self._look(client)

    def _result(self, future: Future, named: str) -> Any:
        try:
            found = future.result()
        except KilledWorker as error:
            raise TargetError(
                f"{named} ended {error.allowed_failures + 1} workers one "
                f"after another, the last at {error.last_worker.address}: look at its log, and validate the library."
            ) from error
        except FutureCancelledError as error:
            raise self._lost() from error
        except (ImportError, AttributeError, RuntimeError) as error:  # RuntimeError: the scheduler cannot read it
            raise _without_golden(error) from error
        return found

    def _lost(self) -> UsageError:
        return UsageError(f"The connection to the scheduler at {self.address} was lost: go on with --resume.")


def _library_bytes(work: Work[Any]) -> bytes:
    """Read what is shipped; workers check that it is the library that the run began with."""
    try:
        return Path(work.path).read_bytes() if work.path else b""
    except OSError as error:
        raise TargetError(f"{work.path} cannot be read any more: {error.strerror}.") from error


def _without_golden(error: Exception) -> UsageError:
    said = str(error).partition("\n")[0].partition(". ")[0]
    return UsageError(
        f"The cluster cannot run this golden ({said}): install golden-kernels {__version__} with the extra 'cluster' "
        "for the scheduler and every worker."
    )
