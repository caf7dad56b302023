"""A network that somebody else trained, as a row of the tables.

`python -m burn import-checkpoint` makes an artifact folder of a released file, and an overlay that
names its weights here. It is of one stage, `precision`; the file does not say which, see
burn.released.read. The other stages hold the same weights and are not examined. The row depends on
the weights by their SHA-256.
"""

from typing import Annotated, Literal

from pydantic import Field

from burn.errors import UserError
from burn.experiment.schema import STAGES
from burn.places import METRICS, named
from burn.training.method import Method as Base
from burn.training.method import Recipe as BaseRecipe


class Recipe(BaseRecipe):
    checkpoint: str = Field(None, validate_default=True)  # weights.safetensors of an artifact
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] = Field(None, validate_default=True)
    precision: Literal[STAGES] = "binary"  # binact: a file of stage 1


class Method(Base):
    trains = False

    def __init__(self, recipe, context):
        super().__init__(recipe, context)
        from burn.networks import build
        from burn.training.existing import existing

        weights, config = existing(recipe.checkpoint, recipe.sha256, "recipe")
        if config.get("arch") != "reactnet":
            raise UserError(
                f"recipe.checkpoint: found a {config.get('arch')} in {recipe.checkpoint}; "
                "expected a binary network"
            )
        where = f"recipe.checkpoint: {recipe.checkpoint}"
        file = named(recipe.checkpoint).parent / METRICS
        network = build.fill(build.described(file), weights["network"], where)
        self.networks = {"network": network.eval().requires_grad_(False)}
        self.facts = {
            "imported": recipe.precision,
            "sha256": recipe.sha256,
            "train_images": 0,
            "stand_in": False,
        }
