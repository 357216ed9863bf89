"""A radio channel: bits to symbols, noise, multipath fading, and back to log-likelihood ratios.

x = modulate(bits, 2)                                                        # QPSK; 4, 6, 8 for 16-, 64-, 256-QAM
h = tdl_frequency_response(key, "C", 100e-9, 15e3 * np.arange(72), (batch,)) # a block's gains at 72 subcarriers
y = awgn(another_key, h * x, n0)                                             # E|n|^2 = n0 = 10^(-(Es/N0 in dB) / 10)
L = llr(y, h, n0, 2)                                                         # ln P(bit 0) / P(bit 1)

Rare fades: `channel_modes`, `stratified_modes` and `modes_response` draw the same law in parts of known probability.
Numbers have 32 bits a real number, 64 in JAX's 64-bit mode or where `dtype` or the array that comes in says so.
"""

from .arguments import METHODS, ORDERS
from .demodulation import llr
from .doppler import doppler_frequency, jakes_correlation
from .fading import later_response, tdl_frequency_response, tdl_taps
from .modes import Modes, channel_modes, frequency_covariance, modes_response, stratified_modes
from .modulation import modulate
from .noise import awgn
from .profiles import PROFILES, Profile, tdl_profile

__all__ = [
    "METHODS",
    "ORDERS",
    "PROFILES",
    "Modes",
    "Profile",
    "awgn",
    "channel_modes",
    "doppler_frequency",
    "frequency_covariance",
    "jakes_correlation",
    "later_response",
    "llr",
    "modes_response",
    "modulate",
    "stratified_modes",
    "tdl_frequency_response",
    "tdl_profile",
    "tdl_taps",
]
