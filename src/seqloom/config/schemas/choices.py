"""The words among which some keys choose."""

from __future__ import annotations

from enum import StrEnum


class Direction(StrEnum):
    """Whether a monitored metric is better when it falls (`min`) or rises (`max`)."""

    min = "min"
    max = "max"


class Normalization(StrEnum):
    """Unicode normalisation of text."""

    none = "none"
    nfc = "nfc"
    nfkc = "nfkc"


class TooLong(StrEnum):
    """What becomes of a pair that is longer than the limits."""

    drop = "drop"
    truncate = "truncate"
    error = "error"


class TokenizerKind(StrEnum):
    """What a token is."""

    bpe = "bpe"
    unigram = "unigram"
    word = "word"
    whitespace = "whitespace"
    character = "character"


class Steps(StrEnum):
    """What one step of an image is."""

    rows = "rows"
    pixels = "pixels"


class FrameChoice(StrEnum):
    """How the frames of a clip are chosen."""

    uniform = "uniform"
    fps = "fps"
    stride = "stride"
    segments = "segments"
    all = "all"


class Resize(StrEnum):
    """How a picture gets another shape."""

    crop = "crop"
    stretch = "stretch"
    motion = "motion"


# What becomes of an example that cannot be read; a class body cannot name `raise`.
OnError = StrEnum("OnError", {"raise": "raise", "skip": "skip"})


class OfficialSplits(StrEnum):
    """Whose lists divide a folder of clips."""

    ucf101 = "ucf101"
    hmdb51 = "hmdb51"
    kinetics = "kinetics"


class NamedBy(StrEnum):
    """How a sentence names a moving digit."""

    colour = "colour"
    digit = "digit"


class Tie(StrEnum):
    """Which embeddings share one matrix."""

    none = "none"
    output = "output"
    all = "all"


class Bridge(StrEnum):
    """How the decoder's first state comes from the encoder's last."""

    zero = "zero"
    last = "last"
    projected = "projected"


class Wiring(StrEnum):
    """Where the attention sits in the decoder."""

    input_feeding = "input_feeding"
    late = "late"
    first_layer = "first_layer"


class RecurrentInit(StrEnum):
    """How recurrent matrices start."""

    orthogonal = "orthogonal"
    uniform = "uniform"
    identity = "identity"


class Nonlinearity(StrEnum):
    """What a simple recurrent network puts its sum through."""

    tanh = "tanh"
    relu = "relu"


class Connection(StrEnum):
    """What lies around a recurrent layer."""

    none = "none"
    residual = "residual"
    highway = "highway"


class BidirectionalLayers(StrEnum):
    """Which layers of a bidirectional stack read both ways."""

    all = "all"
    first = "first"


class MemoryPolicy(StrEnum):
    """What an unrolling keeps for the backward pass."""

    keep = "keep"
    checkpoint = "checkpoint"
    swap = "swap"


class Pooling(StrEnum):
    """How a sequence of outputs becomes one vector."""

    last = "last"
    mean = "mean"
    max = "max"
    attention = "attention"


class Motion(StrEnum):
    """What a front sees of a clip: frames, what changed since the frame before, or both."""

    none = "none"
    difference = "difference"
    both = "both"


class FrontNorm(StrEnum):
    """What normalises the maps of a small front."""

    group = "group"
    batch = "batch"
    none = "none"


class Features(StrEnum):
    """Whether a front's features are computed for each batch, or once and kept."""

    computed = "computed"
    cached = "cached"


class Conditioning(StrEnum):
    """How a vector enters the decoder that it conditions."""

    state = "state"
    every_step = "every_step"
    both = "both"
    attention = "attention"


class LossNormalization(StrEnum):
    """What a loss is the mean over."""

    tokens = "tokens"
    sequences = "sequences"


class LengthPenaltyKind(StrEnum):
    """Whose formula the length penalty is."""

    gnmt = "gnmt"
    average = "average"


class PrecisionName(StrEnum):
    """What matrix products are computed in."""

    fp32 = "fp32"
    bf16 = "bf16"
    auto = "auto"


class Averaged(StrEnum):
    """Which checkpoints are averaged."""

    last = "last"
    best = "best"


class WandbMode(StrEnum):
    """Where Weights & Biases writes; `auto` is online where an account is configured."""

    auto = "auto"
    online = "online"
    offline = "offline"
    disabled = "disabled"


class UploadedCheckpoint(StrEnum):
    """Which weights a tracker is given at the end."""

    none = "none"
    best = "best"
