"""The flags of a link (code, mapping, channel) and of `generate` and `bler`, which send blocks over it."""

import dataclasses

from common import config

CHANNELS = ("awgn", "A", "B", "C", "D", "E")
RAYLEIGH = ("A", "B", "C")
FADING_AGAIN = ("correlated", "same", "independent")


@dataclasses.dataclass(frozen=True, kw_only=True)
class LinkConfig:
    """What is sent over what: by default a fifth of information, QPSK, over TDL-C."""

    base_graph: int = config.field(2, "of TS 38.212", choices=(1, 2))
    lifting: int = config.field(36, "Z: how many bits a column of the base graph stands for", minimum=2)
    sent: int = config.field(1800, "bits of a transmission", minimum=1)
    modulation_order: int = config.field(2, "bits a symbol: QPSK to 256-QAM", choices=(2, 4, 6, 8))
    max_log: bool = config.field(False, "LLRs by the nearest points alone (of QPSK it is the same)")
    channel: str = config.field("C", "awgn, or the profile of a tapped delay line (TR 38.901)", choices=CHANNELS)
    delay_spread: float = config.field(100e-9, "rms, in seconds", exclusive_minimum=0.0)
    subcarriers: int = config.field(72, "of OFDM, filled first; the channel stands still for a block", minimum=1)
    spacing: float = config.field(15e3, "of subcarriers, in Hz", exclusive_minimum=0.0)
    iterations: int = config.field(50, "of the decoder on a whole code word, at most", minimum=1)
    scale: float | None = config.field(
        None, "of the decoder's messages (none: 0.75 of min-sum, 1 of sum-product)", exclusive_minimum=0.0
    )
    seed: int = config.field(0, "of words, channels and noise", minimum=0)

    def __post_init__(self):
        if self.sent % self.modulation_order:
            raise ValueError(
                f"--sent={self.sent}: expected whole symbols of --modulation_order={self.modulation_order} bits"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class GenerateConfig(LinkConfig):
    """Blocks to learn and to judge predictions from."""

    es_n0_db: float = config.field(4.0, "mean energy of a symbol over the noise's, in dB", minimum=-30.0, maximum=60.0)
    subcodes: tuple[int, ...] = config.field((900, 1500), "sent bits that a prediction is made from", minimum=1)
    feature_iterations: int = config.field(5, "on a subcode", minimum=1)
    retransmission: str = config.field(
        "correlated",
        "fading of the second transmission: that of the first a while later, the same, or another",
        choices=FADING_AGAIN,
    )
    retransmission_seconds: float = config.field(1e-3, "between the two, where they are correlated", minimum=0.0)
    speed: float = config.field(3.0, "of the receiver, in km/h, which says how correlated", minimum=0.0)
    carrier: float = config.field(2.9e9, "in Hz", exclusive_minimum=0.0)
    redundancy_version: int = config.field(0, "of the second transmission (0: the same bits)", minimum=0, maximum=3)
    strata: tuple[float, ...] = config.field(
        (),
        "probabilities below which the gain of the first transmission's dominant mode begins another stratum, rising, "
        "such as 0.001,0.01,0.1 for four; empty: plain Monte Carlo",
        exclusive_minimum=0.0,
        exclusive_maximum=1.0,
    )
    strata_shares: tuple[float, ...] = config.field(
        (), "of the blocks in each stratum, relative (empty: as many in each)", exclusive_minimum=0.0
    )
    blocks: int = config.field(100_000, "to send", minimum=1)
    batch: int = config.field(1024, "blocks at a time: on a CPU few, which stay in its caches", minimum=1)
    batches: int = config.field(8, "between two times of writing", minimum=1)

    def __post_init__(self):
        super().__post_init__()
        if not self.subcodes or list(self.subcodes) != sorted(set(self.subcodes)) or self.subcodes[-1] > self.sent:
            raise ValueError(
                f"--subcodes={_texts(self.subcodes)}: expected rising numbers of bits, at most --sent={self.sent}"
            )
        if list(self.strata) != sorted(set(self.strata)):
            raise ValueError(f"--strata={_texts(self.strata)}: expected rising probabilities between 0 and 1")
        if self.strata and self.channel not in RAYLEIGH:
            raise ValueError(
                f"--strata={_texts(self.strata)} with --channel={self.channel}: expected a channel without a line of "
                f"sight, {', '.join(RAYLEIGH)}"
            )
        if self.strata_shares and len(self.strata_shares) != len(self.strata) + 1:
            raise ValueError(
                f"--strata_shares={_texts(self.strata_shares)}: expected {len(self.strata) + 1}, one a stratum"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class BlerConfig(LinkConfig):
    """Points of an error-rate curve."""

    channel: str = "awgn"
    seed: int = 1
    snr_db: tuple[float, ...] = config.field((-3.5, -3.0, -2.5), "points of the curve, in dB", minimum=-30, maximum=60)
    per_bit: bool = config.field(False, "--snr_db are E_b/N_0, of an information bit; else E_s/N_0, of a symbol")
    alist: str | None = config.field(None, "a parity-check matrix in MacKay's form, instead of a 5G code")
    payload: int | None = config.field(
        None,
        "bits of a 5G block, padded with fillers as TS 38.212 has it; needs --rate, and replaces base graph, "
        "lifting and sent",
        minimum=12,
    )
    rate: float | None = config.field(None, "payload bits a sent bit", exclusive_minimum=0.0, exclusive_maximum=1.0)
    interleaver: bool = config.field(True, "5G's of bits, which puts the first ones where symbols protect best")
    update: str = config.field("min_sum", "of checks", choices=("min_sum", "sum_product"))
    schedule: str = config.field("layered", "of messages", choices=("layered", "flooding"))
    offset: float = config.field(0.0, "taken from min-sum's messages", minimum=0.0)
    iterations: int = 20
    early_stop: bool = config.field(True, "a word whose checks all hold is left as it is")
    errors: int = config.field(
        100, "block errors after which a point ends: the count is fixed, not the blocks", minimum=2
    )
    max_blocks: int = config.field(1_000_000, "after which a point ends in any case", minimum=1)
    batch: int = config.field(1024, "blocks at a time: on a CPU few, which stay in its caches", minimum=1)
    reference: str | None = config.field(
        None, "CSV file with columns es_n0_db or eb_n0_db and bler, to draw beside and to compare with"
    )

    def __post_init__(self):
        if self.alist is None:
            super().__post_init__()
        if not self.snr_db or len(set(self.snr_db)) != len(self.snr_db):
            raise ValueError(f"--snr_db={_texts(self.snr_db)}: expected at least one point, each once")
        if (self.payload is None) != (self.rate is None):
            raise ValueError(f"--payload={self.payload} with --rate={self.rate}: they make a 5G block together")
        if self.alist is not None and self.payload is not None:
            raise ValueError(f"--alist={self.alist} with --payload={self.payload}: expected one code")


def probabilities(settings: GenerateConfig) -> list[float]:
    """Returns the probabilities of the strata."""
    edges = [0.0, *settings.strata, 1.0]
    return [high - low for low, high in zip(edges, edges[1:], strict=False)]


def _texts(values: tuple) -> str:
    return ",".join(f"{value:g}" for value in values)
