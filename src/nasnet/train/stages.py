"""The pictures of each stage of a recipe, and the loader of the stage under way."""

from __future__ import annotations

from collections.abc import Sequence

from nasnet.pictures.batch_processes import Batches, open_loader
from nasnet.pictures.batches import Failure, LoaderOptions
from nasnet.pictures.sources import Example
from nasnet.train.loop import Replicas
from nasnet.train.recipe import Stage, TrainRecipe


def of_stage(examples: Sequence[Example], stage: Stage) -> list[Example]:
    """The pictures a stage shows."""
    return [e for e in examples if not e.id.startswith(stage.without or ("\0",))]


class Loaders:
    """The loader of the stage under way; closed when the next stage begins."""

    def __init__(
        self,
        examples: Sequence[Example],
        recipe: TrainRecipe,
        replicas: Replicas,
        failures: dict[str, Failure],
        workers: int,
    ) -> None:
        self._examples = examples
        self._workers = workers
        self._recipe = recipe
        self._replicas = replicas
        self._failures = failures
        self._stage: object = None
        self._loader: Batches | None = None

    def of(self, epoch: int) -> Batches:
        """The loader an epoch is to use."""
        stage = self._recipe.stage(epoch)
        if self._loader is None or stage is not self._stage:
            self.close()
            teacher = self._recipe.teacher
            options = LoaderOptions(
                batch_size=stage.batch_size,
                size=(stage.size, stage.size),
                seed=self._recipe.train.seed,
                augment=self._recipe.augment,
                views=teacher.views if teacher else 0,
                crops=stage.crops,
                mixup=self._recipe.mixup,
                replica=(self._replicas.rank, self._replicas.world),
                cache_bytes=round(self._recipe.train.cache_gb * 1e9),
            )
            some = of_stage(self._examples, stage)
            self._loader = open_loader(
                some, options, processes=self._workers, on_failure=self._note
            )
            self._stage = stage
        return self._loader

    def _note(self, failure: Failure) -> None:
        self._failures[failure.id] = failure

    def close(self) -> None:
        """End the present loader's threads."""
        if self._loader is not None:
            self._loader.close()
            self._loader = None
