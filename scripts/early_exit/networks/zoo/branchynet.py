"""The BranchyNet of the published experiment: six stages of one convolution, six exits.

After Teerapittayanon, McDanel and Kung (2016); the layers are those of the published checkpoint.
"""

from __future__ import annotations

import re

from torch import nn

from early_exit.networks import MultiExitNetwork
from early_exit.networks.zoo.pooling import MaxPool

CHANNELS = (3, 32, 32, 64, 64, 128, 128)
# Pool and drop out after the even stages.
DROPOUT = {2: 0.2, 4: 0.3, 6: 0.4}
# Sizes of the heads' convolved features: 16 channels of a 32x32 image's remaining positions.
HEAD_FEATURES = (3600, 784, 784, 144, 144)
HIDDEN = 128

# Names of the published checkpoint, and of this module.
PUBLISHED_NAMES = (
    (r"^conv(\d)\.", lambda m: f"stages.{int(m[1]) - 1}.conv."),
    (r"^bn7\.", lambda m: "heads.5.bn."),
    (r"^bn(\d)\.", lambda m: f"stages.{int(m[1]) - 1}.bn."),
    (r"^branch(\d)\.", lambda m: f"heads.{int(m[1]) - 1}."),
    (r"^fc(\d)\.", lambda m: f"heads.5.fc{m[1]}."),
)


class Stage(nn.Module):
    """Convolution, ReLU, batch norm, in this order; on even stages pooling and dropout."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(CHANNELS[number - 1], CHANNELS[number], 3, padding="same")
        self.bn = nn.BatchNorm2d(CHANNELS[number])
        pooled = number in DROPOUT
        self.pool = MaxPool() if pooled else nn.Identity()
        self.dropout = nn.Dropout(DROPOUT[number]) if pooled else nn.Identity()

    def forward(self, features):
        return self.dropout(self.pool(self.bn(self.conv(features).relu_())))


class Branch(nn.Module):
    """The head of exits 1 to 5: one strided convolution and a linear layer."""

    def __init__(self, number: int, classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(CHANNELS[number], 16, 3, stride=2)
        self.bn = nn.BatchNorm2d(16)
        self.fc = nn.Linear(HEAD_FEATURES[number - 1], classes)

    def forward(self, features):
        return self.fc(self.bn(self.conv(features).relu_()).flatten(1))


class FinalHead(nn.Module):
    """The head of exit 6: four hidden linear layers, batch norm and dropout after the last."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(CHANNELS[6] * 4 * 4, HIDDEN)
        self.fc2 = nn.Linear(HIDDEN, HIDDEN)
        self.fc3 = nn.Linear(HIDDEN, HIDDEN)
        self.fc4 = nn.Linear(HIDDEN, HIDDEN)
        self.bn = nn.BatchNorm1d(HIDDEN)
        self.dropout = nn.Dropout(0.5)
        self.fc5 = nn.Linear(HIDDEN, classes)

    def forward(self, features):
        hidden = features.flatten(1)
        for layer in (self.fc1, self.fc2, self.fc3, self.fc4):
            hidden = layer(hidden).relu_()
        return self.fc5(self.dropout(self.bn(hidden)))


class Network(MultiExitNetwork):
    """Six stages, six exits, for images of 3x32x32."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stages = nn.ModuleList(Stage(number) for number in range(1, 7))
        branches = [Branch(number, classes) for number in range(1, 6)]
        self.heads = nn.ModuleList([*branches, FinalHead(classes)])

    @staticmethod
    def rename(key: str) -> str:
        """The name here of a parameter of the published checkpoint."""
        for pattern, name in PUBLISHED_NAMES:
            key, replaced = re.subn(pattern, name, key)
            if replaced:
                break
        return key
