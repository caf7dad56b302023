"""The untrained network: the floor that every table needs."""

from burn.methods.base import Method as Base
from burn.methods.base import Recipe as Recipe


class Method(Base):
    views = 0
    neck = False
    trains = False
    calibrates = True
