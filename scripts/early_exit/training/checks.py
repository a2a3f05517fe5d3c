"""What would go wrong in training, said before it begins."""

from __future__ import annotations

from collections.abc import Sequence

from early_exit.errors import InputError
from early_exit.networks import MultiExitNetwork
from early_exit.networks.checks import check_gradients
from early_exit.training.loss import idle
from early_exit.training.recipe import Recipe


def check_sizes(recipe: Recipe, shape: Sequence[int]) -> None:
    """Pictures of ``shape`` (height, width) must keep something, moved, blackened and cut.

    Raises
    ------
    InputError
        One line that names the setting.
    """
    moved = 0 if recipe.augmentation == "none" else recipe.translate
    some, most = "some eighth to a half", "some three quarters"
    for name, pixels, share in (
        ("translate", moved, some),
        ("cutout", recipe.cutout, some),
        ("crop", recipe.crop, most),
    ):
        if pixels >= min(shape):
            raise InputError(
                f"training.{name}: {pixels} pixels, of pictures of {shape[0]} by {shape[1]}; take"
                f" {share} of that"
            )


def check_crop(
    network: MultiExitNetwork, weights: tuple[float, ...], side: int, channels: int
) -> None:
    """The network must be trainable on pictures of that side, too.

    Raises
    ------
    InputError
        One line that says what stands in the way.
    """
    try:
        check_gradients(network, weights, [channels, side, side])
    except InputError as error:
        raise InputError(
            f"training.crop: of pictures of {side} by {side}: {error}; take another side, or set"
            " crop and crop_epochs to 0"
        ) from error


def check_trained(network: MultiExitNetwork, weights: tuple[float, ...]) -> None:
    """Of the exits that have weight, something must want to be trained.

    Raises
    ------
    InputError
        One line that names the setting.
    """
    reached = set(network.parameters()) - idle(network, weights)
    if not any(parameter.requires_grad for parameter in reached):
        raise InputError(
            "training.exit_weights: only the final exit has weight, which freeze_backbone keeps as"
            " it is; give weight to a new head"
        )


def check_teacher(recipe: Recipe, teacher: MultiExitNetwork, channels: int) -> None:
    """What is about labels must not be set, and the teacher must see what the network sees.

    Raises
    ------
    InputError
        One line that names the setting.
    """
    for name in ("label_smoothing", "distillation"):
        if getattr(recipe, name):
            raise InputError(
                f"training.{name}: comes with learning from labels, and training.teacher takes"
                f" their place; set {name} to 0, or teacher to null"
            )
    if recipe.crop:
        final = (0.0,) * (len(teacher.heads) - 1) + (1.0,)
        check_crop(teacher, final, recipe.crop, channels)
