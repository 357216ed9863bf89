"""The compiled arithmetic encoder: one tensor of integers to one NNC profile-0/1 codeword, on one thread.

Binarisation, contexts and syntax follow DeepCABAC (arXiv:1907.11900) as fixed by ISO/IEC 15938-17. Callers validate:
levels are int32 [rows, columns] in the legal range, parities agree with the trellis, the output buffer is large enough.

The registers are `span` (9 bits), `low` (8 + `pending` bits not yet written, plus one carry) and `position` (bytes
written). They travel through the functions as plain integers so that LLVM keeps them in registers.
"""

import numpy as np

from ...compiling import compiled, inlined
from .constants import SIGN_CONTEXT, STATE_TRANSITIONS, UNARY_CONTEXT, ZERO_CYCLE
from .contexts import bin_index, lps_width, next_context, reset_contexts
from .spans import neighbour_class, renorm


@compiled
def _flush(out, position, low, pending):
    """Writes the top 32 of the 8 + pending bits of `low`, the carry first. An empty `out` only counts."""
    keep = pending - 24
    if out.size:
        word = low >> keep
        if word >> 32:
            i = position - 1
            while out[i] == 255:
                out[i] = 0
                i -= 1
            out[i] += 1
        out[position] = (word >> 24) & 255
        out[position + 1] = (word >> 16) & 255
        out[position + 2] = (word >> 8) & 255
        out[position + 3] = word & 255
    return position + 4, low & ((1 << keep) - 1), pending - 32


@inlined
def _encode_bin(contexts, context, value, span, low, pending, position, out):
    context = np.uint64(context)  # unsigned: no test for a negative index
    places = contexts[context]
    index = bin_index(places)
    width = lps_width(index, span)
    span -= width
    lps = -(value ^ np.int64(index >> np.uint64(9)))  # -1 where the value is the less probable one, else 0
    low += span & lps
    span += (width - span) & lps
    shift = renorm(span)
    span <<= shift
    low <<= shift
    pending += shift
    contexts[context] = next_context(places, np.uint64(value))
    if pending >= 40:
        position, low, pending = _flush(out, position, low, pending)
    return span, low, pending, position


@compiled
def _encode_bypass(value, count, span, low, pending, position, out):
    """`count` bits of `value`, most significant first."""
    for i in range(count - 1, -1, -1):
        low = 2 * low + ((value >> i) & 1) * span
        pending += 1
        if pending >= 40:
            position, low, pending = _flush(out, position, low, pending)
    return span, low, pending, position


@inlined
def _encode_magnitude(contexts, level, neighbour, n_unary, span, low, pending, position, out):
    """Sign, unary flags and Exp-Golomb remainder of a level other than zero."""
    negative = 1 if level < 0 else 0
    magnitude = abs(level)
    span, low, pending, position = _encode_bin(
        contexts, SIGN_CONTEXT + neighbour, negative, span, low, pending, position, out
    )
    flags = min(magnitude, n_unary)
    for n in range(flags):
        greater = 1 if magnitude > n + 1 else 0
        span, low, pending, position = _encode_bin(
            contexts, UNARY_CONTEXT + 2 * n + negative, greater, span, low, pending, position, out
        )
    if magnitude > n_unary:
        remainder = magnitude - n_unary  # r + 1, which the Exp-Golomb bins write
        bits = 0
        while remainder >> (bits + 1):
            bits += 1
        prefix = UNARY_CONTEXT + 2 * n_unary
        for j in range(bits + 1):
            span, low, pending, position = _encode_bin(
                contexts, prefix + j, 1 if j < bits else 0, span, low, pending, position, out
            )
        span, low, pending, position = _encode_bypass(remainder - (1 << bits), bits, span, low, pending, position, out)
    return span, low, pending, position


@compiled
def _encode_zeros(contexts, row, column, right, span, low, pending, position, out):
    """The run of zeros that starts at `column` after a zero: one context, its state held in registers."""
    places = contexts[0]
    while column < right and row[column] == 0:
        index = bin_index(places)
        width = lps_width(index, span)
        span -= width
        if index >= 512:
            low += span
            span = width
            shift = renorm(span)
        else:
            shift = 1 - (span >> 8)
        span <<= shift
        low <<= shift
        pending += shift
        places = next_context(places, np.uint64(0))
        if pending >= 40:
            position, low, pending = _flush(out, position, low, pending)
        column += 1
    contexts[0] = places
    return column, span, low, pending, position


@compiled
def encode(levels, n_unary, dq, block, profile, use_skip, skipped, order, presets, contexts, out):
    """Codes levels [rows, columns] into `out` (uint8; empty to count only).

    dq: levels are grid integers of the 8-state trellis. block: 0 for row-major order, else the side of the blocks.
    profile: 1 codes the row-skip flag. skipped: uint8 [rows], rows that are not coded. order: contexts whose presets
    the header signals. presets: uint8 [contexts], the preset of every context. contexts: uint32 [contexts], room.

    Returns the number of bits that the codeword has before its padding.
    """
    height, width = levels.shape
    reset_contexts(contexts, presets)
    span, low, pending, position = 510, 0, 1, 0
    if profile == 1:
        span, low, pending, position = _encode_bypass(use_skip, 1, span, low, pending, position, out)
        if use_skip:
            for row in range(height):
                span, low, pending, position = _encode_bin(
                    contexts, presets.size - 1, skipped[row], span, low, pending, position, out
                )
    for context in order:
        preset = presets[context]
        span, low, pending, position = _encode_bin(
            contexts, presets.size - 2, 1 if preset else 0, span, low, pending, position, out
        )
        if preset:
            span, low, pending, position = _encode_bypass(preset - 1, 3, span, low, pending, position, out)
    block_height = block if block else max(height, 1)
    block_width = block if block else max(width, 1)
    state = 0
    previous = 0
    for top in range(0, height, block_height):
        if block_height < height:
            span = 256
            previous = 0
            reset_contexts(contexts, presets)
        bottom = min(top + block_height, height)
        for left in range(0, width, block_width):
            right = min(left + block_width, width)
            for y in range(top, bottom):
                if skipped[y]:
                    if dq:
                        for _ in range(width % ZERO_CYCLE):
                            state = STATE_TRANSITIONS[state, 0]
                    continue
                row = levels[y]
                x = left
                while x < right:
                    level = np.int64(row[x])
                    if dq:
                        odd = state & 1
                        level = (level + odd) >> 1 if level > 0 else -((odd - level) >> 1) if level < 0 else level
                    elif level == 0 and previous == 0:
                        x, span, low, pending, position = _encode_zeros(
                            contexts, row, x, right, span, low, pending, position, out
                        )
                        continue
                    neighbour = neighbour_class(previous)
                    span, low, pending, position = _encode_bin(
                        contexts, 3 * state + neighbour, 1 if level else 0, span, low, pending, position, out
                    )
                    if level != 0:
                        span, low, pending, position = _encode_magnitude(
                            contexts, level, neighbour, n_unary, span, low, pending, position, out
                        )
                    previous = level
                    if dq:
                        state = STATE_TRANSITIONS[state, level & 1]
                    x += 1
    # End of the codeword: a last narrow interval, then the stop bit; `low` has 8 + pending bits.
    low = (low + span - 2) << 7
    pending += 7
    while pending >= 32:
        position, low, pending = _flush(out, position, low, pending)
    bits = 8 * position + pending + 1
    if out.size:
        tail = (low >> 8) << 1 | 1
        padding = -(pending + 1) % 8
        tail <<= padding
        count = (pending + 1 + padding) // 8
        if tail >> (8 * count):
            i = position - 1
            while out[i] == 255:
                out[i] = 0
                i -= 1
            out[i] += 1
        for i in range(count):
            out[position + i] = (tail >> (8 * (count - 1 - i))) & 255
    return bits


@compiled
def first_wrong_parity(levels, block, skipped):
    """Flat index of the first grid integer whose parity its trellis state does not allow, else -1."""
    height, width = levels.shape
    block_height = block if block else max(height, 1)
    block_width = block if block else max(width, 1)
    state = 0
    for top in range(0, height, block_height):
        for left in range(0, width, block_width):
            for y in range(top, min(top + block_height, height)):
                if skipped[y]:
                    for _ in range(width % ZERO_CYCLE):
                        state = STATE_TRANSITIONS[state, 0]
                    continue
                for x in range(left, min(left + block_width, width)):
                    grid = np.int64(levels[y, x])
                    odd = state & 1
                    if grid != 0 and (grid & 1) != odd:
                        return y * width + x
                    level = (abs(grid) + odd) >> 1 if grid else 0
                    state = STATE_TRANSITIONS[state, level & 1]
    return -1
