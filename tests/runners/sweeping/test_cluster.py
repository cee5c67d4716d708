"""Sweeps on a Dask cluster of processes: the tally of a local sweep, bit for bit, whatever happens to the workers."""

import contextlib
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from tests import ROOT

distributed = pytest.importorskip("distributed", reason="distributed (the extra 'cluster') is not installed")

import dask  # noqa: E402
import psutil  # noqa: E402

from golden.errors import TargetError, UsageError  # noqa: E402
from golden.results import Library  # noqa: E402
from runners.sweeping import cluster as on_cluster  # noqa: E402
from runners.sweeping import engine as sweeping  # noqa: E402
from runners.sweeping.cluster import Cluster, Shipment  # noqa: E402
from runners.sweeping.engine import SweepResult, open_work, sweep  # noqa: E402
from runners.sweeping.evaluate import Work, file_digest  # noqa: E402
from runners.sweeping.processes import Processes  # noqa: E402
from tests.helpers.command import golden as forked  # noqa: E402
from tests.helpers.small_sweeps import Interrupt, build, steady, tiny  # noqa: E402

BLOCKS = 16  # of tiny()


@pytest.fixture(scope="module")
def cluster() -> Iterator["distributed.LocalCluster"]:
    options = {"n_workers": 2, "threads_per_worker": 2, "dashboard_address": ":0"}
    with distributed.LocalCluster(**options) as made:
        yield made


@pytest.fixture(autouse=True)
def small_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "TASK", 1 << 16)  # a block


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A library whose calls leave a byte in a file, and take 0.2 s each inside :func:`slowly`."""
    folder = tmp_path_factory.mktemp("slow")
    body = f"""
    extern int usleep(unsigned), access(const char *, int), open(const char *, int, ...), close(int);
    extern long write(int, const void *, unsigned long);
    int file = open("{folder}/calls", {os.O_WRONLY | os.O_CREAT | os.O_APPEND}, 0600);
    if (write(file, "x", 1) == 1 && access("{folder}/slowly", {os.F_OK}) == 0) usleep(200000);
    close(file);
    """
    return build(folder, body), folder / "calls"


@contextlib.contextmanager
def slowly(slow: tuple[Path, Path]) -> Iterator[None]:
    switch = slow[1].with_name("slowly")
    switch.touch()
    try:
        yield
    finally:
        switch.unlink()


def opened(target: Path) -> tuple[Work, Library]:
    return open_work(str(target), tiny(), half_abi="float16", sandbox="off")  # kernels here write files, and kill


def on(pool: Cluster | Processes, target: Path, **options: object) -> SweepResult:
    work, library = opened(target)
    return sweep(str(target), work, library, pool, **options)  # type: ignore[arg-type]


def libraries(cluster: "distributed.LocalCluster") -> list[psutil.Process]:
    """The processes of libraries that the workers hold."""
    found = []
    for nanny in cluster.workers.values():
        if nanny.pid:
            children = psutil.Process(nanny.pid).children(recursive=True)
            with contextlib.suppress(psutil.NoSuchProcess):
                found += [c for c in children if "runners.process.supervisor" in c.cmdline()]
    return found


def no_library_is_left(cluster: "distributed.LocalCluster") -> bool:
    """Wait for the end of those that were starting, or at work, when the sweep ended."""
    deadline = time.monotonic() + 20
    while (left := libraries(cluster)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not left


@pytest.mark.confirm
def test_a_killed_worker_costs_its_blocks_only(cluster: "distributed.LocalCluster", slow: tuple[Path, Path]) -> None:
    library, calls = slow
    local = steady(on(Processes(1), library))
    assert steady(on(Processes(2), library)) == local
    calls.unlink()
    killed: list[int] = []

    def kill(step: sweeping.Progress) -> None:
        if not killed and step.done >= 4 << 16:
            victim = cluster.workers[0].pid
            assert any(
                "runners.process.supervisor" in c.cmdline() for c in psutil.Process(victim).children(recursive=True)
            )
            os.kill(victim, signal.SIGKILL)
            killed.append(victim)

    with slowly(slow):
        result = on(Cluster(cluster.scheduler_address), library, progress=kill)
    assert steady(result) == local and result.complete and result.jobs == 4 and result.judge in ("native", "numpy")
    assert killed and cluster.workers[0].pid != killed[0]
    assert calls.stat().st_size > BLOCKS  # what the dead worker was at was computed again, by another one
    assert no_library_is_left(cluster)


def test_a_crash_on_one_point_is_the_finding_of_a_local_sweep(
    cluster: "distributed.LocalCluster", tmp_path: Path
) -> None:
    body = """
    const unsigned short a = 0x2e10, b = 0x3c00;
    for (int i = 0; i < length; i++)
        if (__builtin_memcmp(&x1[i], &a, 2) == 0 && __builtin_memcmp(&dy[i], &b, 2) == 0)
            dx1[i] = dy[length];
    """
    messages = []
    for pool in (Processes(1), Cluster(cluster.scheduler_address)):
        with pytest.raises(TargetError) as caught:
            on(pool, build(tmp_path, body))
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert "crashed with SIGSEGV reading dy[65536], in one of the points from 524288" in messages[0]
    assert no_library_is_left(cluster)


@pytest.mark.confirm
def test_an_interrupted_sweep_goes_on_anywhere(
    cluster: "distributed.LocalCluster", slow: tuple[Path, Path], tmp_path: Path
) -> None:
    state, library = tmp_path / "state", slow[0]
    whole = steady(on(Processes(2), library))
    pools = [Cluster(cluster.scheduler_address), Processes(2), Cluster(cluster.scheduler_address)]
    done = 0
    for turn, pool in enumerate(pools):
        with slowly(slow):
            partial = on(pool, library, state=state, resume=turn > 0, progress=Interrupt(3))
        assert not partial.complete and done < partial.points < 1 << 20
        done = partial.points
    assert steady(on(Processes(1), library, state=state, resume=True)) == whole
    assert no_library_is_left(cluster)  # the interrupt ended what was under way


def test_another_golden_on_the_workers_is_named(
    cluster: "distributed.LocalCluster", slow: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_cluster, "identity", lambda: "0.0.9, code 0")
    with pytest.raises(UsageError, match=r"^Worker tcp://\S+ has golden .*, and this is 0\.0\.9, code 0: install the"):
        on(Cluster(cluster.scheduler_address), slow[0])


def test_workers_compute_with_the_library_that_was_shipped(
    cluster: "distributed.LocalCluster", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another file of that path on the worker is not loaded, and neither are bytes that were damaged on the way."""
    library = build(tmp_path, "")
    work, info = opened(library)
    expected, content = sweep("kernel", work, info, Processes(1)), library.read_bytes()
    build(tmp_path, "dx1[0] = 0;")
    assert file_digest(library) != work.sha256
    monkeypatch.setattr(on_cluster, "_library_bytes", lambda work: content)

    def restore(step: sweeping.Progress) -> None:  # here, where the worst point is computed again
        if step.done == step.total:
            library.write_bytes(content)

    for path_is_free in (False, True):
        if path_is_free:
            library.unlink()
        got = sweep("kernel", work, info, Cluster(cluster.scheduler_address), progress=restore)
        assert steady(got) == steady(expected)
        build(tmp_path, "dx1[0] = 0;")
    monkeypatch.setattr(on_cluster, "_library_bytes", lambda work: content[:-1] + b"?")
    with pytest.raises(TargetError, match=r"\.so is not the library that the sweep began with"):
        sweep("kernel", work, info, Cluster(cluster.scheduler_address))


def test_a_shipped_library_is_private_and_goes_with_the_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = build(tmp_path, "")
    work, _ = opened(library)
    worker = SimpleNamespace(address="tcp://here", local_directory=str(tmp_path))
    shipment = Shipment(msgspec.structs.replace(work, path="/nowhere/kernel.so"), library.read_bytes())
    shipment.setup(worker)
    evaluators = [shipment.open_evaluator() for _ in range(2)]
    (folder,) = tmp_path.glob("golden-*")
    (file,) = folder.iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert file.name == f"{work.sha256}.so" and file.read_bytes() == library.read_bytes()
    file.unlink()
    file.write_bytes(b"damaged")
    evaluators.append(shipment.open_evaluator())
    assert [e.evaluate(range(1)).tally.points for e in evaluators] == [1 << 16] * 3
    shipment.teardown(worker)
    assert not folder.exists()
    with pytest.raises(TargetError, match="was ended"):
        evaluators[0].evaluate(range(1))
    with monkeypatch.context() as patch:  # by now the number may be another process group's
        patch.setattr(os, "killpg", lambda group, number: pytest.fail(f"killed {group}"))
        evaluators[0].close()


def test_a_thread_of_a_worker_holds_the_library_of_one_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the client of the first one was killed, so that nobody ends it."""
    work, _ = opened(build(tmp_path, ""))
    worker = SimpleNamespace(address="tcp://here", local_directory=str(tmp_path), plugins={})
    monkeypatch.setattr(on_cluster, "get_worker", lambda: worker)
    shipments = [Shipment(work, b"") for _ in range(2)]
    held: list[set[int]] = []
    for shipment in shipments:
        shipment.setup(worker)
        worker.plugins[shipment.name] = shipment
        for block in (0, 1):
            on_cluster.evaluate_blocks(shipment.name, range(block, block + 1))
            held.append({c.pid for c in psutil.Process().children() if "runners.process.supervisor" in c.cmdline()})
    assert [len(pids) for pids in held] == [1, 1, 1, 1]
    assert held[0] == held[1] != held[2] == held[3]
    for shipment in shipments:
        shipment.teardown(worker)
    with pytest.raises(UsageError, match=r"^The sweep was ended\.$"):
        on_cluster.evaluate_blocks(shipments[1].name, range(1))
    with pytest.raises(UsageError, match="has not got the library"):
        on_cluster.evaluate_blocks("golden-sweep-other", range(1))


def test_the_library_of_that_path_is_used_where_it_is_the_same(tmp_path: Path) -> None:
    """It may need files beside it."""
    work, _ = opened(build(tmp_path, ""))
    shipment = Shipment(work, b"")
    worker = SimpleNamespace(address="tcp://here", local_directory=str(tmp_path))
    shipment.setup(worker)
    assert shipment.open_evaluator().evaluate(range(1)).tally.points == 1 << 16
    assert list(tmp_path.glob("golden-*")) == []
    shipment.teardown(worker)


@pytest.mark.confirm
def test_a_task_that_ends_every_worker_is_named(tmp_path: Path) -> None:
    body = """
    extern int kill(int, int), getppid(void), open(const char *, int, ...);
    extern int snprintf(char *, unsigned long, const char *, ...), sscanf(const char *, const char *, ...);
    extern long read(int, void *, unsigned long);
    char text[512] = {0};
    int grandparent = 0;
    snprintf(text, sizeof text, "/proc/%d/stat", getppid());
    if (read(open(text, 0), text, sizeof text - 1) > 0 && sscanf(text, "%*d %*s %*c %d", &grandparent) == 1)
        kill(grandparent, 9);
    """
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0") as own,
        pytest.raises(TargetError, match=r"^The points from \d+ to \d+ of diff-dy ended 2 workers one after another"),
    ):
        on(Cluster(own.scheduler_address), build(tmp_path, body))


@pytest.mark.confirm
def test_a_worker_without_golden_is_named(slow: tuple[Path, Path], tmp_path: Path) -> None:
    with distributed.LocalCluster(n_workers=0, dashboard_address=":0") as own:
        program = "import sys; sys.modules['runners'] = None; from distributed.cli.dask_worker import main; main()"
        options = ("--no-nanny", "--nthreads", "1", "--dashboard-address", ":0", "--local-directory", str(tmp_path))
        command = [sys.executable, "-c", program, own.scheduler_address, *options]
        worker = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            own.wait_for_workers(1, timeout=60)
            with pytest.raises(UsageError, match=r"cannot run this golden \(.*runners.*\): install golden-kernels"):
                on(Cluster(own.scheduler_address), slow[0])
        finally:
            worker.kill()
            worker.wait()


@pytest.mark.confirm
def test_no_workers_and_a_lost_scheduler_are_named(
    slow: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_cluster, "_PATIENCE", 0.5)
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address=":0") as empty,
        pytest.raises(UsageError, match=r"has had no workers for 0\.5 s: start some with 'dask worker tcp://"),
    ):
        on(Cluster(empty.scheduler_address), slow[0])
    state = tmp_path / "state"
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0") as own:
        steps = Interrupt(0)

        def close(step: sweeping.Progress) -> None:
            steps(step)
            if len(steps.steps) == 2:
                own.close()

        lost = r"connection to the scheduler at tcp://.* was lost: go on with --resume"
        with slowly(slow), pytest.raises(UsageError, match=lost):
            on(Cluster(own.scheduler_address), slow[0], state=state, progress=close)
    resumed = on(Processes(2), slow[0], state=state, resume=True)
    assert resumed.complete and resumed.points == 1 << 20


def golden(*arguments: object, before: str = "") -> "subprocess.CompletedProcess[str]":
    program = f"import sys; {before}\nfrom golden.cli import main; main(sys.argv[1:])"
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=120,
        check=False,
    )


@pytest.mark.confirm
def test_the_command_line_on_a_cluster(
    cluster: "distributed.LocalCluster", slow: tuple[Path, Path], tmp_path: Path
) -> None:
    options = ("--space", "random", "--samples", "2^21", "--half-abi", "float16", "--out", tmp_path)
    done = golden("sweep", slow[0], *options, "--scheduler", cluster.scheduler_address)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert "hp_smoothl1lossgrad_p random: 2,097,152 points, 2^-27 of the space" in done.stdout
    assert (tmp_path / "sweep.json").is_file() and not (tmp_path / "sweep.state").exists()


def test_a_scheduler_that_does_not_answer_is_one_sentence(slow: tuple[Path, Path], tmp_path: Path) -> None:
    options = ("--half-abi", "float16", "--scheduler", "tcp://127.0.0.1:9", "--out", tmp_path)
    done = golden("sweep", slow[0], *options, before="import runners.sweeping.cluster as c; c._CONNECTING = 0.5")
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("golden: No Dask scheduler answers at tcp://127.0.0.1:9 within 0.5 s")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("nonsense", "'nonsense' is no scheduler's address"),
        ("tcp://127.0.0.1:port", "'tcp://127.0.0.1:port' is no scheduler's address"),
        ("carrier://pigeon:1", "'carrier://pigeon:1' is no scheduler's address"),
    ],
)
def test_what_is_no_address_is_one_sentence(
    slow: tuple[Path, Path], tmp_path: Path, address: str, message: str
) -> None:
    done = forked("sweep", slow[0], "--half-abi", "float16", "--scheduler", address, "--out", tmp_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith(f"golden: {message}")


@pytest.mark.confirm
def test_a_missing_extra_is_one_sentence(slow: tuple[Path, Path], tmp_path: Path) -> None:
    arguments = ("sweep", slow[0], "--scheduler", "tcp://127.0.0.1:9", "--out", tmp_path)
    done = golden(*arguments, before="sys.modules['distributed'] = None")
    assert done.returncode == 2
    assert done.stderr == "golden: --scheduler needs dask.distributed: pip install 'golden-kernels[cluster]'.\n"
    done = golden(*arguments, "--jobs", "2")
    assert done.returncode == 2 and "--jobs is for this machine" in done.stderr
