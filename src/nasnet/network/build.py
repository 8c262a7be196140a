"""From a spec and a size to a plan: how TF-Slim wires the cells together.

The only room that knows the wiring; called by whoever needs a plan, imports `cells` and `plan`.
"""

from __future__ import annotations

import operator

from nasnet.errors import InputError, check_range
from nasnet.network.layers import Layers
from nasnet.network.plan import (
    IMAGES,
    PADDINGS,
    Borders,
    Plan,
)
from nasnet.network.spec import Genotype, Spec
from nasnet.text import check_known

MIN_SIZE, MAX_SIZE = 32, 8192  # pixels of a side


def check_sides(size: object) -> tuple[int, int]:
    """Height and width of pictures, in pixels, as a caller gave them.

    Raises:
        InputError: they are no two whole numbers, or below 32 or above 8,192.
    """
    try:
        height, width = map(operator.index, size)  # type: ignore[call-overload]
        whole = not any(isinstance(side, bool) for side in size)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        whole = False
    if not whole:
        raise InputError(
            f"a size is height and width in whole pixels, such as (224, 224), not {size!r}"
        )
    if min(height, width) < MIN_SIZE:
        raise InputError(f"pictures of {height}x{width} px are too small: {MIN_SIZE} px at least")
    if max(height, width) > MAX_SIZE:  # the maps of one picture would take all memory there is
        raise InputError(f"pictures of {height}x{width} px are too large: {MAX_SIZE:,} px at most")
    return height, width


def sides_of(text: str) -> tuple[int, int]:
    """Height and width of a size as files say it, such as `224x224`.

    Raises:
        InputError: it is none, or out of bounds.
    """
    sides = text.split("x")
    return check_sides([int(one) for one in sides] if all(map(str.isdecimal, sides)) else text)


def build_plan(
    spec: Spec,
    *,
    height: int | None = None,
    width: int | None = None,
    num_classes: int | None = None,
    aux_head: bool = False,
    padding: Borders = "slim",
) -> Plan:
    """Build the plan of a network, as TF-Slim's `build_nasnet_{mobile,large,cifar}` wire it.

    Args:
        spec: the network.
        height: input height in pixels, 32 to 8,192; the spec's own size if not given.
        width: input width in pixels, the network's own if not given.
        num_classes: classes of the classifier, background included; 0 leaves it out (the feature
            vector is then the last endpoint); None means as many as the spec says.
        aux_head: include the auxiliary classifier that is used in training only.
        padding: `slim`, or `keras` for the numbers of keras.applications (2.2.3 and later), whose
            strided pools read a zero-padded map: zeros count in averages and win over negatives.

    Raises:
        InputError: no such padding, fewer than 0 classes, a size below 32 or above 8,192 px, or too
            small for the auxiliary head.
    """
    height = spec.image_size if height is None else height
    width = spec.image_size if width is None else width
    classes = spec.num_classes if num_classes is None else num_classes
    height, width = check_sides((height, width))
    check_known("padding", padding, PADDINGS)
    check_range("num_classes", classes, "[0, inf)")
    net = _Builder(spec, zeros=padding == "keras")
    # The hub modules' own first step; Slim's preprocessing, (x - 0.5) * 2, gives the same bits.
    rescaled = net.add("rescale", "rescale", (IMAGES,), (height, width, 3), scale=2.0, offset=-1.0)
    outputs: list[str | None] = [None]
    cell_number = 0
    if spec.stem == "imagenet":
        net.conv("conv0", rescaled, spec.stem_filters, kernel=3, stride=2, valid=True)
        outputs.append(net.batch_norm("conv0_bn", "conv0"))
        for index in range(2):
            filters = int(spec.num_conv_filters / spec.filter_scaling_rate ** (2 - index))
            name = f"cell_stem_{index}"
            out = net.cell(name, spec.reduction, outputs[-1], outputs[-2], filters, 2, cell_number)
            outputs.append(out)
            cell_number += 1
    else:
        net.conv("l1_stem_3x3", rescaled, spec.stem_filters, kernel=3)
        outputs.append(net.batch_norm("l1_stem_bn", "l1_stem_3x3"))
    net.endpoints["Stem"] = _present(outputs[-1])

    scaling = 1.0
    reductions = spec.reduction_indices
    aux_cell = reductions[1] - 1 if aux_head and len(reductions) >= 2 else None
    for index in range(spec.num_cells):
        previous = outputs[-2]
        if index in reductions:
            scaling *= spec.filter_scaling_rate
            filters = int(spec.num_conv_filters * scaling)
            name = f"reduction_cell_{reductions.index(index)}"
            out = net.cell(name, spec.reduction, outputs[-1], outputs[-2], filters, 2, cell_number)
            net.endpoints[f"Reduction_Cell_{reductions.index(index)}"] = out
            outputs.append(out)
            cell_number += 1
        if not spec.skip_reduction_layer_input:
            previous = outputs[-2]
        filters = int(spec.num_conv_filters * scaling)
        out = net.cell(f"cell_{index}", spec.normal, outputs[-1], previous, filters, 1, cell_number)
        net.endpoints[f"Cell_{index}"] = out
        outputs.append(out)
        cell_number += 1
        if index == aux_cell and classes:
            net.aux_head(f"aux_{index}/aux_logits", out, classes)
    net.head(_present(outputs[-1]), classes)
    return Plan(
        spec=spec,
        height=height,
        width=width,
        operations=tuple(net.operations.values()),
        endpoints=dict(net.endpoints),
        parameters=dict(net.parameters),
    )


def _present(name: str | None) -> str:
    if name is None:
        raise AssertionError("the builder read an output before it was made")
    return name


class _Builder(Layers):
    """Puts layers together to cells, and cells to the network."""

    def factorized_reduction(self, scope: str, source: str, filters: int, stride: int) -> str:
        """TF-Slim's `factorized_reduction`: even pixels and odd pixels, side by side."""
        if stride == 1:
            self.conv(f"{scope}/path_conv", source, filters)
            return self.batch_norm(f"{scope}/path_bn", f"{scope}/path_conv")
        height, width, channels = self.shape(source)
        half = filters // 2
        even = self.conv(f"{scope}/path1_conv", source, half, stride=stride)
        shifted = self.add(f"{scope}/path2_shift", "shift", (source,), (height, width, channels))
        odd = self.conv(f"{scope}/path2_conv", shifted, filters - half, stride=stride)
        rows, columns, _ = self.shape(even)
        both = self.add(f"{scope}/paths", "concat", (even, odd), (rows, columns, filters))
        return self.batch_norm(f"{scope}/final_path_bn", both)

    def adjust_previous(self, scope: str, source: str, previous: str | None, filters: int) -> str:
        """TF-Slim's `_reduce_prev_layer`: give the previous output this cell's size and width."""
        if previous is None:
            return source
        shape = self.shape(previous)
        if shape[:2] != self.shape(source)[:2]:
            return self.factorized_reduction(scope, self.relu(previous), filters, 2)
        if shape[2] != filters:
            self.conv(f"{scope}/prev_1x1", self.relu(previous), filters)
            return self.batch_norm(f"{scope}/prev_bn", f"{scope}/prev_1x1")
        return previous

    def cell(
        self,
        scope: str,
        genotype: Genotype,
        source: str | None,
        previous: str | None,
        filters: int,
        stride: int,
        number: int,
    ) -> str:
        source = _present(source)
        if filters < 2:
            raise InputError(
                f"nasnet_{self.spec.name}: {scope} would have {filters} filters: take more than "
                f"{self.spec.num_conv_filters} num_conv_filters"
            )
        if 1 in genotype.hiddenstate_indices or 1 in genotype.output:
            adjusted = self.adjust_previous(scope, source, previous, filters)
        else:
            adjusted = source  # stands for a state that nothing reads
        self.conv(f"{scope}/1x1", self.relu(source), filters)
        states = [self.batch_norm(f"{scope}/beginning_bn", f"{scope}/1x1"), adjusted]
        drops_paths = self.spec.drop_path_keep_prob < 1.0
        for pair, how in enumerate(genotype.combine):
            sides = []
            for side, position in (("left", 2 * pair), ("right", 2 * pair + 1)):
                index = genotype.hiddenstate_indices[position]
                operation = genotype.operations[position]
                branch = f"{scope}/comb_iter_{pair}/{side}"
                # Only the cell's own inputs are strided: later states have the new size already.
                step = stride if index < 2 else 1
                out = self.branch(branch, operation, states[index], filters, step)
                if drops_paths and operation != "none":
                    shape = self.shape(out)
                    out = self.add(f"{branch}/drop_path", "drop_path", (out,), shape, cell=number)
                sides.append(out)
            rows, columns, width = self.shape(sides[0])
            shape = (rows, columns, width if how == "add" else 2 * width)
            states.append(self.add(f"{scope}/comb_iter_{pair}/combine", how, sides, shape))
        rows, columns, _ = self.shape(states[-1])
        parts = []
        for index in genotype.output:
            state, shape = states[index], self.shape(states[index])
            # What a block concatenates is twice as wide, and stays so.
            if index < 2 and shape != (rows, columns, filters):
                step = 1 if shape[:2] == (rows, columns) else 2
                reduction = f"{scope}/cell_output/reduction_{index}"
                state = self.factorized_reduction(reduction, state, filters, step)
            parts.append(state)
        out_shape = (rows, columns, sum(self.shape(part)[2] for part in parts))
        return self.add(f"{scope}/cell_output/concat", "concat", parts, out_shape)

    def aux_head(self, scope: str, source: str, classes: int) -> None:
        """TF-Slim's `_build_aux_head`: what helps the middle of the network learn."""
        relu = self.relu(source)
        if min(self.shape(relu)[:2]) < 5:
            raise InputError(
                f"the auxiliary head needs a 5x5 map, {source} has {self.shape(relu)[0]}x"
                f"{self.shape(relu)[1]} px: use larger pictures or leave the head out"
            )
        rows, columns, _ = self.window(relu, (5, 5), (3, 3), valid=True)
        shape = (rows, columns, self.shape(relu)[2])
        pooled = self.add(f"{scope}/pool", "avg_pool", (relu,), shape, kernel=(5, 5), stride=3)
        self.conv(f"{scope}/proj", pooled, 128)
        narrow = self.relu(self.batch_norm(f"{scope}/aux_bn0", f"{scope}/proj"))
        self.conv(f"{scope}/Conv", narrow, 768, kernel=(rows, columns), valid=True)
        wide = self.relu(self.batch_norm(f"{scope}/aux_bn1", f"{scope}/Conv"))
        flat = self.add(f"{scope}/flatten", "flatten", (wide,), (768,))
        self.endpoints["AuxLogits"] = self.dense(f"{scope}/FC", flat, classes)

    def head(self, source: str, classes: int) -> None:
        relu = self.relu(source)
        pooled = self.add("final_layer/global_pool", "global_pool", (relu,), (self.shape(relu)[2],))
        self.endpoints["global_pool"] = pooled
        if not classes:
            return
        if self.spec.dense_dropout_keep_prob < 1.0:
            shape = self.operations[pooled].shape
            pooled = self.add("final_layer/dropout", "dropout", (pooled,), shape)
        self.endpoints["Logits"] = self.dense("final_layer/FC", pooled, classes)
        self.endpoints["Predictions"] = self.add(
            "final_layer/predictions", "softmax", ("final_layer/FC",), (classes,)
        )
