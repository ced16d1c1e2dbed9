"""What trainers save with torch: read out of its wrappings, without running any of it."""

import argparse
import collections
import pickle
import re
import sys
import types
import zipfile
from pathlib import PurePosixPath

import numpy as np
import pytest
import torch

from still_moving.adapters.files.tensors import read_header, read_tensors
from still_moving.common.errors import UserError

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2)}


def same(read, expected=TENSORS):
    assert read.keys() == expected.keys()
    assert all(torch.equal(read[name], expected[name]) for name in expected)


@pytest.fixture
def foreign(monkeypatch):
    """foreign(name): an object of a class of that name, gone again when the file is read."""

    def make(name, base=object, state=None):
        module, _, own = name.rpartition(".")
        kind = type(own, (base,), {"__module__": module, "__qualname__": own})
        parts = module.split(".")
        for i in range(len(parts)):
            parent = ".".join(parts[: i + 1])
            if parent not in sys.modules:
                monkeypatch.setitem(sys.modules, parent, types.ModuleType(parent))
        monkeypatch.setattr(sys.modules[module], own, kind, raising=False)
        made = kind()
        if state:
            made.__dict__.update(state)
        return made

    return make


def lightning(foreign):
    """The keys of a checkpoint of Lightning (Trainer.save_checkpoint), with what it keeps there."""
    callback = "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint"
    settings = foreign("omegaconf.dictconfig.DictConfig", state={"_content": {"lr": 1e-4}})
    parsed = foreign("pytorch_lightning.utilities.parsing.AttributeDict", dict)
    parsed["lr"] = 1e-4
    return {
        "epoch": 3,
        "global_step": np.int64(1000),
        "pytorch-lightning_version": "1.4.2",
        "state_dict": TENSORS,
        "callbacks": {type(foreign(callback)): {"best_model_score": np.float64(0.5)}},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": []}],
        "hyper_parameters": parsed,
        "hparams": settings,
        "args": argparse.Namespace(lr=1e-4),
        "losses": collections.defaultdict(list, a=[1]),
        "where": PurePosixPath("out"),
        "curve": np.arange(3.0),
    }


@pytest.mark.parametrize("old_format", [False, True])
def test_a_checkpoint_of_lightning_is_read_for_its_tensors(
    tmp_path, monkeypatch, foreign, old_format
):
    path = tmp_path / "last.ckpt"
    torch.save(lightning(foreign), path, _use_new_zipfile_serialization=not old_format)
    monkeypatch.undo()  # nobody here knows Lightning any more
    before = set(sys.modules)
    same(read_tensors(path)[0])
    assert read_header(path)[0].keys() == TENSORS.keys()
    assert not {name for name in set(sys.modules) - before if "lightning" in name}


def test_a_whole_module_is_called_by_its_class(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "model.pt")
    with pytest.raises(UserError, match=r"torch\.nn\.modules\.linear\.Linear.* could run code"):
        read_tensors(tmp_path / "model.pt")


WRAPPINGS = {
    "state_dict": lambda t: {"epoch": 1, "state_dict": t},
    "model": lambda t: {"model": t, "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}}},
    "module, as DeepSpeed": lambda t: {"module": t, "dp_world_size": 1},
    "params": lambda t: {"params": t},
    "params beside an average": lambda t: {"params_ema": {"x": torch.zeros(1)}, "params": t},
    "params_ema alone": lambda t: {"params_ema": t},
    "ema alone": lambda t: {"step": 4, "ema": t},
    "ema_state_dict beside": lambda t: {"ema_state_dict": {"x": torch.ones(1)}, "state_dict": t},
    "model_state_dict": lambda t: {"model_state_dict": t, "loss": 0.1},
    "twice": lambda t: {"model": {"state_dict": t}},
    "one key of any name": lambda t: {"whatever": t},
    "parameters": lambda t: {k: torch.nn.Parameter(v) for k, v in t.items()},
    "ordered": lambda t: collections.OrderedDict(t),
}


@pytest.mark.parametrize("wrap", WRAPPINGS.values(), ids=WRAPPINGS)
@pytest.mark.parametrize(
    "name", ["{}", "module.{}", "module._orig_mod.{}", "_orig_mod.module.{}", "_forward_module.{}"]
)
def test_every_wrapping_comes_off(tmp_path, wrap, name):
    torch.save(wrap({name.format(k): v for k, v in TENSORS.items()}), tmp_path / "a.pt")
    same(read_tensors(tmp_path / "a.pt")[0])


def test_compiled_parts_lose_their_mark_in_safetensors_too(tmp_path):
    from safetensors.torch import save_file

    save_file({f"net._orig_mod.{k}": t for k, t in TENSORS.items()}, tmp_path / "a.safetensors")
    same(read_tensors(tmp_path / "a.safetensors")[0], {f"net.{k}": t for k, t in TENSORS.items()})
    assert set(read_header(tmp_path / "a.safetensors")[0]) == {f"net.{k}" for k in TENSORS}


def test_names_that_would_become_one_are_left_as_they_are(tmp_path):
    both = {"a": torch.zeros(1), "module.a": torch.ones(1)}
    torch.save(both, tmp_path / "a.pt")
    same(read_tensors(tmp_path / "a.pt")[0], both)


def test_parts_beside_each_other_keep_their_names(tmp_path):
    parts = {"unet": {"x": torch.ones(1)}, "vae": {"x": torch.zeros(2)}, "step": 4}
    torch.save(parts, tmp_path / "a.pt")
    same(read_tensors(tmp_path / "a.pt")[0], {"unet.x": torch.ones(1), "vae.x": torch.zeros(2)})


def _protocol(path):
    torch.save(TENSORS, path, pickle_protocol=4)


def _npz(path):
    with path.open("wb") as file:
        np.savez(file, a=np.ones(2))


def _zipped(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/readme.txt", "unpack me")


OTHERS = {
    "a later pickle": (_protocol, r"a pickle of protocol 4"),
    "a bare pickle": (lambda p: p.write_bytes(pickle.dumps({"a": 1.5})), "a pickle of protocol 4"),
    "numpy": (_npz, r"a zip archive with 'a\.npy'"),
    "a zip": (_zipped, "a zip archive"),
    "TorchScript": (
        lambda p: torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(p)), "TorchScript",
    ),
    "GGUF": (lambda p: p.write_bytes(b"GGUF" + bytes(60)), "GGUF file"),
    "7z": (lambda p: p.write_bytes(b"7z\xbc\xaf\x27\x1c" + bytes(60)), "7z archive"),
}  # fmt: skip  # what writes it, what it is called


@pytest.mark.filterwarnings("ignore")  # of torch about its own TorchScript
@pytest.mark.parametrize(("write", "named"), OTHERS.values(), ids=OTHERS)
def test_what_is_whole_and_not_read_is_called_by_its_name(tmp_path, write, named):
    path = tmp_path / "other.ckpt"
    write(path)
    with pytest.raises(UserError, match=named) as error:
        read_tensors(path)
    assert "damaged" not in str(error.value)


def test_no_escape_code_of_torch_reaches_anybody(tmp_path):
    torch.save({"a": TENSORS["b"]}, tmp_path / "a.pt")
    content = (tmp_path / "a.pt").read_bytes()
    bad = content.replace(b"_rebuild_tensor_v2", b"_rebuild_tensor_vX")
    (tmp_path / "b.pt").write_bytes(bad)
    with pytest.raises(UserError) as error:
        read_tensors(tmp_path / "b.pt")
    assert not re.search(r"[\x00-\x1f]", str(error.value))
