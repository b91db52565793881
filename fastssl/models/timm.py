"""timm's models as encoders, vision transformers included: ``pip install -e '.[timm]'``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from fastssl.models.backbone import Backbone
from pipelines.command.errors import UserError
from pipelines.command.ranges import BelowOne, CountOrNone
from pipelines.command.suggest import suggest


class Timm(Backbone):
    """A model of timm without its classifier: its own layers, initialization and pooled features.

    Drop path draws from torch's global generator, which each training step seeds.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(Backbone.Config):
        """A model of timm."""

        name: str = "vit_small_patch16_224"
        """Name in `timm.list_models()`."""
        image_size: CountOrNone = None
        """Side of the views, for models that are made for one size (transformers); None: the model's own."""
        drop_path: BelowOne = 0.0
        """Largest probability with which a residual branch is left out, sample by sample."""

        @property
        def label(self) -> str:
            """timm's name."""
            return self.name

        def small(self) -> Timm.Config:
            """timm's model for tests of the same kind: ``test_vit`` at 32 pixels, or ``test_resnet``."""
            if self.image_size is None and "patch" not in self.name:
                return replace(self, name="test_resnet")
            return replace(self, name="test_vit", image_size=32)

    def __init__(self, config: Config) -> None:
        super().__init__()
        self._name = config.name
        self.network = _create(config)
        self.feature_dim = int(getattr(self.network, "head_hidden_size", self.network.num_features))

    def check_size(self, size: int) -> None:
        """Check the side of views against the size that the model is made for, where there is one."""
        embedding = getattr(self.network, "patch_embed", None)
        made_for = getattr(embedding, "img_size", None)
        if made_for is not None and made_for[0] != size and getattr(embedding, "strict_img_size", True):
            raise UserError(
                f"{self._name} is made for views of {made_for[0]} pixels, not {size}: "
                f"add --backbone.image-size {size}"
            )

    def stages(self, x: Tensor) -> tuple[Tensor, ...]:
        """Maps that timm calls intermediate, [B, C_i, H_i, W_i].

        Of a transformer: each block's tokens at their patch's place, class tokens left out, before the last
        norm; all have the side of the view over the patch.

        Raises:
            UserError: timm offers none of this model.
        """
        if not hasattr(self.network, "forward_intermediates"):
            raise UserError(f"timm's {self._name} gives no maps of its stages: choose another backbone")
        return tuple(self.network.forward_intermediates(x, intermediates_only=True))

    def forward(self, x: Tensor) -> Tensor:
        """Views [B, 3, S, S] to the model's pooled features [B, D]."""
        features: Tensor = self.network(x)
        return features


def _create(config: Timm.Config) -> Any:
    """The network with fresh weights.

    Raises:
        UserError: timm is not installed, or has no such model, or the model lacks an option.
    """
    try:
        import timm
    except ModuleNotFoundError:
        raise UserError(f"the backbone {config.name} needs timm: pip install -e '.[timm]'") from None
    if not timm.is_model(config.name):
        hint = suggest(
            config.name, timm.list_models(), otherwise="timm.list_models() has their names", count=3
        )
        raise UserError(f"timm has no model {config.name}: {hint}")
    options: dict[str, Any] = {}
    if config.image_size is not None:
        options["img_size"] = config.image_size
    if config.drop_path:
        options["drop_path_rate"] = config.drop_path
    try:
        return timm.create_model(config.name, pretrained=False, num_classes=0, **options)
    except TypeError as error:
        known = {"img_size": "image-size", "drop_path_rate": "drop-path"}
        unknown = next((option for name, option in known.items() if f"'{name}'" in str(error)), None)
        if unknown is None:
            raise
        raise UserError(f"timm's {config.name} has no such option: leave out --backbone.{unknown}") from None
