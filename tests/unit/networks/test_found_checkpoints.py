"""Checkpoints as training scripts and libraries leave them: recognised, or refused with the key."""

import argparse
import json
import logging
import re
import warnings
from importlib import import_module
from importlib.util import find_spec

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from torch import nn

from early_exit.errors import InputError
from early_exit.io.weight_files import weight_files
from early_exit.networks.backbone import with_exits
from early_exit.networks.checkpoint import load_checkpoint, load_start

INPUTS = torch.rand(3, 4, generator=torch.Generator().manual_seed(0))


def backbone(seed=1):
    torch.manual_seed(seed)
    blocks = [nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)) for _ in range(2)]
    return nn.Sequential(*blocks, nn.Linear(4, 3)).eval()


def state(seed=1):
    return backbone(seed).state_dict()


def network(seed=0):
    return with_exits(backbone(seed), ["0", "1"], 3, [4]).eval()


def halves(dtype):
    return {k: v.to(dtype) if v.is_floating_point() else v for k, v in state().items()}


def begun(prefix, values):
    return {f"{prefix}{key}": value for key, value in values.items()}


def averaged(seed):
    """The state of an average of weights, as PyTorch keeps it."""
    model = torch.optim.swa_utils.AveragedModel(backbone(seed))
    return model.state_dict()


OPTIMIZER = {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 0.1}]}
# Contents, the key (none: not needed), and what the log says.
FOUND = {
    "state_dict": (lambda: {"state_dict": state(), "epoch": 3}, None, "taken from its state_dict"),
    "model and optimizer": (
        lambda: {"model": state(), "optimizer": OPTIMIZER},
        None,
        "taken from its model",
    ),
    "module": (
        lambda: nn.DataParallel(backbone()).state_dict(),
        None,
        "names without module.",
    ),
    "lightning": (
        lambda: {
            "state_dict": begun("net.", state()),
            "optimizer_states": [OPTIMIZER],
            "lr_schedulers": [],
            "hyper_parameters": {"lr": 0.1},
            "pytorch-lightning_version": "2.4.0",
        },
        None,
        "taken from its state_dict; names without net.",
    ),
    "half": (lambda: halves(torch.float16), None, "14 converted from float16 to float32"),
    "bf16": (lambda: halves(torch.bfloat16), None, "14 converted from bfloat16 to float32"),
    "model_ema": (lambda: {"model": state(2), "model_ema": state()}, "model_ema", "model_ema"),
    "state_dict_ema": (
        lambda: {
            "state_dict": state(2),
            "state_dict_ema": begun("module.", state()),
            "args": argparse.Namespace(model="resnet18", lr=0.1),
            "amp_scaler": {"scale": 65536.0},
        },
        "state_dict_ema",
        "taken from its state_dict_ema; names without module.",
    ),
    "ema": (
        lambda: {"model": state(2), "ema": {"shadow": state(), "decay": 0.99}},
        "ema.shadow",
        "taken from its ema.shadow",
    ),
    "ema by names": (
        lambda: {"state_dict": begun("net.", state(2)) | begun("ema_net.", state())},
        "ema_net",
        "only those under ema_net",
    ),
    "averaged by names": (
        lambda: begun("net.", state(2)) | begun("average.", averaged(1)),
        "average",
        "only those under average",
    ),
}


@pytest.mark.parametrize("case", FOUND)
def test_weights_are_found_and_said_in_the_log(tmp_path, caplog, case):
    content, key, note = FOUND[case]
    path = tmp_path / "w.pt"
    torch.save(content(), path)
    built = network()
    if key is not None:
        # Refused without the key, and all are named.
        with pytest.raises(InputError, match=r"contains weights more than once \(") as refused:
            load_start(built, path)
        assert re.search(rf"\(.*\b{re.escape(key)}\b.*\); choose", str(refused.value))
        advised = yaml.safe_load(str(refused.value).partition("choose, such as ")[2])
        load_start(built, path, advised["start_from"]["key"])
    with caplog.at_level(logging.INFO):
        caplog.clear()
        assert load_start(built, path, key) == [0]
    assert note in caplog.text
    expected = backbone()(INPUTS)
    exact = "half" not in case and "bf16" not in case
    assert torch.allclose(built(INPUTS)[:, -1], expected, atol=0 if exact else 0.05)


@pytest.mark.parametrize(
    ("content", "key", "message"),
    [
        (
            lambda: {"model": state(), "model_ema": state()},
            "ema",
            r"w\.pt: has no weights under ema; name one of model, model_ema$",
        ),
        (
            lambda: begun("net.", state()),
            "model",
            r"w\.pt: has no weights under model; leave the key out, or give .* of names: net$",
        ),
        (lambda: {"model": state()}, "ema", r"w\.pt: has no weights under ema; .* names: 0, 1, 2$"),
    ],
)
def test_a_key_without_weights_is_an_error(tmp_path, content, key, message):
    torch.save(content(), tmp_path / "w.pt")
    with pytest.raises(InputError, match=message):
        load_start(network(), tmp_path / "w.pt", key)


def sharded(folder, suffix=".safetensors"):
    """An index with the weights of the backbone in two files."""
    values = {key: value.contiguous() for key, value in state().items()}
    parts = {f"model-0000{k}-of-00002{suffix}": {} for k in (1, 2)}
    for number, (key, value) in enumerate(values.items()):
        parts[list(parts)[number % 2]][key] = value
    for name, part in parts.items():
        save_file(part, folder / name) if suffix == ".safetensors" else torch.save(
            part, folder / name
        )
    places = {key: name for name, part in parts.items() for key in part}
    index = {"metadata": {"total_size": 1}, "weight_map": places}
    path = folder / f"model{suffix}.index.json"
    path.write_text(json.dumps(index))
    return path


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_weights_in_several_files_are_read_by_their_index(tmp_path, caplog, suffix):
    path, built = sharded(tmp_path, suffix), network()
    with caplog.at_level(logging.INFO):
        load_start(built, path)
    assert "2 files of an index" in caplog.text
    assert torch.equal(built(INPUTS)[:, -1], backbone()(INPUTS))
    assert [file.name for file in weight_files(path)] == [
        path.name,
        f"model-00001-of-00002{suffix}",
        f"model-00002-of-00002{suffix}",
    ]


def edited(path, change):
    found = json.loads(path.read_text())
    change(found)
    path.write_text(json.dumps(found))


SECOND = "model-00002-of-00002.safetensors"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: (path.parent / SECOND).unlink(), rf"its file {SECOND} is missing; fetch the"),
        (
            lambda path: (path.parent / SECOND).write_bytes(
                (path.parent / SECOND).read_bytes()[:-9]
            ),
            rf"{SECOND}: no checkpoint that can be read safely",
        ),
        (
            lambda path: save_file({"x": torch.ones(2)}, path.parent / SECOND),
            rf"{SECOND} has no 0\.0\.bias, which the index says; fetch the index and its files",
        ),
        (
            lambda path: save_file(
                load_file(path.parent / SECOND) | {"x": torch.ones(2)}, path.parent / SECOND
            ),
            rf"{SECOND} has also x, which the index does not say",
        ),
        (
            lambda path: edited(path, lambda one: one["weight_map"].update(x="../other")),
            r"names a file in another folder, \.\./other",
        ),
        (lambda path: edited(path, lambda one: one.pop("weight_map")), r"no index of weights"),
        (lambda path: edited(path, lambda one: one.update(weight_map={})), r"names no files"),
        (lambda path: edited(path, lambda one: one.update(weight_map=[1])), r"no index of weights"),
        (
            lambda path: edited(path, lambda one: one.update(weight_map={"a": 1})),
            r"no index of weights",
        ),
        (lambda path: path.write_text("{"), r"no index of weights"),
        (lambda path: path.unlink(), r"model\.safetensors\.index\.json: missing"),
    ],
)
def test_an_index_that_does_not_fit_its_files_is_an_error(tmp_path, change, message):
    path = sharded(tmp_path)
    change(path)
    with pytest.raises(InputError, match=message):
        load_start(network(), path)


def test_a_pickle_in_a_shard_is_not_run(tmp_path):
    path = sharded(tmp_path, ".bin")
    second = tmp_path / "model-00002-of-00002.bin"
    torch.save({**torch.load(second, weights_only=True), "code": argparse.ArgumentParser}, second)
    with pytest.raises(InputError, match=r"00002\.bin: no checkpoint .*object of argparse\.Argum"):
        load_start(network(), path)


# --- of libraries --------------------------------------------------------------------------------


def library(name):
    if not find_spec(name):
        pytest.skip(f"{name} is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return import_module(name)


def bert():
    found = library("transformers")
    config = found.BertConfig(
        vocab_size=50,
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=64,
        num_labels=5,
    )
    return found.BertForSequenceClassification(config).eval()


TEXT = {"input_ids": torch.arange(18).reshape(2, 9), "attention_mask": torch.ones(2, 9).long()}


def quietly_saved(model, folder, **how):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save_pretrained(folder, **how)


@pytest.mark.parametrize("size", ["1GB", "20KB"])
def test_a_folder_of_transformers(tmp_path, size):
    model = bert()
    quietly_saved(model, tmp_path, max_shard_size=size)
    built = with_exits(bert(), "encoder.layer.*", 5, inputs=TEXT)
    with pytest.raises(InputError, match=r"a folder, .*; name the file in it, (\S+)$") as refused:
        load_start(built, tmp_path)
    name = str(refused.value).rpartition(" ")[2]
    assert name == f"model.safetensors{'.index.json' if size == '20KB' else ''}"
    assert load_start(built, tmp_path / name) == [0, 1]
    with torch.no_grad():
        assert torch.equal(built.eval()(TEXT)[:, -1], model(**TEXT).logits)
    # The network of all exits needs more.
    with pytest.raises(InputError, match=r"4 missing \(heads\.0\.1\.bias.*go into training\.start"):
        load_checkpoint(built, tmp_path / name)


def test_a_checkpoint_of_timm(tmp_path):
    timm = library("timm")
    utils = import_module("timm.utils")

    def made():
        return timm.create_model("resnet10t", num_classes=5).eval()

    torch.manual_seed(0)
    model, average = made(), utils.ModelEmaV3(made())
    saver = utils.CheckpointSaver(
        model,
        torch.optim.SGD(model.parameters(), 0.1),
        args=argparse.Namespace(model="resnet10t", lr=0.1),
        model_ema=average,
        checkpoint_dir=str(tmp_path),
        recovery_dir=str(tmp_path),
    )
    saver.save_checkpoint(0, metric=0.5)
    built, images = with_exits(made(), "layer*", 5, [3, 32, 32]), torch.rand(2, 3, 32, 32)
    with pytest.raises(
        InputError, match=r"\(state_dict, state_dict_ema\); choose, such as start_f"
    ):
        load_start(built, tmp_path / "last.pth.tar")
    for key, own in (("state_dict", model), ("state_dict_ema", average.module)):
        assert load_start(built, tmp_path / "last.pth.tar", key) == [0, 1, 2]
        with torch.no_grad():
            assert torch.equal(built.eval()(images)[:, -1], own.eval()(images))
