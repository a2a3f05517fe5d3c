"""The settings of training, and what they must not be."""

from __future__ import annotations

from dataclasses import dataclass

from early_exit.errors import InputError


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Attributes
    ----------
    epochs, batch_size
        Passes over the train split, and samples a step, about: a pass is dealt into equal steps.
    learning_rate, weight_decay
        Peak rate of the cycle, and decay of weights; biases and batch norm do not decay.
    optimizer
        A name in :data:`early_exit.training.optimizers.OPTIMIZERS`.
    exit_weights
        Weight of each exit's loss; ``None`` weighs all alike.
    label_smoothing
        Share of the label that is spread over all classes (Szegedy et al. 2016, section 7).
    distillation
        Weight of what earlier exits learn from the final one (Phuong and Lampert 2019).
    augmentation, translate
        A name in :data:`early_exit.training.augmentation.AUGMENTATIONS`, and its pixels.
    cutout
        Side in pixels of a square that is blackened in each picture; 0 blackens none.
    cutmix
        Largest share of a picture that a rectangle of another one covers; 0 covers none.
    crop, crop_epochs
        Side in pixels of a window that is cut from each picture in so many of the first epochs.
    averaging
        Decay a step of the running average of the weights; ``None`` keeps the last ones.
    whitening
        Whether the first convolution begins as whitened directions of the pictures' patches.
    mirror_symmetric
        Whether weights are tied so that every exit says the same of a picture and of its mirror
        image.
    backbone_epochs
        So many of the epochs train the final exit alone, in a cycle of their own.
    dropout_scale
        Factor on the network's dropout probabilities.
    freeze_backbone
        Whether the stages and the final head, which together are the network without exits, stay
        as they are; the other heads are trained.
    precision
        ``fp32``, or ``bf16`` for what autocast allows.

    Raises
    ------
    InputError
        If no epoch is left for training jointly or on whole pictures, weights would be both kept
        and replaced, tied weights would not see mirror images, or exits would learn from a final
        one that is not trained.
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

    def __post_init__(self) -> None:
        if self.backbone_epochs >= self.epochs:
            raise InputError(
                f"training.backbone_epochs: {self.backbone_epochs} of {self.epochs} epochs; leave"
                " one at least for training all exits jointly"
            )
        if self.crop_epochs >= self.epochs:
            raise InputError(
                f"training.crop_epochs: {self.crop_epochs} of {self.epochs} epochs; leave one at"
                " least for whole pictures"
            )
        if bool(self.crop) != bool(self.crop_epochs):
            given, missing = ("crop", "crop_epochs") if self.crop else ("crop_epochs", "crop")
            raise InputError(f"training.{given}: is nothing without training.{missing}; set both")
        if self.freeze_backbone:
            for name in ("backbone_epochs", "whitening", "mirror_symmetric"):
                if getattr(self, name):
                    raise InputError(
                        f"training.freeze_backbone: {name} changes it; set one of them only"
                    )
        if self.mirror_symmetric and "flip" not in self.augmentation:
            raise InputError(
                f"training.mirror_symmetric: training.augmentation {self.augmentation} shows no"
                " mirror images, which batch norm must see; take flip_translate or"
                " alternating_flip_translate"
            )
        final_untrained = self.exit_weights and not self.exit_weights[-1]
        if self.distillation and final_untrained and not self.freeze_backbone:
            raise InputError(
                "training.distillation: the exits would learn from the final one, whose weight in"
                " training.exit_weights is 0; give it some, or set distillation to 0"
            )
