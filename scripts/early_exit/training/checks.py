"""Checks of the settings of training, before it starts."""

from __future__ import annotations

from collections.abc import Sequence

from early_exit.errors import InputError
from early_exit.networks import MultiExitNetwork
from early_exit.networks.gradients import check_gradients
from early_exit.structures.inputs import InputSpec
from early_exit.training.loss import idle
from early_exit.training.recipe import Recipe

# Settings of images, with the value of each that leaves them as they are.
OF_IMAGES = {
    "augmentation": "none",
    "cutout": 0,
    "cutmix": 0.0,
    "crop": 0,
    "crop_epochs": 0,
    "whitening": False,
    "mirror_symmetric": False,
}


def check_sizes(recipe: Recipe, shape: Sequence[int]) -> None:
    """Refuse augmentation that could remove all of an image of ``shape`` (height, width).

    Raises
    ------
    InputError
        One line that names the setting.
    """
    moved = 0 if recipe.augmentation == "none" else recipe.translate
    some, most = "an eighth to a half", "about three quarters"
    for name, pixels, share in (
        ("translate", moved, some),
        ("cutout", recipe.cutout, some),
        ("crop", recipe.crop, most),
    ):
        if pixels >= min(shape):
            raise InputError(
                f"training.{name}: {pixels} pixels, of images of {shape[0]} by {shape[1]}",
                f"set it to {share} of that",
            )


def check_no_images(recipe: Recipe) -> None:
    """Refuse settings that change images, for other inputs.

    Raises
    ------
    InputError
        One line that names the setting.
    """
    for name, unused in OF_IMAGES.items():
        if getattr(recipe, name) != unused:
            raise InputError(
                f"training.{name}: {getattr(recipe, name)} is for images, and this data set has"
                " other inputs",
                f"leave it out, or set it to {str(unused).lower()}",
            )


def check_crop(
    network: MultiExitNetwork, weights: tuple[float, ...], side: int, channels: int
) -> None:
    """Refuse a crop of a size on which the network cannot be trained.

    Raises
    ------
    InputError
        One line with the reason.
    """
    try:
        check_gradients(network, weights, [channels, side, side])
    except InputError as error:
        raise InputError(
            f"training.crop: of images of {side} by {side}: {error}",
            "set another side, or set crop and crop_epochs to 0",
        ) from error


def check_trained(network: MultiExitNetwork, weights: tuple[float, ...]) -> None:
    """Refuse exit weights under which no parameter is trained.

    Raises
    ------
    InputError
        One line that names the setting.
    """
    reached = set(network.parameters()) - idle(network, weights)
    if not any(parameter.requires_grad for parameter in reached):
        raise InputError(
            "training.exit_weights: only the final exit has weight, but freeze_backbone freezes it",
            "give weight to a new head",
        )


def check_teacher(recipe: Recipe, teacher: MultiExitNetwork, spec: InputSpec) -> None:
    """Refuse settings of labels beside a teacher, and crops that the teacher cannot take.

    Raises
    ------
    InputError
        One line that names the setting.
    """
    for name in ("label_smoothing", "distillation"):
        if getattr(recipe, name):
            raise InputError(
                f"training.{name}: applies to labels, but training.teacher takes their place",
                f"set {name} to 0, or teacher to null",
            )
    if recipe.crop:
        final = (0.0,) * (len(teacher.heads) - 1) + (1.0,)
        check_crop(teacher, final, recipe.crop, spec.shape[0])
