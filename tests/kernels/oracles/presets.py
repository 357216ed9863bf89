"""The nine-preset search in plain Python: an estimator object for every context and preset; slow, nothing shared.

Source: ISO/IEC 15938-17, the choice of starting states. Costs are integers in units of 2^-15 bit.
"""

import math

from tests.kernels.oracles import cabac

UNIT = 32768


def _costs():
    """(cost of the less probable, of the more probable value) for k = 0..511."""
    pairs = []
    for k in range(512):
        unrounded = 32968.4055 + 400.79893 * k
        more_probable = -UNIT * math.log2(1 - 2 ** (-unrounded / UNIT))
        pairs.append((math.floor(unrounded + 0.5), math.floor(more_probable + 0.5)))
    return pairs


COST = _costs()


def bin_cost(context, value):
    """Price of coding `value` in the context's present state, before its update."""
    state = context.state()
    less, more = COST[min(abs(state >> 3), 511)]
    return more if (state >= 0) == bool(value) else less


def walk(rows, *, n_unary=11, dq=False, scan=0, skipped=None, binarise_grid=False, keep_neighbour=True):
    """Yields None at each row of blocks but the first, else (key of the context, value) of every context-coded bin.

    binarise_grid: nncodec's search, which with dependent quantisation looks at grid integers instead of levels.
    keep_neighbour: the neighbour outlives a row of blocks (nncodec's search, and ours), unlike in the coder.
    """
    height, width = len(rows), len(rows[0]) if rows else 0
    skipped = skipped or [False] * height
    state = previous = 0
    for number, block_row in enumerate(cabac.positions(height, width, scan)):
        if number:
            yield None
            previous = previous if keep_neighbour else 0
        for row, left, right in block_row:
            if skipped[row]:
                for _ in range(width if dq else 0):
                    state = cabac.NEXT[state][0]
                continue
            for x in rows[row][left:right]:
                level = x
                if dq and x:
                    level = (x + (1 if x > 0 else -1) * (state & 1)) // 2
                shown = x if binarise_grid else level
                for kind, index, value in cabac.binarize(shown, n_unary):
                    if kind == "sig":
                        index = 3 * state + cabac.neighbour_class(previous)
                    elif kind == "sign":
                        index = cabac.neighbour_class(previous)
                    if kind != "bypass":
                        yield (kind, index), value
                previous = shown
                if dq:
                    state = cabac.NEXT[state][level & 1]


def costs(rows, **options):
    """{context key: [cost under each of the nine presets]}; contexts without a bin are missing."""
    totals, trials = {}, {}
    for step in walk(rows, **options):
        if step is None:
            trials = {}
            continue
        key, value = step
        if key not in trials:
            trials[key] = [cabac.Context(preset) for preset in range(9)]
            totals.setdefault(key, [0] * 9)
        for preset, context in enumerate(trials[key]):
            totals[key][preset] += bin_cost(context, value)
            context.update(value)
    return totals


def choose(rows, **options):
    """{context key: preset} for those that are not 0: three bits more for any but 0, ties to the lower."""
    header = set(cabac.header_order(options.get("n_unary", 11), options.get("dq", False)))
    chosen = {}
    for key, total in costs(rows, **options).items():
        priced = [cost + (3 * UNIT if preset else 0) for preset, cost in enumerate(total)]
        best = priced.index(min(priced))
        if best and key in header:
            chosen[key] = best
    return chosen
