"""What a run has shown, in sentences that are true whichever way it went."""

from __future__ import annotations

import math

from nasnet.train.discover.findings import Contest, Findings, Row

_SURE = 0.05  # below this p a difference is called one


def shown(value: float, measure: str) -> str:
    """A score as a reader wants it: accuracies in percent."""
    return f"{value:.2%}" if measure == "accuracy" else f"{value:.4g}"


def signed(value: float, measure: str) -> str:
    """A difference of scores, with its sign."""
    return f"{100 * value:+.2f} points" if measure == "accuracy" else f"{value:+.4g}"


def beside(value: float, measure: str) -> str:
    """A difference of scores as `1.20 points above` or `below`."""
    return f"{signed(abs(value), measure)[1:]} {'below' if value < 0 else 'above'}"


def chance(p: float) -> str:
    """A p-value as text."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def verdict(found: Findings, measure: str) -> str:
    """The one sentence a reader takes home: whether the search was better than chance."""
    if found.contests:
        return contest(max(found.contests, key=lambda one: one.difference), measure)
    if not found.ahead:
        return (
            "Whether the search is better than chance is not known: random search was not one of "
            "its strategies."
            if found.random is None
            else "Random search alone was run: there is nothing to compare it with."
        )
    name, ahead = max(found.ahead.items(), key=lambda pair: pair[1])
    return (
        f"The best cheap score of {name} search is {beside(ahead, measure)} what random search is "
        "expected to find in as many trainings; no longer training has tried it yet, so whether "
        f"{name} search is better than random search is not shown."
    )


def contest(one: Contest, measure: str) -> str:
    """The finalists of a strategy beside random search's, in a sentence."""
    if math.isnan(one.p):
        return f"Too few finalists to say whether {one.name} search is better than random search."
    better = one.p < _SURE
    given = (
        f" {one.descended} of these {len(one.ours)} are mutations of what was known before, which "
        "random search was not given."
        if one.descended
        else ""
    )
    shared = f", {one.shared} of them the same cells" if one.shared else ""
    return (
        f"{one.name.capitalize()} search was {'' if better else 'not '}better than random search: "
        f"in the longest training its {len(one.ours)} best cells are on average "
        f"{beside(one.difference, measure)} random search's {len(one.random)}{shared} "
        f"(exact permutation test, one-sided {chance(one.p)}).{given}"
    )


def advice(found: Findings) -> str:
    """Which of the finalists to take; empty where one seed leaves nothing to say."""
    if found.top == 0 or len(found.best.seeds(found.top)) < 2:
        return ""
    if len(found.as_good) == 1:
        return "No other finalist comes near the best one: by its seeds alone, it is to be taken."
    timed = [row for row in found.as_good if row.milliseconds is not None]
    fastest = min(timed, key=lambda row: row.milliseconds or 0.0, default=None)
    quick = (
        ""
        if fastest is None
        else f" The fastest of them is cell {found.rows.index(fastest) + 1}, "
        f"{fastest.milliseconds:.2f} ms."
    )
    return (
        f"{len(found.as_good)} finalists cannot be told apart from the best by their seeds "
        f"(one-sided 95 %); among these, take the one that runs fastest for you.{quick}"
    )


def choice(found: Findings, name: str, measure: str) -> str:
    """How fast the best cell is, and which one it would be without the limit of latency.

    Empty where milliseconds were not measured.
    """
    ratio = found.best.latency_ratio
    if ratio is None:
        return ""
    of = f"the milliseconds of {name} at the same multiply-adds"
    limit = f"at most {found.limit:g} times {of}"
    if found.beyond is not None and found.beyond.latency_ratio is not None:
        other = found.beyond
        return (
            f"best.toml is the best finalist of those that take {limit}: "
            f"cell {found.rows.index(found.best) + 1}, "
            f"{shown(found.best.score(found.top), measure)}, {ratio:.3f} times. Without this limit "
            f"it would be cell {found.rows.index(other) + 1}, "
            f"{shown(other.score(found.top), measure)}, {other.latency_ratio:.3f} times."
        )
    if found.limit and ratio > found.limit:
        return (
            f"No finalist takes {limit}, so best.toml is the one with the best score: "
            f"{ratio:.3f} times."
        )
    return f"The best cell takes {ratio:.3f} times {of}."


def against_known(found: Findings, name: str, measure: str) -> str:
    """The best cell beside what was known before; empty where that was not trained as long."""
    known = [row for row in found.known if found.top in row.records]
    if not known:
        return ""
    other: Row = max(known, key=lambda row: row.score(found.top))
    difference = found.best.score(found.top) - other.score(found.top)
    seeds = len(found.best.seeds(found.top))
    return (
        f"The best cell is {beside(difference, measure)} {name} in the same training, "
        f"{seeds} seed{'s' if seeds != 1 else ''} each. It was chosen for this score, so the "
        "difference is too friendly: only nasnet compare, with new seeds and the test split, tells."
    )
