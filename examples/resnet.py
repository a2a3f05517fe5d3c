"""A torchvision ResNet with an exit after each of its four layers."""

from torchvision.models import get_model

from early_exit.networks.backbone import with_exits


def resnet(classes, shape, model="resnet18"):
    """A ResNet with four exits; ``model`` is set in ``network.arguments``."""
    backbone = get_model(model, num_classes=classes)
    return with_exits(backbone, ["layer1", "layer2", "layer3", "layer4"], classes, shape)
