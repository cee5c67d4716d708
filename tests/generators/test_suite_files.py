"""Suite files and recorded tensors: what they ask for is made, and what makes no sense is one sentence."""

import io
import json
import pickle
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from generators.recorded import read_arrays
from generators.stream import seeded
from generators.suite import cases_of, heads, offer
from generators.suite_file import SuiteFile, read_suite_file
from golden.case import Case, Head
from golden.errors import UsageError
from golden.files.manifest import suite_folder
from golden.files.names import PUBLIC_SEED
from golden.files.vectors import read_vectors
from golden.formats import FORMATS, FP16, FP32, Array
from golden.operator import operator
from tests.helpers.command import golden, one_sentence

SMOOTH, NLL = operator("smoothl1lossgrad"), operator("nlllossgrad")


def suite(folder: Path, text: str) -> SuiteFile:
    path = folder / "ours.toml"
    path.write_text(text)
    return read_suite_file(path)


def listed(own: SuiteFile, name: str, dtype: str, seed: str = "") -> list[Head]:
    with seeded(seed):
        found = heads(own.name, name, dtype, PUBLIC_SEED, own)
    assert found is not None and found[1]
    return found[0]


def made(own: SuiteFile, name: str, dtype: str) -> list[Case]:
    return list(cases_of(own.name, own, operator(name), FORMATS[dtype]))


# Tables


def test_own_scalars_and_sizes(tmp_path: Path) -> None:
    own = suite(
        tmp_path,
        """
        [smoothl1lossgrad]
        beta = [0.3, 5]
        length = [100, "7..9", "log-uniform 5 below 2^10", 0]
        [nlllossgrad]
        shape = [[3, 2184], "log-uniform 4 below 500"]
        reduction = "mean"
        dtype = "fp32"
        """,
    )
    assert own.name == "ours" and not own.covers("nlllossgrad", "fp16") and own.covers("nlllossgrad", "fp32")
    found = listed(own, "smoothl1lossgrad", "fp16")
    lengths = [[int(h.scalars["length"]) for h in found if h.scalars["beta"] == FP16.typed(b)] for b in (0.3, 5)]
    assert lengths[0] == lengths[1] and lengths[0][:4] == [100, 7, 8, 9] and lengths[0][-1] == 0
    drawn = lengths[0][4:-1]
    assert len({*drawn}) == 5 and all(1 <= n < 1024 for n in drawn)
    assert {h.klass for h in found} == {"length"} and {h.tier for h in found} == {"required"}
    shapes = [(h.scalars["batch"], h.scalars["class_num"]) for h in listed(own, "nlllossgrad", "fp32")]
    assert shapes[0] == (3, 2184) and len({*shapes}) == 5 and all(1 <= int(b) * int(c) < 500 for b, c in shapes[1:])
    assert {h.scalars["reduction_type"] for h in listed(own, "nlllossgrad", "fp32")} == {"mean"}
    for case in (*made(own, "smoothl1lossgrad", "fp16"), *made(own, "nlllossgrad", "fp32")):
        assert not case.operator.outside(case.scalars, case.operands)
        shapes_of = case.operator.shapes(case.scalars)
        assert all(case.operands[p.name].size == np.prod(shapes_of[p.name]) for p in case.operator.inputs)


@pytest.mark.parametrize("op", [SMOOTH, NLL], ids=lambda op: op.name)
def test_every_class_at_sizes_of_ones_own(op: object, tmp_path: Path) -> None:
    name = getattr(op, "name", "")
    size = "length = 23" if name == "smoothl1lossgrad" else "shape = [[11, 7]]"
    classes = sorted(offer(name).classes)
    own = suite(tmp_path, f"[{name}]\n{size}\nclasses = {classes}\n" + ("beta = 0.3" if "length" in size else ""))
    cases = made(own, name, "fp16")
    assert {case.klass for case in cases} == {*classes} and len({case.id for case in cases}) == len(cases)
    for case in cases:
        assert not case.operator.outside(case.scalars, case.operands)
        assert len({*case.golden.value.tolist()}) > 1 and case.flags


def test_a_base_has_its_cases_and_a_seed_changes_what_is_drawn(tmp_path: Path) -> None:
    text = 'base = "smoke"\n[smoothl1lossgrad]\nlength = ["log-uniform 3 below 99"]\nbeta = [1]\n'
    own = suite(tmp_path, text)
    shipped = read_vectors(suite_folder("smoke") / "smoothl1lossgrad-fp32.h5").heads
    found = listed(own, "smoothl1lossgrad", "fp32")
    assert found[: len(shipped)] == list(shipped) and len(found) == len(shipped) + 3
    drawn = [h.size for h in found[-3:]]
    private = heads(own.name, "smoothl1lossgrad", "fp32", "sha256:other", own)
    assert private and not private[1] and [h.size for h in private[0][-3:]] != drawn
    assert suite(tmp_path, f'seed = "s"\n{text}').seed == "s"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no case"),
        ("x = 1", "no key named 'x'"),
        ("[smoothl1]", "no operator named"),
        ("[smoothl1lossgrad]\nlenght = 3", "did you mean 'length'"),
        ("[smoothl1lossgrad]\nshape = [[1, 2]]", "no key of"),
        ("[nlllossgrad]\nlength = 3", "no key of"),
        ("[smoothl1lossgrad]\nbeta = []", "is empty"),
        ("[smoothl1lossgrad]\nbeta = 'x'", "takes numbers"),
        ("[smoothl1lossgrad]\nbeta = true", "takes numbers"),
        ("[smoothl1lossgrad]\nbeta = 0", "outside the documented domain"),
        ("[smoothl1lossgrad]\nbeta = 1e-9", "in fp16"),
        ("[smoothl1lossgrad]\nbeta = nan", "outside the documented domain"),
        ("[smoothl1lossgrad]\nlength = -1", "takes 100"),
        ("[smoothl1lossgrad]\nlength = 2.5", "takes 100"),
        ("[smoothl1lossgrad]\nlength = '9..7'", "takes 100"),
        ("[smoothl1lossgrad]\nlength = 'log-uniform 4 below 2^99'", "takes 100"),
        ("[nlllossgrad]\nshape = [3]", "takes [64, 64]"),
        ("[nlllossgrad]\nreduction = 'max'", "no reduction named 'max'"),
        ("[nlllossgrad]\nclasses = 'kink'", "no class of nlllossgrad"),
        ("[nlllossgrad]\ndtype = 'fp8'", "no dtype of nlllossgrad"),
        ("[nlllossgrad]\nmax-bytes = 0", "max-bytes takes"),
        ("name = 'core'\nbase = 'core'", "name = 'core'"),
        ("name = '../x'\nbase = 'core'", "name = '../x'"),
        ("base = 'small'", "no suite named 'small'"),
        ("base = 'core'\nseed = 3", "seed takes a string"),
        ("recorded = 3", "[[recorded]]"),
        ("[[recorded]]\noperator = 'smoothl1lossgrad'\nfile = 'a.npz'", "lacks beta"),
        ("[[recorded]]\noperator = 'smoothl1lossgrad'\nfile = 3\nbeta = 1", "file takes"),
        ("[[recorded]]\noperator = 'smoothl1lossgrad'\nfile = 'a.npz'\nbeta = [1, 2]", "one value"),
        ("[[recorded]]\noperator = 'smoothl1lossgrad'\nfile = 'a.npz'\nbeta = 1\n" * 2, "is there twice"),
        ("a = [", "Cannot read the suite file"),
    ],
)
def test_what_makes_no_sense_is_named(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as raised:
        suite(tmp_path, text)
    assert words in str(raised.value) and str(tmp_path / "ours.toml") in str(raised.value)
    assert "\n" not in str(raised.value)


def test_cases_that_are_too_large_are_named(tmp_path: Path) -> None:
    own = suite(tmp_path, "[smoothl1lossgrad]\nlength = [10, 1000]\nmax-bytes = 9999\n")
    with pytest.raises(UsageError, match=r"length=1000 takes .* max-bytes allows 9999"):
        listed(own, "smoothl1lossgrad", "fp32")


# Recorded tensors

DATA = {"dy": np.array([[1.5, -2.0], [0.0, 3.0]]), "x1": np.eye(2, dtype="f4"), "x2": np.zeros((2, 2), "f2")}


def npz(path: Path, **arrays: Array) -> None:
    np.savez(path, **arrays)


def recorded(folder: Path, file: str, op: str = "smoothl1lossgrad", scalars: str = "beta = 0.5") -> SuiteFile:
    return suite(folder, f"[[recorded]]\noperator = '{op}'\nfile = {file}\n{scalars}\n")


def as_npz(folder: Path) -> str:
    npz(folder / "step.npz", **DATA, unused=np.ones(3))
    return "'step.npz'"


def as_npy(folder: Path) -> str:
    for name, values in DATA.items():
        np.save(folder / f"{name}.npy", values)
    return "{ dy = 'dy.npy', x1 = 'x1.npy', x2 = 'x2.npy' }"


def as_fields(folder: Path) -> str:
    fields = np.zeros(4, [("dy", "<f8"), ("x1", ">f4"), ("x2", "<f2")])
    for name, values in DATA.items():
        fields[name] = values.reshape(-1)
    np.save(folder / "step.npy", fields)
    return "'step.npy'"


def as_safetensors(folder: Path) -> str:
    numpy = pytest.importorskip("safetensors.numpy")
    numpy.save_file(DATA, folder / "step.safetensors")
    return "'step.safetensors'"


def as_pt(folder: Path) -> str:
    torch = pytest.importorskip("torch")
    torch.save({name: torch.from_numpy(values) for name, values in DATA.items()}, folder / "step.pt")
    return "'step.pt'"


def as_bfloat16(folder: Path) -> str:
    pytest.importorskip("safetensors")
    header, data = {}, b""
    for name, values in DATA.items():
        end = len(data) + 2 * values.size
        header[name] = {"dtype": "BF16", "shape": list(values.shape), "data_offsets": [len(data), end]}
        data += (values.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
    words = json.dumps(header).encode()
    (folder / "step.safetensors").write_bytes(len(words).to_bytes(8, "little") + words + data)
    return "'step.safetensors'"


@pytest.mark.parametrize(
    "write", [as_npz, as_npy, as_fields, as_safetensors, as_bfloat16, as_pt], ids=lambda f: f.__name__
)
def test_recorded_tensors_of_every_format(write: Callable[[Path], str], tmp_path: Path) -> None:
    own = recorded(tmp_path, write(tmp_path))
    for fmt in (FP16, FP32):
        (case,) = made(own, "smoothl1lossgrad", fmt.name)
        assert (case.klass, case.tier, case.scalars) == ("recorded", "required", {"length": 4, "beta": 0.5})
        for name, values in DATA.items():
            assert (
                case.operands[name].dtype == fmt.dtype and case.operands[name].tolist() == values.reshape(-1).tolist()
            )
        assert case.golden.value.tolist() == [1.5, 0.0, 0.0, 3.0]


def test_recorded_losses(tmp_path: Path) -> None:
    arrays = {"loss_grad": np.float64(2), "labels": np.array([1, 0, 2]), "weight": np.array([0.5, 1e-9, 70000.0])}
    npz(tmp_path / "a.npz", **arrays)
    own = recorded(tmp_path, "'a.npz'", "nlllossgrad", "reduction = 'sum'")
    (half,), (single,) = made(own, "nlllossgrad", "fp16"), made(own, "nlllossgrad", "fp32")
    assert single.scalars == {"batch": 3, "class_num": 3, "reduction_type": "sum"} and single.tier == "required"
    assert half.operands["weight"].tolist() == [0.5, 0.0, np.inf]
    assert single.golden.value.tolist()[3] == -1.0 and single.operands["labels"].dtype == np.int32
    for total, tier in ((0.5, "required"), (-0.5, "stress"), (np.nan, "stress"), (0.0, "stress")):
        npz(tmp_path / "a.npz", **arrays, total_weight=np.array([total]))
        own = recorded(tmp_path, "'a.npz'", "nlllossgrad", "reduction = 'mean'")
        assert made(own, "nlllossgrad", "fp32")[0].tier == tier


class Evil:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return exec, ("raise SystemExit('unpickled')",)


def bomb() -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (1 << 40,)})
    return b"\x93NUMPY\x01\x00" + file.getvalue().removeprefix(b"\x93NUMPY\x01\x00")


def archive(content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as members:
        members.writestr("dy.npy", content)
    return file.getvalue()


def objects() -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([Evil()], object), allow_pickle=True)
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.npz", b"", "damaged"),
        ("a.npz", b"PK\x03\x04", "damaged"),
        ("a.npz", archive(b"x"), "damaged"),
        ("a.npz", archive(bomb()), "than it declares"),
        ("a.npz", archive(objects()), "objects"),
        ("a.npy", objects(), "objects"),
        ("a.npy", bomb(), "than it declares"),
        ("a.npy", b"\x93NUMPY\x09\x00", "damaged"),
        ("a.npy", pickle.dumps(Evil()), "damaged"),
        ("a.safetensors", b"\xff" * 16, "damaged"),
        ("a.csv", b"1", "none of .npy"),
    ],
)
def test_bad_files_are_one_sentence(name: str, content: bytes, words: str, tmp_path: Path) -> None:
    if name.endswith("safetensors"):
        pytest.importorskip("safetensors")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError) as raised:
        read_arrays(tmp_path / name)
    assert words in str(raised.value) and str(tmp_path) in str(raised.value) and "\n" not in str(raised.value)


def test_a_missing_library_names_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for suffix, module in ((".safetensors", "safetensors"), (".pt", "torch")):
        path = tmp_path / f"a{suffix}"
        path.write_bytes(b"x")
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(UsageError, match=rf"golden-kernels\[{path.suffix[1:].replace('pt', 'torch')}\]"):
            read_arrays(path)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"dy": 1, "x1": 1}, "no array x2"),
        ({"dy": np.ones(3), "x1": np.ones(3), "x2": np.ones(4)}, "x2 has 4 elements, and 3 are due"),
        ({"dy": np.array(["a"]), "x1": 1, "x2": 1}, "no numbers"),
    ],
)
def test_arrays_that_do_not_fit_are_named(arrays: dict[str, Array], words: str, tmp_path: Path) -> None:
    npz(tmp_path / "a.npz", **arrays)
    with pytest.raises(UsageError, match=words):
        made(recorded(tmp_path, "'a.npz'"), "smoothl1lossgrad", "fp32")


def test_labels_outside_the_domain_are_one_sentence_and_exit_code_2(tmp_path: Path) -> None:
    npz(tmp_path / "a.npz", loss_grad=np.ones(1), labels=np.array([-100]), weight=np.ones(3), total_weight=np.ones(1))
    recorded(tmp_path, "'a.npz'", "nlllossgrad", "reduction = 'mean'")
    done = golden("generate", tmp_path / "ours.toml", "--out", tmp_path / "out")
    assert done.returncode == 2 and "label -100 is none of 3 classes" in done.stderr and one_sentence(done.stderr)
    done = golden("generate", tmp_path / "ours.toml", "--suite", "core")
    assert done.returncode == 2 and one_sentence(done.stderr.replace("\n\n", "\n"))
    done = golden("validate", "reference:formula", "--suite", tmp_path / "none.toml", "--out", tmp_path / "out")
    assert done.returncode == 2 and "none.toml" in done.stderr and one_sentence(done.stderr)
