"""The settings of training, checked."""

from __future__ import annotations

from dataclasses import dataclass

from early_exit.errors import InputError


@dataclass(frozen=True)
class Recipe:
    """Settings of training.

    Attributes
    ----------
    epochs, batch_size
        Passes over the train split, and approximate samples per step: all steps are of equal size.
    learning_rate, weight_decay
        Peak rate of the cycle, and weight decay; biases and batch norm do not decay.
    optimizer
        A name in :data:`early_exit.training.optimizers.OPTIMIZERS`.
    exit_weights
        Weight of each exit's loss; ``None`` for equal weights.
    label_smoothing
        Share of the label that is spread evenly over all classes (Szegedy et al. 2016, section 7).
    distillation
        Weight of the early exits' divergence from the final one (Phuong and Lampert 2019).
    augmentation, translate
        A name in :data:`early_exit.training.augmentation.AUGMENTATIONS`, and its shift in pixels.
    cutout
        Side in pixels of a blackened square in each image; 0 for none.
    cutmix
        Largest share of an image covered by a rectangle of another one; 0 for none.
    crop, crop_epochs
        Side in pixels of a random window of each image, and the number of first epochs with it.
    averaging
        Decay per step of the exponential average of the weights; ``None`` for no averaging.
    whitening
        Whether the first convolution starts as whitened directions of the images' patches.
    mirror_symmetric
        Whether weights are tied so that every exit's logits are equal for an image and its mirror
        image.
    backbone_epochs
        Number of first epochs that train the final exit only, in a cycle of their own.
    dropout_scale
        Factor on the network's dropout probabilities.
    freeze_backbone
        Whether only the heads of the early exits are trained; the stages and the final head are
        frozen.
    precision
        ``fp32``, or ``bf16`` for autocast.
    held_out
        Share of the train split that is not trained on, but measured after each epoch.

    Raises
    ------
    InputError
        If no epoch remains for joint training or for full images, weights would be both frozen
        and replaced, tied weights lack mirror images, or exits would learn from a final exit that
        is not trained.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    optimizer: str = "adamw"
    exit_weights: tuple[float, ...] | None = None
    label_smoothing: float = 0.0
    distillation: float = 0.0
    augmentation: str = "none"
    translate: int = 4
    cutout: int = 0
    cutmix: float = 0.0
    crop: int = 0
    crop_epochs: int = 0
    averaging: float | None = None
    backbone_epochs: int = 0
    dropout_scale: float = 1.0
    precision: str = "fp32"
    freeze_backbone: bool = False
    whitening: bool = False
    mirror_symmetric: bool = False
    held_out: float = 0.0

    def __post_init__(self) -> None:
        if self.backbone_epochs >= self.epochs:
            raise InputError(
                f"training.backbone_epochs: {self.backbone_epochs} of {self.epochs} epochs",
                "leave at least one to train all exits jointly",
            )
        if self.crop_epochs >= self.epochs:
            raise InputError(
                f"training.crop_epochs: {self.crop_epochs} of {self.epochs} epochs",
                "leave at least one for full images",
            )
        if bool(self.crop) != bool(self.crop_epochs):
            found, missing = ("crop", "crop_epochs") if self.crop else ("crop_epochs", "crop")
            raise InputError(f"training.{found}: set without training.{missing}", "set both")
        if self.freeze_backbone:
            for name in ("backbone_epochs", "whitening", "mirror_symmetric"):
                if getattr(self, name):
                    raise InputError(
                        f"training.freeze_backbone: {name} changes it", "set only one of them"
                    )
        if self.mirror_symmetric and "flip" not in self.augmentation:
            raise InputError(
                f"training.mirror_symmetric: training.augmentation {self.augmentation} has no"
                " mirror images, which batch norm needs",
                "set it to flip_translate or alternating_flip_translate",
            )
        final_untrained = self.exit_weights and not self.exit_weights[-1]
        if self.distillation and final_untrained and not self.freeze_backbone:
            raise InputError(
                "training.distillation: the exits would learn from the final one, whose weight in"
                " training.exit_weights is 0",
                "give it weight, or set distillation to 0",
            )
