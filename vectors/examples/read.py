import sys

import h5py

with h5py.File(sys.argv[1]) as file:
    operator = file.attrs["operator"]
    operands, golden = file["operands"], file["golden"]
    for case in file["cases"]:
        parts = {}
        for name, data in operands.items():
            start = case[f"{name}_offset"]
            parts[name] = data[start : start + case[f"{name}_count"]]
        start = case["golden_offset"]
        expected = golden[start : start + case["golden_count"]]
        print(case["id"].decode(), {n: len(p) for n, p in parts.items()}, expected[:3])
