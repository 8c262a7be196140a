"""The training loop: steps, moving averages of weights, checkpoints, resume, and what is logged.

Needs torch (extra `torch`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from nasnet.compute.torch.model import NASNet
from nasnet.errors import TrainingError
from nasnet.pictures.batch_processes import Batches
from nasnet.pictures.batches import TrainBatch
from nasnet.system import Stopping
from nasnet.train.loop import faults
from nasnet.train.loop.checkpoint import (
    State,
    check_identity,
    comparable,
    due,
    put_back,
    read_checkpoint,
    seed_of,
    tidy,
    write_checkpoint,
)
from nasnet.train.loop.events import History, TrainEvent, TrainResult
from nasnet.train.loop.optimizers import depths_of, factor, load_slots, make, slots
from nasnet.train.loop.passes import Captured, Objective, Pass, Plain, Work, clip_gradients, prepare
from nasnet.train.loop.replicas import ALONE, Replicas, device_of, memory_kept, resolved, wrapped
from nasnet.train.recipe import TrainOptions
from nasnet.train.run_files import BEST, CHECKPOINT
from nasnet.weights.weights import Weights, read_safetensors, write_safetensors

Validate = Callable[[Weights], Mapping[str, float]]
_SMALLEST_SCALE = 1 / 16  # of float16 losses: what overflows at this one does so at any


class Trainer:
    """One training run in one folder; made anew in the same folder, it continues."""

    def __init__(
        self,
        network: NASNet,
        objective: Objective,
        options: TrainOptions,
        folder: Path,
        *,
        identity: Mapping[str, Any],
        trainable: Callable[[str], bool] = lambda key: True,
        replicas: Replicas = ALONE,
        labels: tuple[str, ...] = (),
        on_event: Callable[[TrainEvent], None] | None = None,
    ) -> None:
        """Prepare a run.

        The network has the weights it starts from; of its parameters the state-dict keys
        `trainable` move. A resumed run must have the same `identity`: what else it depends on
        (data, start weights). `labels` are kept with the weights.
        """
        self.network = network
        self.objective = objective
        self.options = options
        self.folder = folder
        self.replicas = replicas
        self.labels = labels
        self._identity = {**identity, "options": comparable(options)}
        self.listeners = [on_event] if on_event else []
        self.device = device_of(options.device, replicas)
        network.to(self.device, memory_format=torch.channels_last)
        for tensor in objective.tensors().values():
            tensor.data = tensor.data.to(self.device)
        for key, parameter in network.named_parameters():
            parameter.requires_grad_(trainable(key))
        prepare(network, options, replicas, self.device)
        own = {k: p for k, p in network.named_parameters() if p.requires_grad}
        if not own:
            raise TrainingError("nothing would move: every weight is frozen")
        self._parameters = own | self._trained_along()
        decayed = frozenset(network.regularized())
        self._optimizer = make(
            self._parameters, options.optimizer, decayed=decayed, depth=depths_of(network)
        )
        present = network.state_dict() if options.ema else {}
        self._ema = {k: v.detach().clone() for k, v in present.items()}
        self._present = list(present.values())  # what is averaged, where it lies
        self._precision = resolved(options.precision, self.device)
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=self._precision == "f16")
        # float16's scale changes between steps; other processes' gradients come in between.
        self._captures = (
            self.device.type == "cuda"
            and self._precision != "f16"
            and replicas.group is None
            and not options.compile
        )
        self._state = State()
        self._stopping = Stopping()

    def _trained_along(self) -> dict[str, nn.Parameter]:
        tensors = self.objective.tensors().items()
        return {f"objective.{k}": t for k, t in tensors if isinstance(t, nn.Parameter)}

    @property
    def history(self) -> History:
        """One row an epoch that is done."""
        return self._state.history

    # -- checkpoints

    @property
    def checkpoint(self) -> Path:
        """Where the run's checkpoint is, once there is one."""
        return self.folder / CHECKPOINT

    def resume(self) -> bool:
        """Go on from the folder's checkpoint; False if there is none.

        Raises:
            TrainingError: it is damaged, belongs to a run of other data or options, or not all
                processes see the same one.
        """
        if self.replicas.writes:
            tidy(self.checkpoint)
        there = self.checkpoint.exists()
        if there:
            tensors, saved = read_checkpoint(self.checkpoint)
            check_identity(saved.pop("identity", {}), self._identity, self.checkpoint)
            try:
                self._take(tensors, saved)
            except (KeyError, TypeError, ValueError, RuntimeError) as error:
                raise TrainingError(
                    f"{self.checkpoint}: the checkpoint does not fit this network: {error}"
                ) from error
        if not self.replicas.same(self._state.moves if there else -1):
            raise TrainingError(
                f"not all processes see the same {self.checkpoint}: the folder must lie on a file "
                "system that all of them share"
            )
        return there

    def _take(self, tensors: Mapping[str, Tensor], saved: dict[str, Any]) -> None:
        """Put everything back as `save` took it."""
        memory = put_back(tensors, self._tensors())
        load_slots(self._optimizer, self._parameters, memory)
        self._scaler.load_state_dict(saved.pop("scaler"))
        best = saved.pop("best")
        self._state = State(**saved, best=-math.inf if best is None else best)

    def save(self) -> None:
        """Write the checkpoint; the one before stays until it is whole.

        Raises:
            OutputError: it cannot be written; the one before is kept.
            TrainingError: a weight is no finite number; the one before is kept.
        """
        self._check_weights()
        if not self.replicas.writes:
            return
        memory = slots(self._optimizer, self._parameters)
        tensors = self._tensors() | {f"optimizer/{k}": v for k, v in memory.items()}
        state = {
            **asdict(self._state),
            "best": None if math.isinf(self._state.best) else self._state.best,
            "identity": self._identity,
            "scaler": self._scaler.state_dict(),
        }
        write_checkpoint(self.checkpoint, tensors, state)

    def _tensors(self) -> dict[str, Tensor]:
        """What a checkpoint holds but for the optimizer's memory."""
        tensors = {f"model/{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"ema/{k}": v for k, v in self._ema.items()}
        return tensors | {f"objective/{k}": v for k, v in self.objective.tensors().items()}

    def _check_weights(self) -> None:
        if not faults.all_finite(self._tensors().values()):
            raise faults.no_weights(self._state.epoch, self._state.step, self.checkpoint)

    def fit(
        self, loader: Callable[[int], Batches], validate: Validate | None = None
    ) -> TrainResult:
        """Train to the end.

        The loader is the one for an epoch, by its number: pictures may change size on the way.
        `validate` judges weights after an epoch; the best has the highest `accuracy` it tells.

        Raises:
            TrainingError: the loss is no finite number, or nothing moved.
            OutputError: a checkpoint cannot be written.
            KeyboardInterrupt: Ctrl-C, SIGTERM or SIGHUP; the step under way was finished and saved.
        """
        state, options = self._state, self.options
        model: Any = wrapped(self.network, self.replicas, alike=options.sync_batch_norm)
        work = Work(
            objective=self.objective,
            forward=torch.compile(model) if options.compile else model,
            device=self.device,
            precision=self._precision,
            scale=self._scaler.scale,
        )
        compute: Pass = Captured(work, self.network) if self._captures else Plain(work)
        no_sync = model.no_sync if self.replicas.group is not None else nullcontext
        early = self._out_of_patience()
        with self._stopping, memory_kept():
            while state.epoch < options.epochs and not early:
                batches = loader(state.epoch)
                self._epoch(batches, compute, no_sync)
                judged = due(options, state.epoch, batches.steps())
                self._finish_epoch(validate if judged else None, batches.steps())
                early = self._out_of_patience()
                if judged:
                    self.save()
                if state.epoch < options.epochs and not early:
                    self._stop_if_asked()
        if self.replicas.agree(not state.moves):  # nor here
            raise faults.nothing_moved("the whole run")
        return TrainResult(
            weights=self.best(),
            history=state.history,
            best_epoch=state.best_epoch or state.epoch,
            stopped_early=early and state.epoch < options.epochs,
            seconds=state.seconds,
        )

    def best(self) -> Weights:
        """The weights of the best epoch by validation accuracy, else the present ones."""
        file = self.folder / BEST
        return (
            read_safetensors(file) if self._state.best_epoch and file.exists() else self.weights()
        )

    def weights(self) -> Weights:
        """The present weights, their moving average if one is kept, without auxiliary head."""
        arrays = self._ema or self.network.state_dict()
        kept = self.network.weights(
            source=f"trained in {self.folder.name}", labels=self.labels, state=arrays
        )
        trunk = {k: v for k, v in kept.arrays.items() if not k.startswith("aux_")}
        return replace(kept, arrays=trunk, status="modified", averaged=bool(self._ema))

    def _epoch(self, loader: Batches, compute: Pass, no_sync: Callable[[], Any]) -> None:
        state = self._state
        self.network.train()
        steps = loader.steps()
        began = last_saved = time.monotonic()
        before = state.seconds
        watched = state.moves == 0
        first = {k: p.detach().clone() for k, p in self._parameters.items()} if watched else {}
        for batch in loader.epoch(state.epoch, start=state.step):
            last = (batch.step + 1) % self.options.accumulate == 0 or batch.step + 1 == steps
            with nullcontext() if last else no_sync():
                row = self._step(batch, steps, compute, last=last)
            state.step = batch.step + 1
            state.seconds = before + time.monotonic() - began
            self._tell("step", step=state.step, steps=steps, row=row)
            if last and watched and state.moves:
                text = faults.unmoved(self._parameters, first)
                if text:
                    self._tell("note", text=text)
                watched, first = False, {}
            if not last:
                continue
            self._stop_if_asked(save=True)
            if time.monotonic() - last_saved > self.options.checkpoint_seconds:
                self.save()
                last_saved = time.monotonic()

    def _stop_if_asked(self, *, save: bool = False) -> None:
        if self.replicas.agree(self._stopping.asked):
            if save:
                self.save()
                self.replicas.agree(False)  # nobody goes before it is written
            raise KeyboardInterrupt

    def _rate(self, step: int, steps: int) -> float:
        options, epoch = self.options, self._state.epoch + step / steps
        by = options.accumulate / steps
        share = factor(options.schedule, epoch=epoch, step=by, epochs=options.epochs)
        return options.optimizer.learning_rate * share

    def _step(
        self, batch: TrainBatch, steps: int, compute: Pass, *, last: bool
    ) -> dict[str, float]:
        state, options = self._state, self.options
        rate = self._rate(batch.step, steps)
        # Whatever is random in a step comes from its number: a resumed run draws the same.
        torch.manual_seed(seed_of(options.seed, state.epoch, batch.step))
        if options.path_dropout == "ramp":
            ramp = min(1.0, state.moves / self.network.spec.total_training_steps)
            self.network.behaviour.progress.fill_(ramp)
        begun = batch.step // options.accumulate * options.accumulate
        together = min(options.accumulate, steps - begun)  # an epoch's last ones may be fewer
        told = compute(batch, together)
        # Weights have not moved yet: gradients of such a loss are never taken.
        if self.replicas.agree(not math.isfinite(told["loss"])):
            raise faults.no_loss(told["loss"], batch, self.checkpoint)
        if last:
            self._move(rate, batch)
        told = self.replicas.mean(told)
        weight = len(batch.labels)
        for name, value in told.items():
            state.sums[name] = state.sums.get(name, 0.0) + value * weight
        state.sums["pictures"] = state.sums.get("pictures", 0.0) + weight
        return {**told, "learning_rate": rate}

    def _move(self, rate: float, batch: TrainBatch) -> None:
        """One optimizer step, and the moving average after it."""
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        self.replicas.average_gradients(self._trained_along().values())
        self._scaler.unscale_(self._optimizer)
        norm = clip_gradients(self._parameters.values(), self.options.clip)
        scaled = self._scaler.is_enabled()
        scale = self._scaler.get_scale()
        if not math.isfinite(norm) and (not scaled or scale < _SMALLEST_SCALE):
            raise faults.no_gradient(batch, self.checkpoint)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._optimizer.zero_grad(set_to_none=not self._captures)
        if scaled and self._scaler.get_scale() < scale:
            return  # float16 overflowed: the scaler left the step out and takes a smaller scale
        self._state.moves += 1
        if self._ema:
            # TensorFlow's ramp: young averages forget quickly (`num_updates`).
            moves = self._state.moves
            decay = min(self.options.ema, (1 + moves) / (10 + moves))
            with torch.no_grad():
                torch._foreach_lerp_(list(self._ema.values()), self._present, 1 - decay)

    def _finish_epoch(self, validate: Validate | None, steps: int) -> None:
        state = self._state
        self._check_weights()
        pictures = state.sums.pop("pictures", 0.0)
        row = {"epoch": float(state.epoch + 1)}
        row |= {f"train_{name}": total / pictures for name, total in state.sums.items()}
        row["learning_rate"] = self._rate(steps - 1, steps)
        row["seconds"] = state.seconds
        if self.replicas.writes:
            weights = self.weights()
            found = faults.validated(validate, weights, state.epoch, self.checkpoint)
            row |= {f"validation_{name}": value for name, value in found.items()}
            if found.get("accuracy", -math.inf) > state.best:
                state.best, state.best_epoch = found["accuracy"], state.epoch + 1
                write_safetensors(weights, self.folder / BEST)
        state.history.append(row)
        state.epoch, state.step, state.sums = state.epoch + 1, 0, {}
        self._tell("epoch", row=row)

    def _out_of_patience(self) -> bool:
        state, patience = self._state, self.options.patience
        done = bool(patience and state.best_epoch and state.epoch - state.best_epoch >= patience)
        return self.replicas.agree(done)

    def _tell(
        self,
        kind: Literal["step", "epoch", "note"],
        *,
        step: int = 0,
        steps: int = 0,
        row: Mapping[str, float] | None = None,
        text: str = "",
    ) -> None:
        if self.replicas.writes:
            event = TrainEvent(
                kind=kind,
                epoch=self._state.epoch,
                epochs=self.options.epochs,
                step=step,
                steps=steps,
                done=int(self._state.sums.get("pictures", 0)) * self.replicas.world,
                row=row or {},
                text=text,
            )
            for listen in self.listeners:
                listen(event)
