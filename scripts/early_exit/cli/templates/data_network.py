"""A network on rows of numbers: stages of a linear layer each, with an exit after each."""

from torch import nn


class Network(nn.Module):
    """Takes what the data set returns; docs/networks.md has all that a network may be."""

    def __init__(self, classes, shape, width=64, exits=3):
        super().__init__()
        # The shape of a sample: here the number of features.
        (features,) = shape
        widths = [features, *[width] * exits]
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Linear(before, width), nn.BatchNorm1d(width), nn.ReLU())
            for before in widths[:-1]
        )
        self.heads = nn.ModuleList(nn.Linear(width, classes) for _ in range(exits))
