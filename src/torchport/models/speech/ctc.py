"""Speech recognition with CTC: features in, log-probabilities of tokens for each encoded frame out.

After Graves et al., "Connectionist Temporal Classification" (https://doi.org/10.1145/1143844.1143891).
"""

from __future__ import annotations

from collections.abc import Sized
from typing import Any

from torch import Tensor, nn

from torchport.models.speech._base import ctc_types
from torchport.models.speech._features import FeatureModel
from torchport.models.speech._metadata import of_encoder, of_vocabulary
from torchport.models.speech._options import Options
from torchport.models.speech.encoders import class_of
from torchport.ports import NeuralType

__all__ = ["CtcDecoder", "CtcModel"]


class CtcDecoder(nn.Module):
    """Scores of every token and of the blank, which is the last.

    Args:
        section: The config's section.
        where: Its place in the config.
    """

    def __init__(self, section: object, where: str = "decoder") -> None:
        super().__init__()
        options = Options(section, where)
        class_of(options, "ConvASRDecoder")
        width, tokens = options.number("feat_in", least=1), options.number("num_classes", -1)
        vocabulary = options.raw("vocabulary")
        if tokens <= 0 and isinstance(vocabulary, Sized) and len(vocabulary):
            tokens = len(vocabulary)
        Options({"num_classes": tokens}, where).number("num_classes", least=1)
        blank = options.flag("add_blank", True)
        options.without_effect("init_mode")
        options.done()
        self.decoder_layers = nn.Sequential(nn.Conv1d(width, tokens + int(blank), 1))

    @property
    def blank(self) -> int:
        """The index of the blank."""
        last: nn.Conv1d = self.decoder_layers[0]  # type: ignore[assignment]  # it holds one convolution
        return last.out_channels - 1

    def forward(self, encoded: Tensor) -> Tensor:
        """``(batch, width, time)`` to log-probabilities ``(batch, time, token)``."""
        scores: Tensor = self.decoder_layers(encoded)
        return scores.transpose(1, 2).log_softmax(dim=-1)


class CtcModel(FeatureModel):
    """An encoder and a CTC decoder: NeMo's ``EncDecCTCModel`` and ``EncDecCTCModelBPE``.

    Args:
        cfg: The config of the archive.
        trainer: Kept as ``self.trainer``.

    Example:
        >>> encoder = {"_target_": "ConformerEncoder", "feat_in": 80, "d_model": 16, "n_layers": 1}
        >>> decoder = {"_target_": "ConvASRDecoder", "feat_in": 16, "num_classes": 28}
        >>> model = CtcModel({"encoder": encoder, "decoder": decoder}).eval()
        >>> logprobs, encoded_lengths = model(torch.randn(2, 80, 100), torch.tensor([100, 60]))
        >>> tuple(logprobs.shape), encoded_lengths.tolist()
        ((2, 25, 29), [25, 15])
    """

    def __init__(self, cfg: object = None, trainer: Any = None) -> None:
        super().__init__(cfg, trainer)
        self.decoder = CtcDecoder(self.cfg.get("decoder"))
        self.export_config = {"cache_support": False, "first_chunk": False}

    def forward(
        self,
        audio_signal: Tensor,
        length: Tensor,
        cache_last_channel: Tensor | None = None,
        cache_last_time: Tensor | None = None,
        cache_last_channel_len: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """Recognises; a chunk where there are caches, as `ConformerEncoder` takes them.

        Args:
            audio_signal: Features, ``(batch, band, time)``; what stands in the padding has no effect.
            length: Frames of each row, int64 ``(batch,)``.
            cache_last_channel: What attention saw before.
            cache_last_time: What convolutions saw before.
            cache_last_channel_len: How many frames of the first cache are filled.

        Returns:
            Log-probabilities ``(batch, time, token)``, the blank last, how many encoded frames each row has, int64 ``(batch,)``, and
            the caches for the next chunk.
        """
        caches = () if cache_last_channel is None else (cache_last_channel, cache_last_time, cache_last_channel_len)
        encoded, lengths, *after = self.encoder(audio_signal, length, *caches)
        return (self.decoder(encoded), lengths, *after)

    @property
    def output_types(self) -> dict[str, NeuralType]:
        """Log-probabilities and lengths, and caches where the encoder streams."""
        return {**ctc_types(), **self.encoder.cache_types}

    def export_metadata(self, subnet: str = "self") -> dict[str, Any]:
        """Feature settings, subsampling, vocabulary."""
        stated = of_encoder(self.cfg, self.encoder)
        stated["ports"] |= {"scores": "logprobs", "score_lengths": "encoded_lengths"}
        tokens = self.cfg["decoder"].get("vocabulary")
        return {"task": "ctc", "model_class": self.cfg["target"], **stated, **of_vocabulary(self.cfg, tokens, self.decoder.blank)}
