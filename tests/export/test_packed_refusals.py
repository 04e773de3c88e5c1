"""What `load` refuses: forged, torn and foreign files, and nothing is allocated or executed for them."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from ternlab.core.errors import SettingsError, TernlabError
from ternlab.export.container import FileFormatError, read_container, write_container
from ternlab.export.header import FORMAT_VERSION
from ternlab.export.packed import load, read_codes, save
from ternlab.models.entry import ModelEntry
from ternlab.models.registry import MODELS
from ternlab.models.settings import ModelSettings
from ternlab.quantizers.attach import quantize
from tests.export.forging import Arrays, Change, Header, forge, parts
from tests.export.test_packed import logits, save_for_comparison, tiny_facts, tiny_network

# --- what load refuses -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with two planes, two scales, full-precision parts and an architecture, entropy-coded."""
    path = tmp_path_factory.mktemp("packed") / "net"
    model = quantize(tiny_network(), "ttq", **{"rel.factors": (0.05, 0.3), "exclude": ("10",)})
    save(model, path, packing="entropy", architecture=tiny_facts(), metrics={"test/top1": 0.5})
    return path


def put(*path: Any) -> Change:
    """Return a change that puts the last of `path` where the others lead to."""
    *way, last, value = path

    def change(header: Header, _: Arrays) -> None:
        place: Any = header
        for step in way:
            place = place[step]
        place[last] = value

    return change


def array(name: str, value: Any) -> Change:
    return lambda header, arrays: arrays.__setitem__(name, np.array(value))


def both(*changes: Change) -> Change:
    return lambda header, arrays: [change(header, arrays) for change in changes]


def without(*names: str) -> Change:
    return lambda header, arrays: [arrays.pop(name) for name in names]


def without_a_plane(header: Header, arrays: Arrays) -> None:
    header["layers"][0]["planes"].pop()


def twice(header: Header, arrays: Arrays) -> None:
    header["layers"].append(copy.deepcopy(header["layers"][0]))


HUGE = 10**15
DEEP: Any = []
for _ in range(300):
    DEEP = [DEEP]

# What is changed in a file whose checksum then fits again; what the message must hold.
FORGERIES: dict[str, tuple[Change, str]] = {
    "later version": (put("version", FORMAT_VERSION + 1), f"format version {FORMAT_VERSION + 1}"),
    "much later version": (both(put("version", 10**30), put("unknown", 1)), "newer version of ternlab"),
    "version as text": (put("version", "2"), "version"),
    "version 0": (put("version", 0), "version"),
    "no version": (lambda header, _: header.pop("version"), "packed network"),
    "no format": (lambda header, _: header.pop("format"), "packed network"),
    "other format": (put("format", "onnx"), "packed network"),
    "unknown entry": (put("a\n\x1b", 1), r"a\\n\\x1b"),
    "no layers": (put("layers", []), "layers"),
    "layers of another kind": (put("layers", DEEP), "layers"),
    "no shape": (put("layers", 0, "shape", []), "shape"),
    "another shape": (put("layers", 0, "shape", [8, 27]), "shape"),
    "same number in another shape": (put("layers", 0, "shape", [3, 8, 3, 3]), "shape"),
    "huge shape": (put("layers", 0, "shape", [HUGE, HUGE, HUGE]), "shape"),
    "negative shape": (put("layers", 0, "shape", [-8, -3, 3, 3]), "shape"),
    "shape of truths": (put("layers", 0, "shape", [None]), "shape"),
    "no name": (put("layers", 0, "name", ""), "no such layer"),
    "dots": (put("layers", 0, "name", ".."), "no such layer"),
    "path": (put("layers", 0, "name", "../../etc/passwd"), "no such layer"),
    "surrogate": (put("layers", 0, "name", "\ud800"), "no such layer"),
    "inside of a layer": (put("layers", 0, "name", "1.weight"), "no such layer"),
    "a layer twice": (twice, "twice"),
    "fewer planes": (without_a_plane, "unlike the network"),
    "no planes": (put("layers", 0, "planes", []), "planes"),
    "second plane away": (without("codes/1/1"), "has no 'codes/1/1'"),
    "a scale away": (without("scale/1/0"), "has no 'scale/1/0'"),
    "negative scale away": (without("negative_scale/1/0"), "has no 'negative_scale/1/0'"),
    "negative scale denied": (put("layers", 0, "planes", 0, "negative_scale", False), "unlike the network"),
    "additional codes": (array("codes/1/2", [1]), "unlike the network"),
    "additional state": (array("state/extra", [1.0]), "unlike the network"),
    "weights as state": (array("state/1.weight", np.zeros((8, 3, 3, 3), np.float32)), "unlike the network"),
    "state away": (without("state/2.bias"), "has no 'state/2.bias'"),
    "state of another shape": (array("state/2.bias", np.zeros(9, np.float32)), "state/2.bias"),
    "state of integers": (array("state/2.bias", np.zeros(8, np.int32)), "state/2.bias"),
    "state of another precision": (array("state/2.bias", np.zeros(8, np.float64)), "several precisions"),
    "codes of numbers": (array("codes/1/0", np.zeros(8, np.float32)), "instead of bytes"),
    "codes in a matrix": (array("codes/1/0", np.zeros((8, 1), np.uint8)), "instead of bytes"),
    "codes cut": (lambda header, arrays: arrays.update({"codes/1/0": arrays["codes/1/0"][:-4]}), "codes of '1'"),
    "codes swapped": (
        lambda header, arrays: arrays.update({"codes/1/0": arrays["codes/1/1"], "codes/1/1": arrays["codes/1/0"]}),
        "codes of '1'",
    ),
    "scale of a matrix": (array("scale/1/0", np.ones((8, 3, 1, 1), np.float32)), "scale has the shape"),
    "scale of columns": (array("scale/1/0", np.ones((1, 3, 1, 1), np.float32)), "scale has the shape"),
    "scale of integers": (array("scale/1/0", 1), "scale is int64"),
    "scale of truths": (array("scale/1/0", True), "scale is bool"),
    "scale NaN": (array("scale/1/0", np.float32("nan")), "not finite"),
    "scale infinite": (array("negative_scale/1/0", np.float32("inf")), "not finite"),
    "alphabet too wide": (put("layers", 0, "planes", 0, "alphabet", [-1, 300, 1]), "alphabet"),
    "alphabet huge": (put("layers", 0, "planes", 0, "alphabet", [-1, 10**30, 1]), "alphabet"),
    "alphabet huge steps": (put("layers", 0, "planes", 0, "alphabet", [-1, 2, 10**30]), "alphabet"),
    "alphabet backwards": (put("layers", 0, "planes", 0, "alphabet", [1, -2, -1]), "alphabet"),
    "alphabet standing": (put("layers", 0, "planes", 0, "alphabet", [-1, 2, 0]), "alphabet"),
    "alphabet below bytes": (put("layers", 0, "planes", 0, "alphabet", [-129, 1, 1]), "alphabet"),
    "alphabet above bytes": (put("layers", 0, "planes", 0, "alphabet", [127, 130, 1]), "alphabet"),
    "another alphabet": (put("layers", 0, "planes", 0, "alphabet", [-1, 3, 1]), "3 frequencies for 4 levels"),
    "unknown packing": (put("layers", 0, "planes", 0, "packing", "zip"), "packing"),
    "another packing": (put("layers", 0, "planes", 0, "packing", "bits"), "frequencies"),
    "trits without counts": (
        both(put("layers", 0, "planes", 0, "packing", "trit5"), put("layers", 0, "planes", 0, "counts", [])),
        "codes of '1'",
    ),
    "huge counts": (put("layers", 0, "planes", 0, "counts", [0, HUGE, 0]), "do not add up to 216"),
    "negative counts": (put("layers", 0, "planes", 0, "counts", [-1, 217, 0]), "counts"),
    "counts of one value": (put("layers", 0, "planes", 0, "counts", [0, 216, 0]), "single value"),
    "counts of others": (put("layers", 0, "planes", 0, "counts", [100, 100, 16]), "codes of '1'"),
    "many counts": (put("layers", 0, "planes", 0, "counts", [1] * 216), "216 frequencies for 3 levels"),
    "folded into nothing": (put("folded", [["99", "2"]]), "unlike the network"),
    "folded norm that is none": (put("folded", [["1", "3"]]), "unlike the network"),
    "folded root": (put("folded", [["1", ""]]), "unlike the network"),
    "folded dots": (put("folded", [["..", "."]]), "unlike the network"),
    "folded other pair": (put("folded", [["1", "5"]]), "unlike the network"),
    "folded twice": (put("folded", [["1", "2"], ["1", "2"]]), "unlike the network"),
    "folded without bias": (put("folded", [["1", "2"]]), "has no 'state/1.bias'"),
    "folded three": (put("folded", [["1", "2", "3"]]), "folded"),
    "unknown model": (put("architecture", "model", "name", "resnet21"), "not registered"),
    "model of a module": (put("architecture", "model", "name", "os:system"), "not registered"),
    "model that is a list": (put("architecture", "model", "name", ["tiny"]), "name of the network"),
    "no model": (put("architecture", "model", {}), "name of the network"),
    "another model": (put("architecture", "model", "name", "resnet20"), "no such layer"),
    "unknown option": (put("architecture", "model", "plugins", ["os"]), "no such setting"),
    "weights of a file": (put("architecture", "model", "weights", "/etc/passwd"), "must not name initial weights"),
    "weights of a library": (put("architecture", "model", "weights", "torchvision"), "must not name initial weights"),
    "skipped weights": (put("architecture", "model", "weights_skip", ["*"]), "must not name initial weights"),
    "wrong dropout": (put("architecture", "model", "dropout", 2), "dropout"),
    "more channels": (put("architecture", "channels", 4), "shape"),
    "huge channels": (put("architecture", "channels", HUGE), "channels"),
    "huge size": (put("architecture", "size", HUGE), "size"),
    "no channels": (put("architecture", "channels", 0), "channels"),
    "no classes": (put("architecture", "classes", []), "classes"),
    "classes as a number": (put("architecture", "classes", HUGE), "classes"),
    "more classes": (put("architecture", "classes", ["x"] * 3), "state/10"),
    "no architecture": (put("architecture", None), "does not say which network"),
    "metrics of text": (put("metrics", {"a": "b"}), "metrics"),
    "metrics infinite": (put("metrics", {"a": "inf"}), "metrics"),
}


@pytest.mark.parametrize("case", FORGERIES)
def test_forged_files_are_refused(source: Path, tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    change, message = FORGERIES[case]
    # Neither of these may be asked for anything.
    for name in ("read_torchvision", "read_file"):
        monkeypatch.setattr(f"ternlab.models.weights.{name}", None)
    path = forge(source, tmp_path / "forged", change)
    tracemalloc.start()
    try:
        with pytest.raises(TernlabError, match=message) as caught:
            load(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert isinstance(caught.value, (FileFormatError, SettingsError))
    assert "\n  instead: " in str(caught.value)
    str(caught.value).encode()
    assert peak < 20_000_000
    if case not in ("no architecture",) and "architecture" not in str(change):
        with pytest.raises((FileFormatError, SettingsError)):
            read_codes(path)


def test_the_forger_changes_nothing_by_itself(source: Path, tmp_path: Path) -> None:
    path = forge(source, tmp_path / "same", lambda header, arrays: None)
    assert torch.equal(logits(load(path), 3, 8, 8), logits(load(source), 3, 8, 8))


def test_a_deep_header_is_refused_or_has_no_effect(source: Path, tmp_path: Path) -> None:
    path = forge(source, tmp_path / "deep", put("preprocessing", {"a": DEEP}))
    assert torch.equal(logits(load(path), 3, 8, 8), logits(load(source), 3, 8, 8))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


def leaves(value: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the way to every entry of a header."""
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [each for key, inner in steps for each in [(*way, key), *leaves(inner, (*way, key))]]


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), value=JSON)
def test_any_entry_of_the_header_may_be_forged(source: Path, tmp_path: Path, data: st.DataObject, value: Any) -> None:
    header, _ = parts(source.read_bytes())
    way = data.draw(st.sampled_from(leaves(header)))
    path = forge(source, tmp_path / "forged", put(*way, value))
    try:
        network = load(path)
    except (FileFormatError, SettingsError):
        return
    # What no network depends on may be forged, and an equal value is none.
    assert torch.equal(logits(network, 3, 8, 8), logits(load(source), 3, 8, 8))


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), junk=st.binary(max_size=40))
def test_any_codes_may_be_forged(source: Path, tmp_path: Path, data: st.DataObject, junk: bytes) -> None:
    _, arrays = parts(source.read_bytes())
    name = data.draw(st.sampled_from(sorted(each for each in arrays if each.startswith("codes/"))))
    path = forge(source, tmp_path / "forged", array(name, np.frombuffer(junk, np.uint8)))
    with pytest.raises(FileFormatError, match="codes of"):
        load(path)


def test_every_truncation_and_flipped_byte_of_a_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net"
    save(quantize(nn.Linear(3, 2), "tga"), path)
    data = path.read_bytes()
    like = nn.Linear(3, 2)
    before = like.weight.clone()
    for place in range(len(data)):
        for changed in (data[:place], data[:place] + bytes([data[place] ^ 0x20]) + data[place + 1 :]):
            path.write_bytes(changed)
            with pytest.raises(FileFormatError):
                load(path, model=like)
    assert torch.equal(like.weight, before)


LIMITED = """
import resource, sys
from pathlib import Path
import torch
from tests.export import test_packed_refusals as here
source, folder = Path(sys.argv[1]), Path(sys.argv[2])
here.save_for_comparison(folder / "there")
here.load(source)
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, used + 2**28))
for case, (change, _) in here.FORGERIES.items():
    try:
        here.load(here.forge(source, folder / "forged", change))
    except here.TernlabError:
        continue
    sys.exit(case)
try:
    torch.empty(2**28)
except RuntimeError:
    sys.exit(0)
sys.exit("the limit does not hold")
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux")
def test_another_process_writes_the_same_bytes_and_no_forgery_makes_it_allocate(source: Path, tmp_path: Path) -> None:
    # One process for both: it takes seconds to import torch.
    save_for_comparison(tmp_path / "here")
    command = [sys.executable, "-c", LIMITED, str(source), str(tmp_path)]
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "here").read_bytes() == (tmp_path / "there").read_bytes()


def test_a_huge_network_of_a_plugin_is_refused(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "huge", ModelEntry(f"{__name__}:build_huge", ModelSettings))
    # Only a network on the meta device can be too large and be counted.
    for size, message in ((8, "parameters"), (9, "cannot be built"), (10, "cannot be built")):
        change = both(put("architecture", "model", "name", "huge"), put("architecture", "size", size))
        with pytest.raises(FileFormatError, match=message):
            load(forge(source, tmp_path / "forged", change))


def build_huge(settings: ModelSettings, channels: int, size: int, classes: int) -> nn.Module:
    """Build a network that grows with the image, or fails on it."""
    if size == 10:
        raise KeyError("x")
    return nn.Linear(2**30 if size == 8 else 2**62, 2**10)


def test_another_network_is_refused_and_left_alone(tmp_path: Path) -> None:
    save(quantize(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), "tga"), tmp_path / "net")
    others = [
        nn.Sequential(nn.Linear(3, 4)),
        nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2, bias=False)),
        nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2), nn.Linear(2, 2)),
        nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 3)),
        nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).double(),
    ]
    for other in others:
        before = {name: value.clone() for name, value in other.state_dict().items()}
        with pytest.raises(FileFormatError, match="the network that was exported to the file"):
            load(tmp_path / "net", model=other)
        assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())
        assert other.training
    already = quantize(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), "tga")
    with pytest.raises(SettingsError, match="already quantized"):
        load(tmp_path / "net", model=already)


class Extra(nn.Linear):
    """Has a state that is no tensor."""

    def __init__(self, inputs: int, outputs: int, value: object = None) -> None:
        super().__init__(inputs, outputs)
        self.value = value

    def get_extra_state(self) -> dict[str, object]:
        return {"a": self.value}

    def set_extra_state(self, state: dict[str, object]) -> None:
        self.value = state["a"]


def test_an_extra_state_belongs_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(quantize(Extra(3, 2, [1, "b", None]), "tga"), tmp_path / "net")
    assert cast(Extra, load(tmp_path / "net", model=Extra(3, 2))).value == [1, "b", None]
    with pytest.raises(FileFormatError, match="has 'extra/_extra_state', unlike the network"):
        load(tmp_path / "net", model=nn.Linear(3, 2))
    save(quantize(nn.Linear(3, 2), "tga"), tmp_path / "net", architecture=tiny_facts(model={"name": "extra"}))
    monkeypatch.setitem(MODELS, "extra", ModelEntry(f"{__name__}:build_extra", ModelSettings))
    for model in (None, Extra(3, 2)):
        with pytest.raises(FileFormatError, match="has no 'extra/_extra_state'"):
            load(tmp_path / "net", model=model)


def test_an_extra_state_that_needs_code_is_neither_written_nor_read(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"_extra_state = dict: .*cannot be saved and read back"):
        save(quantize(Extra(3, 2, Extra), "tga"), tmp_path / "net")
    save(quantize(Extra(3, 2, 5), "tga"), tmp_path / "net")
    header, arrays = read_container(tmp_path / "net")
    for forged in (b"", b"not a pickle", pickle.dumps(Extra, 2), pickle.dumps({"a": 1}, 2)):
        arrays["extra/_extra_state"] = np.frombuffer(forged, np.uint8)
        write_container(tmp_path / "net", arrays, header)
        with pytest.raises(FileFormatError, match="'extra/_extra_state' cannot be read"):
            load(tmp_path / "net", model=Extra(3, 2))


def build_extra(settings: ModelSettings, channels: int, size: int, classes: int) -> nn.Module:
    return Extra(3, 2)
