"""What a run has shown, in sentences that are true whichever way it went."""

from __future__ import annotations

import math

from nasnet.train.discover.findings import Contest, Findings, Row

_SURE = 0.05  # below this p a difference is called one
_FEW = 0.95  # above this share of random searches, one search is called better


def shown(value: float, measure: str) -> str:
    """A score as a reader wants it: accuracies in percent."""
    return f"{value:.2%}" if measure == "accuracy" else f"{value:.4g}"


def apart(value: float, measure: str) -> str:
    """A difference of scores, with its sign."""
    return f"{100 * value:+.2f} points" if measure == "accuracy" else f"{value:+.4g}"


def verdict(found: Findings, measure: str) -> str:
    """The one sentence a reader takes home: whether the search was better than chance."""
    if found.contests:
        return _contest(max(found.contests, key=lambda one: one.difference), measure)
    if not found.beaten:
        return (
            "Whether the search is better than chance is not known: random search was not one of "
            "its strategies."
            if found.random is None
            else "Random search alone was run: there is nothing to compare it with."
        )
    name, share = max(found.beaten.items(), key=lambda pair: pair[1])
    better = "better" if share >= _FEW else "not better"
    return (
        f"By the cheap score alone, {name} search was {better} than random search: its best is "
        f"above that of {share:.0%} of random searches of the same length. No longer training "
        "confirms it."
    )


def _contest(one: Contest, measure: str) -> str:
    if math.isnan(one.p):
        return f"Too few finalists to say whether {one.name} search is better than random search."
    better = one.p < _SURE
    shared = f", {one.shared} of them the same cells" if one.shared else ""
    return (
        f"{one.name.capitalize()} search was {'' if better else 'not '}better than random search: "
        f"at the largest fidelity its {len(one.ours)} best cells are "
        f"{apart(one.difference, measure)} from random search's {len(one.random)}{shared} "
        f"(exact permutation test, one-sided p = {one.p:.3f})."
    )


def against_known(found: Findings, name: str, measure: str) -> str:
    """The best cell beside what was known before; empty where that was not trained as long."""
    known = [row for row in found.known if found.top in row.records]
    if not known:
        return ""
    other: Row = max(known, key=lambda row: row.score(found.top))
    difference = found.best.score(found.top) - other.score(found.top)
    seeds = len(found.best.seeds(found.top))
    return (
        f"The best cell is {apart(difference, measure)} from {name} in the same training, "
        f"{seeds} seed{'s' if seeds != 1 else ''} each. It was chosen for this score, so the "
        "difference is too friendly: only nasnet compare, with new seeds and the test split, tells."
    )
