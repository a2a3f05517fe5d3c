"""Exits for the classifiers of timm, transformers and torch, all with random weights."""

import copy
import importlib
import warnings
from importlib.util import find_spec, module_from_spec, spec_from_file_location

import pytest
import torch
from torch import nn

from early_exit.errors import InputError
from early_exit.inference.cost import count_macs, macs
from early_exit.inference.engine import Engine
from early_exit.inference.runner import run_policy
from early_exit.io.files import write_json
from early_exit.networks.backbone import with_exits
from early_exit.networks.checkpoint import load_start
from early_exit.networks.checks import check
from early_exit.networks.gradients import check_gradients
from early_exit.policy.criterion import ExitCriterion
from early_exit.policy.policy import Policy
from early_exit.structures.inputs import InputSpec
from helpers import PROVENANCE

CLASSES, SAMPLES = 5, 4
SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "num_labels": CLASSES,
}


def library(name):
    """A library, imported for its first use; without it the test is skipped."""
    if not find_spec(name):
        pytest.skip(f"{name} is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(name)


def timm(name, **arguments):
    return library("timm").create_model(name, num_classes=CLASSES, **arguments)


def transformers(kind, config, **arguments):
    found = library("transformers")
    return getattr(found, kind)(getattr(found, config)(**arguments))


def images(side):
    return torch.rand(SAMPLES, 3, side, side)


def text():
    return {
        "input_ids": torch.randint(3, 50, (SAMPLES, 9)),
        "attention_mask": (torch.arange(9) < torch.tensor([9, 4, 6, 1])[:, None]).long(),
    }


def sound():
    return {
        "input_values": torch.randn(SAMPLES, 400),
        "attention_mask": (torch.arange(400) < torch.tensor([400, 200, 300, 90])[:, None]).long(),
    }


def vit(name):
    return timm(name, img_size=32, patch_size=8, depth=3)


def wav2vec():
    return transformers(
        "Wav2Vec2ForSequenceClassification",
        "Wav2Vec2Config",
        conv_dim=(16, 16),
        conv_kernel=(10, 3),
        conv_stride=(5, 2),
        num_feat_extract_layers=2,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
        classifier_proj_size=8,
        **SMALL,
    )


def distilbert():
    small = {"dim": 32, "n_layers": 3, "n_heads": 2, "hidden_dim": 64, "num_labels": CLASSES}
    return transformers(
        "DistilBertForSequenceClassification", "DistilBertConfig", vocab_size=50, **small
    )


def bert(**arguments):
    return transformers(
        "BertForSequenceClassification", "BertConfig", vocab_size=50, **SMALL, **arguments
    )


def hugging_vit():
    return transformers(
        "ViTForImageClassification", "ViTConfig", image_size=32, patch_size=8, **SMALL
    )


def torch_encoder():
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
    return nn.Sequential(nn.Linear(7, 16), encoder, nn.Flatten(), nn.Linear(80, CLASSES))


def windows():
    """A stack of convolutions on windows of floats."""
    blocks = [
        nn.Sequential(nn.Conv1d(before, after, 5, 2, 2), nn.BatchNorm1d(after), nn.ReLU())
        for before, after in ((6, 8), (8, 16), (16, 32))
    ]
    end = nn.Sequential(nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(32, CLASSES))
    return nn.Sequential(nn.Sequential(*blocks), end)


def table():
    blocks = [nn.Sequential(nn.Linear(12, 12), nn.ReLU(), nn.Dropout(0.2)) for _ in range(3)]
    return nn.Sequential(nn.Sequential(*blocks), nn.Linear(12, CLASSES))


# The backbone, after which modules, its inputs, the exits, and what the first stage hands on.
MADE = {
    "vit": (lambda: vit("vit_tiny_patch16_224"), "blocks.*", lambda: images(32), 3, None),
    "deit": (
        lambda: vit("deit_tiny_distilled_patch16_224"),
        "blocks.*",
        lambda: images(32),
        3,
        None,
    ),
    "eva02": (
        lambda: timm("eva02_tiny_patch14_224", img_size=28, depth=3),
        "blocks.*",
        lambda: images(28),
        3,
        ["rope_pos_embed"],
    ),
    "resnet": (lambda: timm("resnet10t"), "layer*", lambda: images(32), 4, None),
    "convnext": (lambda: timm("convnext_atto"), "stages.*", lambda: images(64), 4, None),
    "bert": (bert, "encoder.layer.*", text, 3, ["attention_mask", "expand"]),
    "bert eager": (
        lambda: bert(attn_implementation="eager"),
        "encoder.layer.*",
        text,
        3,
        ["attention_mask", "where"],
    ),
    "distilbert": (
        distilbert,
        "distilbert.transformer.layer.*",
        text,
        3,
        ["attention_mask", "expand"],
    ),
    "hugging vit": (hugging_vit, "vit.layers.*", lambda: images(32), 3, ["expand"]),
    "wav2vec": (wav2vec, "encoder.layers.*", sound, 3, ["attention_mask", "expand"]),
    "wav2vec without mask": (
        wav2vec,
        "encoder.layers.*",
        lambda: sound()["input_values"],
        3,
        None,
    ),
    "torch encoder": (torch_encoder, "1.layers.*", lambda: torch.randn(SAMPLES, 5, 7), 3, None),
    "windows": (windows, "0.*", lambda: torch.randn(SAMPLES, 6, 64), 3, None),
    "table": (table, "0.*", lambda: torch.randn(SAMPLES, 12), 3, None),
}


@pytest.fixture(scope="module", params=MADE)
def made(request):
    """A backbone, the network with its exits, inputs, and what the first stage carries along."""
    make, after, given, exits, carried = MADE[request.param]
    torch.manual_seed(0)
    backbone, inputs = make().eval(), given()
    network = with_exits(backbone, after, CLASSES, inputs=rows(inputs, 2)).eval()
    assert len(network.heads) == exits
    return backbone, network, inputs, carried


def rows(inputs, count):
    if isinstance(inputs, dict):
        return {key: value[:count] for key, value in inputs.items()}
    return inputs[:count]


def logits_of(backbone, inputs):
    result = backbone(**inputs) if isinstance(inputs, dict) else backbone(inputs)
    return getattr(result, "logits", result)


def test_the_last_exit_equals_the_backbone(made):
    backbone, network, inputs, _ = made
    with torch.no_grad():
        # The example had two samples.
        for count in range(1, SAMPLES + 1):
            some = rows(inputs, count)
            found = network(some)
            assert found.shape == (count, len(network.heads), CLASSES)
            assert torch.equal(found[:, -1], logits_of(backbone, some))
            assert found.isfinite().all()


def test_what_crosses_a_cut_is_carried_along(made):
    _, network, inputs, carried = made
    with torch.no_grad():
        handed_on = network.stages[0](inputs)
    if carried is None:
        assert isinstance(handed_on, torch.Tensor)
    else:
        assert list(handed_on) == ["features", *carried]


def test_weights_load_under_the_backbones_names(made, tmp_path):
    backbone, network, inputs, _ = made
    assert set(network.names) | network.unused == set(backbone.state_dict())
    # Only what training alone needs is in no part.
    assert network.unused <= {"wav2vec2.masked_spec_embed"}
    own = {key for key in network.state_dict() if not key.startswith("heads.")}
    assert own == {name for name in network.names.values() if not name.startswith("heads.")}
    torch.save(backbone.state_dict(), tmp_path / "weights.pt")
    other = copy.deepcopy(network)
    for parameter in other.parameters():
        parameter.data.zero_()
    assert load_start(other, tmp_path / "weights.pt") == list(range(len(network.heads) - 1))
    with torch.no_grad():
        assert torch.equal(other(inputs)[:, -1], network(inputs)[:, -1])


def test_it_trains(made):
    _, network, inputs, _ = made
    trained = copy.deepcopy(network).train()
    logits = trained(inputs)
    drops = any(isinstance(part, nn.Dropout) and part.p > 0 for part in trained.modules())
    with torch.no_grad():
        assert torch.equal(trained(inputs), logits) is not drops
    nn.functional.cross_entropy(
        logits.flatten(0, 1), torch.arange(len(logits) * logits.shape[1]) % 5
    ).backward()
    without = [name for name, one in trained.named_parameters() if one.grad is None]
    assert without == []


def spec(inputs):
    return InputSpec.of_samples(inputs)


def test_it_passes_the_checks(made):
    _, network, inputs, _ = made
    warnings_seen = []
    checked = copy.deepcopy(network)
    check(checked, CLASSES, spec(inputs), warnings_seen.append)
    check_gradients(checked, (1.0,) * len(network.heads), spec(inputs))
    assert warnings_seen == []


def half_exit(network, inputs):
    """A policy with which half of the samples are below each threshold; the exits, by logits."""
    with torch.no_grad():
        logits = network(inputs)
    entropy = -(logits.softmax(2) * logits.log_softmax(2)).sum(2)
    thresholds = entropy[:, :-1].sort(dim=0).values[1:3].mean(dim=0)
    exits = (entropy <= torch.cat([thresholds, torch.tensor([torch.inf])])).int().argmax(dim=1)
    assert len(exits.unique()) > 1
    predictions = [int(own[k].argmax()) for own, k in zip(logits, exits, strict=True)]
    return Policy(ExitCriterion(), tuple(thresholds.tolist())), exits.tolist(), predictions


def test_it_runs_under_a_policy(made):
    """Each sample gets the logits of its exit, regrouped with others or not."""
    _, network, inputs, _ = made
    policy, exits, predictions = half_exit(network, inputs)
    for regroup in (None, 3):
        run = run_policy(network, policy, inputs, 3, Engine(images=False), regroup)
        assert run.exit.tolist() == exits
        assert run.prediction.tolist() == predictions


def test_all_multiplications_are_counted(made):
    """None are in the values that are carried, and each part's are those in the whole."""
    _, network, inputs, _ = made
    messages = []
    one = rows(inputs, 1)
    found = count_macs(network, one, messages.append)
    assert messages == []
    assert all(value > 0 for value in found.values())
    assert sum(found.values()) == macs(network, one)


ONNX = ["eva02", "bert", "wav2vec", "hugging vit", "windows"]


@pytest.mark.thorough
@pytest.mark.parametrize("made", ONNX, indirect=True)
def test_its_export_equals_it_for_any_batch(made, tmp_path):
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    from early_exit.export.check import as_arrays
    from early_exit.export.graphs import CODE, export

    _, network, inputs, _ = made
    policy, exits, predictions = half_exit(network, inputs)
    content = {"policy": policy.to_json(), "identity": PROVENANCE, "calibration": {"accuracy": 0.5}}
    write_json(tmp_path / "policy.json", content)
    manifest = {"class_names": list("abcde"), "dataset": "some", **spec(inputs).described()}
    (tmp_path / "export").mkdir()
    export(copy.deepcopy(network), tmp_path / "policy.json", content, manifest, tmp_path / "export")
    found = spec_from_file_location("runner_of_export", CODE["runner.py"])
    module = module_from_spec(found)
    found.loader.exec_module(module)
    runner = module.EarlyExitRunner(tmp_path / "export")
    for count in (1, 3, SAMPLES):
        prediction, exit_, _ = runner.run(as_arrays(inputs), count)
        assert exit_.tolist() == exits
        assert prediction.tolist() == predictions


def test_a_cut_after_a_module_with_an_output_of_a_class():
    """The encoder returns a ModelOutput, of which the first tensor is the features."""
    torch.manual_seed(0)
    backbone, inputs = bert().eval(), text()
    network = with_exits(backbone, ["bert.embeddings", "bert.encoder"], CLASSES, inputs=inputs)
    with torch.no_grad():
        assert torch.equal(network.eval()(inputs)[:, -1], backbone(**inputs).logits)


def test_a_text_of_another_length_is_an_error():
    network = with_exits(bert(), "encoder.layer.*", CLASSES, inputs=text())
    longer = {key: torch.ones(2, 12, dtype=torch.long) for key in text()}
    with pytest.raises(
        InputError, match=r"inputs of shape .*12.* cut for .*9.*; give inputs of th"
    ):
        network(longer)
    # Others that the backbone does not take are no matter.
    assert len(network(text() | {"labels": torch.zeros(SAMPLES)})) == SAMPLES


def test_parts_run_on_another_device():
    """The device of the example is not written into the graph; the meta device is everywhere."""
    network = with_exits(bert(), "encoder.layer.*", CLASSES, inputs=text()).to("meta")
    found = network({key: value.to("meta") for key, value in text().items()})
    assert found.device.type == "meta"
    assert found.shape == (SAMPLES, 3, CLASSES)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (None, "give either shape or inputs"),
        (3, "must be a tensor, or a dict or tuple of tensors"),
        (torch.rand(1, 12), "the same number of samples, 2 or more"),
        ({"input": torch.rand(2, 12), "other": torch.rand(3)}, "the same number of samples"),
        ({0: torch.rand(2, 12)}, "keys must be the names of the backbone's arguments"),
        ({"inputs": torch.rand(2, 12)}, r"cannot take inputs of shapes inputs \[12\] \(TypeError"),
        (torch.rand(2, 11), r"Sequential cannot take inputs of shape \[11\] \(RuntimeError"),
    ],
)
def test_inputs_that_are_none_are_an_error(inputs, message):
    with pytest.raises(InputError, match=f"^with_exits: .*{message}"):
        with_exits(table(), "0.*", CLASSES, inputs=inputs)


def test_inputs_of_several_arguments_by_position():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two, self.fc = (nn.Linear(4, 4) for _ in range(3))

        def forward(self, first, second):
            return {"logits": self.fc(self.two(self.one(first)) + second)}

    inputs = (torch.rand(3, 4), torch.rand(3, 4))
    backbone = Two()
    network = with_exits(backbone, ["one", "two"], 4, inputs=inputs)
    assert torch.equal(network(inputs)[:, -1], backbone(*inputs)["logits"])
    with pytest.raises(InputError, match="give either shape or inputs"):
        with_exits(backbone, ["one", "two"], 4, [4], inputs=inputs)
