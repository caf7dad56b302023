"""A network that somebody else trained, as a row of the tables: a released checkpoint.

It is of one stage, `precision`; the file does not say which, see burn.released. The other stages
hold the same weights and are not examined. The row depends on the file by its SHA-256.
"""

from typing import Annotated, Literal

from pydantic import Field

from burn.methods.base import Method as Base
from burn.methods.base import Recipe as BaseRecipe
from burn.params import FORMATS, STAGES


class Recipe(BaseRecipe):
    checkpoint: str = Field(None, validate_default=True)  # a file of BURN or S2-BNN
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] = Field(None, validate_default=True)
    format: Literal[FORMATS] = "auto"
    precision: Literal[STAGES] = "binary"  # binact: a file of stage 1


class Method(Base):
    trains = False

    def __init__(self, recipe, context):
        super().__init__(recipe, context)
        from burn.released import identified, read

        path = identified(recipe.checkpoint, recipe.sha256, "recipe")
        found = read(path, recipe.format, fp=False, where=f"recipe.checkpoint: {path}")
        self.networks = found.networks
        self.facts = found.facts(recipe.precision) | {"sha256": recipe.sha256}
        self.facts |= {"train_images": 0, "stand_in": False}
