"""The examples of backbones in docs/networks.md, run as they are written."""

import json
import re
import warnings
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from early_exit.networks.checkpoint import load_start
from early_exit.networks.small_heads import KINDS

PAGE = (Path(__file__).parents[3] / "docs/networks.md").read_text()


def example(name, needs):
    """A function that the page defines."""
    if not find_spec(needs):
        pytest.skip(f"{needs} is not installed")
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (text,) = [one for one in blocks if f"\ndef {name}(" in one]
    scope = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(text, scope)
    return scope[name]


def test_the_vision_transformer():
    network = example("vit", "timm")(7, [3, 64, 64])
    assert network(torch.rand(2, 3, 64, 64)).shape == (2, 12, 7)


def test_the_text_classifier(tmp_path, monkeypatch):
    bert = example("bert", "transformers")
    from transformers import BertConfig, BertForSequenceClassification

    small = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 50}
    monkeypatch.chdir(tmp_path)
    saved = BertForSequenceClassification(BertConfig(num_hidden_layers=3, num_labels=7, **small))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        saved.save_pretrained("bert")
    assert json.loads(Path("bert/config.json").read_text())["model_type"] == "bert"
    network = bert(7, {"input_ids": [9], "attention_mask": [9]}).eval()
    # The weights, as the page has them.
    assert load_start(network, "bert/model.safetensors") == [0, 1]
    text = {"input_ids": torch.randint(3, 50, (4, 9)), "attention_mask": torch.ones(4, 9).long()}
    with torch.no_grad():
        assert torch.equal(network(text)[:, -1], saved.eval()(**text).logits)


def test_the_windows():
    network = example("windows", "torch")(7, [6, 64])
    assert network(torch.randn(4, 6, 64)).shape == (4, 3, 7)
    assert [head[-1].in_features for head in network.heads[:-1]] == [16, 32]


def test_every_head_is_in_the_table():
    table = PAGE.partition("### Heads by name")[2].partition("\n## ")[0]
    named = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    assert {*named} == {"head", *KINDS}
