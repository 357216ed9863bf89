"""The compiled arithmetic coder: one tensor of integers to and from one NNC profile-0/1 codeword, on one thread.

Binarisation, contexts and the two-rate estimators follow DeepCABAC (arXiv:1907.11900) as fixed by ISO/IEC 15938-17.
All functions release the GIL, so tensors code in parallel from ordinary threads. Callers validate: levels are int32
[rows, columns] within the legal range, parities agree with the trellis, output buffers are large enough.

The coder's registers are `span` (9 bits), `low` (8 + `pending` bits not yet written, plus one carry) and `position`
(bytes written). They travel through the functions as plain integers so that LLVM keeps them in registers.
"""

import numba
import numpy as np

from .constants import (
    LPS_TABLE,
    PREFIX_CONTEXTS,
    PRESET_FAST_SHIFT,
    PRESET_FAST_START,
    PRESET_SLOW_SHIFT,
    PRESET_SLOW_START,
    SIGN_CONTEXT,
    STATE_TRANSITIONS,
    STEP_TABLE,
    UNARY_CONTEXT,
    ZERO_CYCLE,
)

_compiled = numba.njit(cache=True, nogil=True, boundscheck=False)
_inlined = numba.njit(cache=True, nogil=True, boundscheck=False, inline="always")

_STEPS = STEP_TABLE.astype(np.int64)
_LPS = LPS_TABLE.astype(np.int64)
# Shifts that bring a span of 1..511 back to 256..511.
_RENORM = np.array([0] + [max(0, 9 - int(r).bit_length()) for r in range(1, 512)], np.int64)

# Status of the decoder: zero is success, the others name what is wrong with the stream.
DECODED, OVERRUN, LEVEL_TOO_LARGE, BAD_END = 0, 1, 2, 3


@_inlined
def lps_width(state, span):
    """Width of the less probable subinterval of `span` at `state`."""
    return (_LPS[np.uint64(abs(state >> 7))] * ((span >> 5) + 1)) >> 3


@_inlined
def step_estimators(fast, slow, fast_shift, slow_shift, value):
    """Both estimators after coding `value` (0 or 1)."""
    if value:
        fast = fast + (_STEPS[np.uint64(16 + (fast >> 3))] >> fast_shift)
        slow = slow + (_STEPS[np.uint64(16 + (slow >> 7))] >> slow_shift)
    else:
        fast = fast - (_STEPS[np.uint64(16 + ((-fast) >> 3))] >> fast_shift)
        slow = slow - (_STEPS[np.uint64(16 + ((-slow) >> 7))] >> slow_shift)
    return fast, slow


@_compiled
def reset_contexts(contexts, presets):
    """Puts every context at the start of its preset. contexts: int64 [n, 4] = fast, slow, fast shift, slow shift."""
    for i in range(contexts.shape[0]):
        preset = presets[i]
        contexts[i, 0] = PRESET_FAST_START[preset]
        contexts[i, 1] = PRESET_SLOW_START[preset]
        contexts[i, 2] = PRESET_FAST_SHIFT[preset]
        contexts[i, 3] = PRESET_SLOW_SHIFT[preset]


@_inlined
def neighbour_class(level):
    return 0 if level == 0 else (1 if level < 0 else 2)


# --------------------------------------------------------------------------- encoder


@_compiled
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


@_inlined
def _encode_bin(contexts, context, value, span, low, pending, position, out):
    fast = contexts[context, 0]
    slow = contexts[context, 1]
    state = 16 * fast + slow
    width = lps_width(state, span)
    span -= width
    if (state >= 0) != (value != 0):
        low += span
        span = width
    shift = _RENORM[np.uint64(span)]
    span <<= shift
    low <<= shift
    pending += shift
    fast, slow = step_estimators(fast, slow, contexts[context, 2], contexts[context, 3], value)
    contexts[context, 0] = fast
    contexts[context, 1] = slow
    if pending >= 40:
        position, low, pending = _flush(out, position, low, pending)
    return span, low, pending, position


@_compiled
def _encode_bypass(value, count, span, low, pending, position, out):
    """`count` bits of `value`, most significant first."""
    for i in range(count - 1, -1, -1):
        low = 2 * low + ((value >> i) & 1) * span
        pending += 1
        if pending >= 40:
            position, low, pending = _flush(out, position, low, pending)
    return span, low, pending, position


@_inlined
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
        remainder = magnitude - n_unary  # r + 1 of the specification
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


@_compiled
def _encode_zeros(contexts, row, column, right, span, low, pending, position, out):
    """The run of zeros that starts at `column` after a zero: one context, its state held in registers."""
    fast = contexts[0, 0]
    slow = contexts[0, 1]
    fast_shift = contexts[0, 2]
    slow_shift = contexts[0, 3]
    while column < right and row[column] == 0:
        state = 16 * fast + slow
        width = lps_width(state, span)
        span -= width
        if state >= 0:
            low += span
            span = width
            shift = _RENORM[np.uint64(span)]
        else:
            shift = 1 - (span >> 8)
        span <<= shift
        low <<= shift
        pending += shift
        fast -= _STEPS[np.uint64(16 + ((-fast) >> 3))] >> fast_shift
        slow -= _STEPS[np.uint64(16 + ((-slow) >> 7))] >> slow_shift
        if pending >= 40:
            position, low, pending = _flush(out, position, low, pending)
        column += 1
    contexts[0, 0] = fast
    contexts[0, 1] = slow
    return column, span, low, pending, position


@_compiled
def encode(levels, n_unary, dq, block, profile, use_skip, skipped, order, presets, out):
    """Codes levels [rows, columns] into `out` (uint8; empty to count only).

    dq: levels are grid integers of the 8-state trellis. block: 0 for row-major order, else the side of the blocks.
    profile: 1 codes the row-skip flag. skipped: uint8 [rows], rows that are not coded. order: contexts whose presets
    the header signals. presets: uint8 [contexts], the preset of every context.

    Returns the number of bits that the codeword has before its padding.
    """
    height, width = levels.shape
    contexts = np.empty((presets.size, 4), np.int64)
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


# --------------------------------------------------------------------------- decoder


@_compiled
def _refill(data, position, register, extra):
    """Appends 32 bits (zeros past the end) to the register."""
    if position + 4 <= data.size:
        word = (
            (np.int64(data[position]) << 24)
            | (np.int64(data[position + 1]) << 16)
            | (np.int64(data[position + 2]) << 8)
            | np.int64(data[position + 3])
        )
    else:
        word = np.int64(0)
        for i in range(4):
            byte = np.int64(data[position + i]) if position + i < data.size else np.int64(0)
            word = (word << 8) | byte
    return position + 4, (register << 32) | word, extra + 32


@_inlined
def _decode_bin(contexts, context, span, register, extra, position, data):
    """One context-coded bin; `register` holds 9 + extra bits of the codeword less what is already subtracted."""
    fast = contexts[context, 0]
    slow = contexts[context, 1]
    state = 16 * fast + slow
    width = lps_width(state, span)
    span -= width
    scaled = span << extra
    value = 1 if state >= 0 else 0
    if register >= scaled:
        register -= scaled
        span = width
        value = 1 - value
    shift = _RENORM[np.uint64(span)]
    span <<= shift
    extra -= shift
    fast, slow = step_estimators(fast, slow, contexts[context, 2], contexts[context, 3], value)
    contexts[context, 0] = fast
    contexts[context, 1] = slow
    if extra < 8:
        position, register, extra = _refill(data, position, register, extra)
    return value, span, register, extra, position


@_compiled
def _decode_bypass(count, span, register, extra, position, data):
    value = 0
    for _ in range(count):
        extra -= 1
        scaled = span << extra
        value <<= 1
        if register >= scaled:
            register -= scaled
            value |= 1
        if extra < 8:
            position, register, extra = _refill(data, position, register, extra)
    return value, span, register, extra, position


@_inlined
def _decode_magnitude(contexts, neighbour, n_unary, span, register, extra, position, data):
    """A level whose significance bin was 1; zero where the Exp-Golomb prefix is longer than any legal level's."""
    negative, span, register, extra, position = _decode_bin(
        contexts, SIGN_CONTEXT + neighbour, span, register, extra, position, data
    )
    magnitude = 1
    greater = 1
    while greater and magnitude <= n_unary:
        greater, span, register, extra, position = _decode_bin(
            contexts, UNARY_CONTEXT + 2 * (magnitude - 1) + negative, span, register, extra, position, data
        )
        magnitude += greater
    if magnitude > n_unary:
        prefix = UNARY_CONTEXT + 2 * n_unary
        bits = 0
        more = 1
        while more and bits < PREFIX_CONTEXTS:
            more, span, register, extra, position = _decode_bin(
                contexts, prefix + bits, span, register, extra, position, data
            )
            bits += more
        if bits > 30:
            return 0, span, register, extra, position
        low_bits, span, register, extra, position = _decode_bypass(bits, span, register, extra, position, data)
        magnitude = n_unary + (1 << bits) + low_bits
    return (-magnitude if negative else magnitude), span, register, extra, position


@_compiled
def _decode_zeros(contexts, row, column, right, span, register, extra, position, data):
    """Decodes the run of zeros after a zero, up to the first other level, whose significance bin it has then read."""
    fast = contexts[0, 0]
    slow = contexts[0, 1]
    fast_shift = contexts[0, 2]
    slow_shift = contexts[0, 3]
    found = 0
    while column < right:
        state = 16 * fast + slow
        width = lps_width(state, span)
        span -= width
        scaled = span << extra
        value = 1 if state >= 0 else 0
        if register >= scaled:
            register -= scaled
            span = width
            value = 1 - value
            shift = _RENORM[np.uint64(span)]
        else:
            shift = 1 - (span >> 8)
        span <<= shift
        extra -= shift
        if extra < 8:
            position, register, extra = _refill(data, position, register, extra)
            if position > data.size + 8:
                break  # far beyond the end: the caller sees the position
        if value:
            fast += _STEPS[np.uint64(16 + (fast >> 3))] >> fast_shift
            slow += _STEPS[np.uint64(16 + (slow >> 7))] >> slow_shift
            found = 1
            break
        fast -= _STEPS[np.uint64(16 + ((-fast) >> 3))] >> fast_shift
        slow -= _STEPS[np.uint64(16 + ((-slow) >> 7))] >> slow_shift
        row[column] = 0
        column += 1
    contexts[0, 0] = fast
    contexts[0, 1] = slow
    return column, found, span, register, extra, position


# What a decoder carries from one call to the next (int64 registers), so that a tensor is read in bounded pieces.
SPAN, REGISTER, EXTRA, POSITION, STATE, PREVIOUS, NUM_REGISTERS = 0, 1, 2, 3, 4, 5, 6


@_compiled
def start_decoding(data, profile, order, presets, skipped, registers):
    """Reads the codeword's header: fills presets (uint8 [contexts]), skipped (uint8 [rows]) and the registers."""
    contexts = np.empty((presets.size, 4), np.int64)
    presets[:] = 0
    reset_contexts(contexts, presets)
    limit = data.size + 8
    span, register, extra, position = 510, np.int64(0), -9, 0
    position, register, extra = _refill(data, position, register, extra)
    skipped[:] = 0
    if profile == 1:
        flag, span, register, extra, position = _decode_bypass(1, span, register, extra, position, data)
        if flag:
            for y in range(skipped.size):
                value, span, register, extra, position = _decode_bin(
                    contexts, presets.size - 1, span, register, extra, position, data
                )
                skipped[y] = value
                if position > limit:
                    return OVERRUN
    for context in order:
        value, span, register, extra, position = _decode_bin(
            contexts, presets.size - 2, span, register, extra, position, data
        )
        if value:
            index, span, register, extra, position = _decode_bypass(3, span, register, extra, position, data)
            presets[context] = index + 1
    registers[SPAN], registers[REGISTER], registers[EXTRA], registers[POSITION] = span, register, extra, position
    registers[STATE] = registers[PREVIOUS] = 0
    return DECODED


@_compiled
def decode_rows(data, n_unary, dq, block, restart, row_width, presets, contexts, skipped, registers, levels, max_level):
    """Decodes the next rows of a codeword, or a part of their columns, into levels [rows, columns].

    skipped: flags of these rows. restart: these are the first blocks of a row of blocks, and there are several such rows.
    row_width: values by which a skipped row moves the trellis. With blocks, rows and columns must be whole blocks (the last
    may be smaller); parts of a row come one row, or one row of blocks, at a time.

    Returns DECODED, OVERRUN or LEVEL_TOO_LARGE.
    """
    height, width = levels.shape
    span, register, extra, position = registers[SPAN], registers[REGISTER], registers[EXTRA], registers[POSITION]
    state, previous = registers[STATE], registers[PREVIOUS]
    limit = data.size + 8
    block_height = block if block else max(height, 1)
    block_width = block if block else max(width, 1)
    for top in range(0, height, block_height):
        if restart:
            span = np.int64(256)
            previous = np.int64(0)
            reset_contexts(contexts, presets)
        bottom = min(top + block_height, height)
        for left in range(0, width, block_width):
            right = min(left + block_width, width)
            for y in range(top, bottom):
                row = levels[y]
                if skipped[y]:
                    for x in range(left, right):
                        row[x] = 0
                    if dq:
                        for _ in range(row_width % ZERO_CYCLE):
                            state = STATE_TRANSITIONS[state, 0]
                    continue
                x = left
                while x < right:
                    neighbour = neighbour_class(previous)
                    if previous == 0 and not dq:
                        x, found, span, register, extra, position = _decode_zeros(
                            contexts, row, x, right, span, register, extra, position, data
                        )
                        if not found:
                            break
                    else:
                        found, span, register, extra, position = _decode_bin(
                            contexts, 3 * state + neighbour, span, register, extra, position, data
                        )
                    level = np.int64(0)
                    if found:
                        level, span, register, extra, position = _decode_magnitude(
                            contexts, neighbour, n_unary, span, register, extra, position, data
                        )
                        if level == 0 or abs(level) > max_level:
                            return LEVEL_TOO_LARGE
                    if position > limit:
                        return OVERRUN
                    previous = level
                    if dq:
                        grid = 2 * level
                        if level > 0:
                            grid -= state & 1
                        elif level < 0:
                            grid += state & 1
                        if abs(grid) > max_level:
                            return LEVEL_TOO_LARGE
                        row[x] = grid
                        state = STATE_TRANSITIONS[state, level & 1]
                    else:
                        row[x] = level
                    x += 1
                if position > limit:
                    return OVERRUN
    registers[SPAN], registers[REGISTER], registers[EXTRA], registers[POSITION] = span, register, extra, position
    registers[STATE], registers[PREVIOUS] = state, previous
    return DECODED


def finish_decoding(data, registers):
    """BAD_END unless the stop bit is the last bit read and only zero padding to the end of its byte follows."""
    span, register, extra, position = (int(registers[i]) for i in (SPAN, REGISTER, EXTRA, POSITION))
    last = 8 * position - extra - 1
    if (register >> extra) < span - 2 or last // 8 != data.size - 1:
        return BAD_END
    return DECODED if int(data[last // 8]) & ((256 >> (last % 8)) - 1) == 128 >> (last % 8) else BAD_END


@_compiled
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
