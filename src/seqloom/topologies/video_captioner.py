"""`VideoCaptioner`: an encoder-decoder whose source is clips: a convolutional front gives the
features that the encoder reads, and attention looks at moments of the clip.

The idea: a front is all that a translator lacks to read clips, so the translator is used as it is
(Venugopalan et al. 2015; with attention over time, Yao et al. 2015). Memory that attention reads
has a row for each step of the front.
"""

from __future__ import annotations

from torch import Tensor, nn

from seqloom.layers.frames import ClipFront
from seqloom.layers.outputs import Output
from seqloom.sequences import Padded
from seqloom.topologies.encoder_decoder import DecoderState, EncoderDecoder


class VideoCaptioner(nn.Module):
    """Clips to token scores. A `Decodable`.

    Args:
        frames: the front.
        translator: reads features of `frames.feature_size`.
    """

    def __init__(self, *, frames: ClipFront, translator: EncoderDecoder) -> None:
        super().__init__()
        self.frames, self.translator = frames, translator

    @property
    def output(self) -> Output:
        """The output layer, of ids."""
        return self.translator.output

    def features(self, source: Padded) -> Padded:
        """Clips [B, T, 3, H, W] (bytes), or features as they are -> [B, T', F]."""
        return self.frames(source)

    def start(self, source: Padded) -> DecoderState:
        """See `EncoderDecoder.start`; of clips or features."""
        return self.translator.start(self.features(source))

    def step(self, tokens: Tensor, state: DecoderState) -> tuple[Tensor, Tensor, DecoderState]:
        """See `EncoderDecoder.step`."""
        return self.translator.step(tokens, state)

    def select(self, state: DecoderState, rows: Tensor) -> DecoderState:
        """See `EncoderDecoder.select`."""
        return self.translator.select(state, rows)

    def forward(
        self, source: Padded, target: Padded, sampling: float = 0.0
    ) -> tuple[Padded, Tensor]:
        """See `EncoderDecoder.forward`; of clips or features."""
        return self.translator(self.features(source), target, sampling)
