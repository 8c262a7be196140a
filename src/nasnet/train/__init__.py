"""Training from scratch: recipes as tables, and the run that follows one.

Called by `nasnet train`; needs torch (extra `torch`), and for distillation the extra `distill`.
"""

from __future__ import annotations

from nasnet.train.recipe import TrainRecipe, read_recipe, shipped_recipes
from nasnet.train.run import TrainSummary, train

__all__ = ["TrainRecipe", "TrainSummary", "read_recipe", "shipped_recipes", "train"]
