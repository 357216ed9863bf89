"""The compiled arithmetic decoder: one NNC profile-0/1 codeword to its integers, in pieces of rows, on one thread.

The inverse of encoder.py. Any bytes are met in bounded time: the reader stops soon after the end of the data. The
registers are `span` and `register`, which holds 9 + `extra` bits of the codeword less what is already subtracted.
"""

import numpy as np

from ...compiling import compiled, inlined
from .constants import PREFIX_CONTEXTS, SIGN_CONTEXT, STATE_TRANSITIONS, UNARY_CONTEXT, ZERO_CYCLE
from .contexts import bin_index, lps_width, next_context, reset_contexts
from .spans import neighbour_class, renorm

# Status of the decoder: zero is success, the others name what is wrong with the stream.
DECODED, OVERRUN, LEVEL_TOO_LARGE, BAD_END = 0, 1, 2, 3


@compiled
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


@inlined
def _decode_bin(contexts, context, span, register, extra, position, data):
    """One context-coded bin without a branch, for bins that nobody can predict."""
    context = np.uint64(context)  # unsigned: no test for a negative index
    places = contexts[context]
    index = bin_index(places)
    width = lps_width(index, span)
    span -= width
    scaled = span << extra
    lps = (scaled - 1 - register) >> 63  # -1 where the register lies in the less probable part, else 0
    register -= scaled & lps
    span += (width - span) & lps
    value = np.int64(index >> np.uint64(9)) ^ (lps & 1)
    shift = renorm(span)
    span <<= shift
    extra -= shift
    contexts[context] = next_context(places, np.uint64(value))
    if extra < 8:
        position, register, extra = _refill(data, position, register, extra)
    return value, span, register, extra, position


@inlined
def _divide(places, span, register, extra):
    """The value of a bin at a context, and the registers after it, by a branch: a good guess need not wait for the
    comparison."""
    index = bin_index(places)
    width = lps_width(index, span)
    span -= width
    scaled = span << extra
    value = np.int64(index >> np.uint64(9))
    if register >= scaled:
        register -= scaled
        span = width
        value = 1 - value
        shift = renorm(span)
    else:
        shift = 1 - (span >> 8)
    span <<= shift
    extra -= shift
    return value, span, register, extra


@inlined
def _decode_flag(contexts, context, span, register, extra, position, data):
    """As `_decode_bin`, for bins that are mostly one value."""
    context = np.uint64(context)
    places = contexts[context]
    value, span, register, extra = _divide(places, span, register, extra)
    contexts[context] = next_context(places, np.uint64(value))
    if extra < 8:
        position, register, extra = _refill(data, position, register, extra)
    return value, span, register, extra, position


@compiled
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


@inlined
def _decode_magnitude(contexts, neighbour, n_unary, span, register, extra, position, data):
    """A level whose significance bin was 1; zero where the Exp-Golomb prefix is longer than any legal level's."""
    negative, span, register, extra, position = _decode_bin(
        contexts, SIGN_CONTEXT + neighbour, span, register, extra, position, data
    )
    magnitude = 1
    greater = 1
    while greater and magnitude <= n_unary:
        greater, span, register, extra, position = _decode_flag(
            contexts, UNARY_CONTEXT + 2 * (magnitude - 1) + negative, span, register, extra, position, data
        )
        magnitude += greater
    if magnitude > n_unary:
        prefix = UNARY_CONTEXT + 2 * n_unary
        bits = 0
        more = 1
        while more and bits < PREFIX_CONTEXTS:
            more, span, register, extra, position = _decode_flag(
                contexts, prefix + bits, span, register, extra, position, data
            )
            bits += more
        if bits > 30:
            return 0, span, register, extra, position
        low_bits, span, register, extra, position = _decode_bypass(bits, span, register, extra, position, data)
        magnitude = n_unary + (1 << bits) + low_bits
    return (-magnitude if negative else magnitude), span, register, extra, position


@compiled
def _decode_zeros(contexts, row, column, right, span, register, extra, position, data):
    """Decodes the run of zeros after a zero, up to the first other level, whose significance bin it has then read."""
    places = contexts[0]
    significant = 0
    while column < right:
        value, span, register, extra = _divide(places, span, register, extra)
        if extra < 8:
            position, register, extra = _refill(data, position, register, extra)
            if position > data.size + 8:
                break  # far beyond the end: the caller sees the position
        if value:
            places = next_context(places, np.uint64(1))
            significant = 1
            break
        places = next_context(places, np.uint64(0))
        row[column] = 0
        column += 1
    contexts[0] = places
    return column, significant, span, register, extra, position


# What a decoder carries from one call to the next (int64 registers), so that a tensor is read in bounded pieces.
SPAN, REGISTER, EXTRA, POSITION, STATE, PREVIOUS, NUM_REGISTERS = 0, 1, 2, 3, 4, 5, 6


@compiled
def start_decoding(data, profile, order, presets, contexts, skipped, registers):
    """Reads the codeword's header: fills presets (uint8 [contexts]), contexts (uint32 [contexts]) as they start after
    it, skipped (uint8 [rows]) and the registers."""
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
    reset_contexts(contexts, presets)
    return DECODED


@compiled
def decode_rows(data, n_unary, dq, block, restart, row_width, presets, contexts, skipped, registers, levels, max_level):
    """Decodes the next rows of a codeword, or a part of their columns, into levels [rows, columns].

    skipped: flags of these rows. restart: these are the first blocks of a row of blocks, and there are several such
    rows. row_width: values by which a skipped row moves the trellis. With blocks, rows and columns must be whole blocks
    (the last may be smaller); parts of a row come one row, or one row of blocks, at a time.

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
                        x, significant, span, register, extra, position = _decode_zeros(
                            contexts, row, x, right, span, register, extra, position, data
                        )
                        if not significant:
                            break
                    else:
                        significant, span, register, extra, position = _decode_flag(
                            contexts, 3 * state + neighbour, span, register, extra, position, data
                        )
                    level = np.int64(0)
                    if significant:
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
