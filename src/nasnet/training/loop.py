"""The training loop: steps, moving averages of weights, checkpoints, resume, and what is logged.

Called by `finetune`, `train` and distillation; needs torch (extra `torch`).
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from nasnet.errors import TrainingError
from nasnet.loader import Loader, TrainBatch
from nasnet.torch_model import NASNet
from nasnet.training.checkpoint import read_checkpoint, write_checkpoint
from nasnet.training.identity import check_identity, comparable
from nasnet.training.objectives import Objective
from nasnet.training.optimizers import load_slots, make, slots
from nasnet.training.options import History, TrainEvent, TrainOptions, TrainResult
from nasnet.training.replicas import ALONE, Replicas, device_of, wrapped
from nasnet.training.schedules import factor
from nasnet.training.state import State, depths_of, seed_of
from nasnet.weights import Weights, read_safetensors, write_safetensors

__all__ = ["Trainer", "Validate"]

Validate = Callable[[Weights], Mapping[str, float]]
_CHECKPOINT = "checkpoint.safetensors"
_BEST = "best.safetensors"


class Trainer:
    """One training run in one folder; made anew in the same folder, it goes on where it was."""

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

        Args:
            network: what to train, with the weights it starts from.
            objective: what to minimize.
            options: how.
            folder: where checkpoints go.
            identity: what else the run depends on (data, start weights); a resumed run must have
                the same.
            trainable: which state-dict keys move.
            replicas: the processes that train together.
            labels: names of the classes, kept with the weights.
            on_event: told how far it is.
        """
        self.network = network
        self.objective = objective
        self.options = options
        self.folder = folder
        self.replicas = replicas
        self.labels = labels
        self._identity = {**identity, "options": comparable(options)}
        self._on_event = on_event or (lambda event: None)
        self.device = device_of(options.device, replicas)
        network.to(self.device, memory_format=torch.channels_last)
        for tensor in objective.tensors().values():
            tensor.data = tensor.data.to(self.device)
        self._set_behaviour()
        for key, parameter in network.named_parameters():
            parameter.requires_grad_(trainable(key))
        self._parameters = self._moving_parameters()
        if not self._parameters:
            raise TrainingError("nothing would move: every weight is frozen")
        decayed = frozenset(network.regularized())
        self._optimizer = make(
            self._parameters, options.optimizer, decayed=decayed, depth=depths_of(network)
        )
        self._ema = (
            {k: v.detach().clone() for k, v in network.state_dict().items()} if options.ema else {}
        )
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=options.precision == "f16")
        self._state = State()
        self._stop = False

    def _set_behaviour(self) -> None:
        behaviour = self.network.behaviour
        behaviour.decay = self.options.batch_norm_momentum
        behaviour.statistics = self.options.batch_norm
        behaviour.replica = (self.replicas.rank, self.replicas.world)
        behaviour.group = self.replicas.group
        behaviour.progress = torch.ones((), device=self.device)

    def _moving_parameters(self) -> dict[str, nn.Parameter]:
        own = {k: p for k, p in self.network.named_parameters() if p.requires_grad}
        others = {
            f"objective.{k}": t
            for k, t in self.objective.tensors().items()
            if isinstance(t, nn.Parameter)
        }
        return {**own, **others}

    @property
    def history(self) -> History:
        """One row an epoch that is done."""
        return self._state.history

    # -- checkpoints

    @property
    def checkpoint(self) -> Path:
        """Where the run's checkpoint is, once there is one."""
        return self.folder / _CHECKPOINT

    def resume(self) -> bool:
        """Go on from the folder's checkpoint; False if there is none.

        Raises:
            TrainingError: it is damaged, or belongs to a run of other data or options.
        """
        if not self.checkpoint.exists():
            return False
        tensors, saved = read_checkpoint(self.checkpoint)
        check_identity(saved.pop("identity"), self._identity, self.checkpoint)
        parts: dict[str, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            part, _, key = name.partition("/")
            parts.setdefault(part, {})[key] = tensor
        with torch.no_grad():
            own = self.network.state_dict()
            for key, value in parts["model"].items():
                own[key].copy_(value)
            for key, value in parts.get("ema", {}).items():
                self._ema[key].copy_(value)
            for key, value in parts.get("objective", {}).items():
                self.objective.tensors()[key].copy_(value)
        load_slots(self._optimizer, self._parameters, parts.get("optimizer", {}))
        self._scaler.load_state_dict(saved.pop("scaler"))
        best = saved.pop("best")
        self._state = State(**saved, best=-math.inf if best is None else best)
        return True

    def save(self) -> None:
        """Write the checkpoint; the one before stays until it is whole.

        Raises:
            OutputError: it cannot be written; the one before is kept.
        """
        if not self.replicas.writes:
            return
        tensors = {f"model/{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"ema/{k}": v for k, v in self._ema.items()}
        tensors |= {f"objective/{k}": v for k, v in self.objective.tensors().items()}
        memory = slots(self._optimizer, self._parameters)
        tensors |= {f"optimizer/{k}": v for k, v in memory.items()}
        state = {
            **asdict(self._state),
            "best": None if math.isinf(self._state.best) else self._state.best,
            "identity": self._identity,
            "scaler": self._scaler.state_dict(),
        }
        write_checkpoint(self.checkpoint, tensors, state)

    # -- the run

    def fit(self, loader: Callable[[int], Loader], validate: Validate | None = None) -> TrainResult:
        """Train to the end.

        Args:
            loader: the batches of an epoch, by its number: pictures may change size on the way.
            validate: judges weights after an epoch; `accuracy` of what it tells chooses the best.

        Raises:
            TrainingError: the loss is no finite number, or nothing moved.
            OutputError: a checkpoint cannot be written.
            KeyboardInterrupt: Ctrl-C; the step under way was finished and saved.
        """
        state, options = self._state, self.options
        model = wrapped(self.network, self.replicas)
        forward: Any = torch.compile(model) if options.compile else model
        early = self._out_of_patience()
        with self._stopping_cleanly():
            while state.epoch < options.epochs and not early:
                self._epoch(loader(state.epoch), forward)
                self._finish_epoch(validate)
                early = self._out_of_patience()
                self.save()
        best = self.folder / _BEST
        weights = read_safetensors(best) if state.best_epoch and best.exists() else self.weights()
        return TrainResult(
            weights=weights,
            history=state.history,
            best_epoch=state.best_epoch or state.epoch,
            stopped_early=early and state.epoch < options.epochs,
            seconds=state.seconds,
        )

    def weights(self) -> Weights:
        """The present weights, their moving average if one is kept, without auxiliary head."""
        arrays = self._ema or self.network.state_dict()
        kept = self.network.weights(
            source=f"trained in {self.folder.name}", labels=self.labels, state=arrays
        )
        trunk = {k: v for k, v in kept.arrays.items() if not k.startswith("aux_")}
        return replace(kept, arrays=trunk, status="modified", averaged=bool(self._ema))

    def _epoch(self, loader: Loader, forward: Any) -> None:  # noqa: ANN401
        state = self._state
        self.network.train()
        steps = loader.steps()
        began = last_saved = time.monotonic()
        before = state.seconds
        first = {k: p.detach().clone() for k, p in self._parameters.items()}
        watched = state.moves == 0
        accumulate = self.options.accumulate
        for batch in loader.epoch(state.epoch, start=state.step):
            last = (batch.step + 1) % accumulate == 0 or batch.step + 1 == steps
            row = self._step(batch, steps, forward, last=last)
            state.step = batch.step + 1
            state.seconds = before + time.monotonic() - began
            self._tell("step", step=state.step, steps=steps, row=row)
            if last and watched and state.moves:
                self._check_moved(first)
                watched = False
            if not last:
                continue
            if self.replicas.agree(self._stop):
                self.save()
                raise KeyboardInterrupt
            if time.monotonic() - last_saved > self.options.checkpoint_seconds:
                self.save()
                last_saved = time.monotonic()

    def _step(
        self,
        batch: TrainBatch,
        steps: int,
        forward: Any,  # noqa: ANN401
        *,
        last: bool,
    ) -> dict[str, float]:
        state, options = self._state, self.options
        position = state.epoch + batch.step / steps
        share = factor(
            options.schedule, epoch=position, step=options.accumulate / steps, epochs=options.epochs
        )
        rate = options.optimizer.rate * share
        # Whatever is random in a step comes from its number: a resumed run draws the same.
        torch.manual_seed(seed_of(options.seed, state.epoch, batch.step))
        if options.path_dropout == "ramp":
            ramp = min(1.0, state.moves / self.network.spec.total_training_steps)
            self.network.behaviour.progress.fill_(ramp)
        images = torch.from_numpy(batch.images).to(self.device, non_blocking=True)
        pixels = images.permute(0, 3, 1, 2).to(torch.float32) / 255  # NHWC in memory, as it came
        alone = self.replicas.group is None
        with nullcontext() if last or alone else forward.no_sync():
            with self._autocast():
                loss, metrics = self.objective.loss(forward, pixels, batch)
            told = {"loss": float(loss.detach())}
            told |= {name: float(value) for name, value in metrics.items()}
            if self.replicas.agree(not math.isfinite(told["loss"])):
                raise self._no_number(batch, told["loss"])
            self._scaler.scale(loss / options.accumulate).backward()
        if last:
            self._move(rate)
        told = self.replicas.mean(told)
        weight = len(batch.labels)
        for name, value in told.items():
            state.sums[name] = state.sums.get(name, 0.0) + value * weight
        state.sums["pictures"] = state.sums.get("pictures", 0.0) + weight
        return {**told, "learning_rate": rate}

    def _autocast(self) -> Any:  # noqa: ANN401
        kinds = {"bf16": torch.bfloat16, "f16": torch.float16}
        if self.options.precision not in kinds:
            return nullcontext()
        return torch.autocast(self.device.type, kinds[self.options.precision])

    def _move(self, rate: float) -> None:
        """One optimizer step, and the moving average after it."""
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        self._scaler.unscale_(self._optimizer)
        self.replicas.average_gradients(
            [t for t in self.objective.tensors().values() if isinstance(t, nn.Parameter)]
        )
        if self.options.clip:
            nn.utils.clip_grad_norm_(list(self._parameters.values()), self.options.clip)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._optimizer.zero_grad(set_to_none=True)
        self._state.moves += 1
        if self._ema:
            # TensorFlow's ramp: young averages forget quickly (`num_updates`).
            moves = self._state.moves
            decay = min(self.options.ema, (1 + moves) / (10 + moves))
            present = self.network.state_dict()
            with torch.no_grad():
                torch._foreach_lerp_(
                    list(self._ema.values()), [present[k] for k in self._ema], 1 - decay
                )

    def _finish_epoch(self, validate: Validate | None) -> None:
        state = self._state
        pictures = state.sums.pop("pictures", 0.0)
        row = {"epoch": float(state.epoch + 1)}
        row |= {f"train_{name}": total / pictures for name, total in state.sums.items()}
        row["learning_rate"] = float(self._optimizer.param_groups[-1]["lr"])
        row["seconds"] = state.seconds
        if self.replicas.writes:
            weights = self.weights()
            found = dict(validate(weights)) if validate is not None else {}
            row |= {f"validation_{name}": value for name, value in found.items()}
            if found.get("accuracy", -math.inf) > state.best:
                state.best, state.best_epoch = found["accuracy"], state.epoch + 1
                write_safetensors(weights, self.folder / _BEST)
        state.history.append(row)
        state.epoch, state.step, state.sums = state.epoch + 1, 0, {}
        self._tell("epoch", row=row)

    def _out_of_patience(self) -> bool:
        state, patience = self._state, self.options.patience
        done = bool(patience and state.best_epoch and state.epoch - state.best_epoch >= patience)
        return self.replicas.agree(done)

    # -- what can go wrong

    def _no_number(self, batch: TrainBatch, loss: float) -> TrainingError:
        kept = (
            f"the checkpoint before it is kept in {self.checkpoint}"
            if self.checkpoint.exists()
            else "there was no checkpoint yet"
        )
        return TrainingError(
            f"the loss became {loss} in epoch {self._state.epoch + 1}, step {batch.step + 1} "
            f"(pictures {batch.ids[0]} and on); {kept}. Lower the learning rate, or clip gradients"
        )

    def _check_moved(self, first: Mapping[str, Tensor]) -> None:
        """Say so if the first step changed nothing, or not everything."""
        still = [k for k, p in self._parameters.items() if torch.equal(p.detach(), first[k])]
        if len(still) == len(first):
            raise TrainingError(
                "nothing moved in the first step: the learning rate is too small, or no gradient "
                "reaches the weights"
            )
        if still:
            text = f"{len(still)} of {len(first)} tensors did not move in the first step"
            self._tell("note", text=f"{text}, such as {still[0]}")

    @contextmanager
    def _stopping_cleanly(self) -> Iterator[None]:
        """Let Ctrl-C and SIGTERM finish the step under way; a second one stops at once."""

        def stop(number: int, frame: object) -> None:
            if self._stop:
                raise KeyboardInterrupt
            self._stop = True

        try:
            before = {n: signal.signal(n, stop) for n in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # not the main thread: whoever runs it decides
            before = {}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

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
            self._on_event(
                TrainEvent(
                    kind=kind,
                    epoch=self._state.epoch,
                    epochs=self.options.epochs,
                    step=step,
                    steps=steps,
                    done=int(self._state.sums.get("pictures", 0)) * self.replicas.world,
                    row=row or {},
                    text=text,
                )
            )
