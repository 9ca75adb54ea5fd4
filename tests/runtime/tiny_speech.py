"""Speech models of a few numbers, that say what their files need: CTC, transducers of two kinds, an encoder that streams."""

import torch
from torch import nn

import torchport

TOKENS = ["\N{LOWER ONE EIGHTH BLOCK}a", "b", "\N{LOWER ONE EIGHTH BLOCK}c", "d"]
VOCABULARY = {"blank": 4, "kind": "sentencepiece", "tokens": TOKENS}


class Ctc(nn.Module, torchport.Exportable):
    input_types = {"mel": ("batch 6 time", "float32"), "mel_lengths": ("batch", "int64")}
    output_types = {"scores": ("batch frames 5", "float32"), "score_lengths": ("batch", "int64")}

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv1d(6, 5, 3, stride=2, padding=1)

    def forward(self, mel, mel_lengths):
        inside = torch.arange(mel.shape[2])[None] < mel_lengths[:, None]
        return self.layer(mel * inside[:, None]).transpose(1, 2).log_softmax(-1), (mel_lengths + 1) // 2

    def export_metadata(self):
        ports = {"features": "mel", "feature_lengths": "mel_lengths", "scores": "scores", "score_lengths": "score_lengths"}
        return {"task": "ctc", "vocabulary": VOCABULARY, "ports": ports, "subsampling": 2}


class Encoder(nn.Module, torchport.Exportable):
    input_types = {"mel": ("batch 6 time", "float32"), "mel_lengths": ("batch", "int64")}
    output_types = {"encoded": ("batch 8 time", "float32"), "encoded_lengths": ("batch", "int64")}

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 8)

    def forward(self, mel, mel_lengths):
        return self.layer(mel.transpose(1, 2)).transpose(1, 2), mel_lengths.clone()


class Step(nn.Module, torchport.Exportable):
    """A prediction network with one tanh state, and a joint network."""

    input_types = {"encoded": ("batch 8 time", "float32"), "tokens": ("batch 1", "int64"), "state": ("batch 8", "float32")}
    output_types = {"scores": ("batch time 1 scores", "float32"), "next_state": ("batch 8", "float32")}

    def __init__(self, durations):
        super().__init__()
        self.table, self.cell = nn.Embedding(5, 8), nn.Linear(16, 8)
        self.joint = nn.Linear(8, 5 + durations)
        nn.init.normal_(self.joint.weight, std=1.5)

    def forward(self, encoded, tokens, state):
        after = torch.tanh(self.cell(torch.cat([self.table(tokens[:, 0]), state], 1)))
        return self.joint(torch.tanh(encoded.transpose(1, 2) + 2 * after[:, None]))[:, :, None], after

    def input_example(self):
        return torch.randn(3, 8, 11), torch.tensor([[0], [4], [2]]), torch.tanh(torch.randn(3, 8))


class Transducer(nn.Module, torchport.Exportable):
    def __init__(self, durations=(), max_symbols=3):
        super().__init__()
        self.durations, self.max_symbols = durations, max_symbols
        self.encoder, self.step = Encoder(), Step(len(durations))

    def list_export_subnets(self):
        return ["encoder", "step"]

    def export_metadata(self, subnet):
        search = {"kind": "tdt", "durations": self.durations} if self.durations else {"kind": "rnnt"}
        common = {"vocabulary": VOCABULARY, "transducer": {**search, "start": 4, "max_symbols": self.max_symbols}}
        if subnet == "encoder":
            ports = {"features": "mel", "feature_lengths": "mel_lengths", "encoded": "encoded", "encoded_lengths": "encoded_lengths"}
            return {"task": "transducer_encoder", "ports": ports, **common}
        state = {"input": "state", "output": "next_state", "shape": ["batch", 8], "dtype": "float32", "fill": 0}
        ports = {"encoded": "encoded", "tokens": "tokens", "scores": "scores"}
        return {"task": "transducer_step", "ports": ports, "states": [state], **common}

    def tokens_of(self, mel):
        """Greedy search by the book, one frame and one utterance at a time."""
        encoded, _ = self.encoder(mel[None], torch.tensor([mel.shape[1]]))
        time, last, state, found, here = 0, 4, torch.zeros(1, 8), [], 0
        while time < mel.shape[1]:
            scores, after = self.step(encoded[:, :, time : time + 1], torch.tensor([[last]]), state)
            scores = scores[0, 0, 0]
            token = int(scores[:5].argmax())
            step = self.durations[int(scores[5:].argmax())] if self.durations else int(token == 4)
            if token == 4:
                step = max(step, 1)
            else:
                found.append((token, time))
                last, state, here = token, after, here + 1
                step = 1 if step == 0 and here == self.max_symbols else step
            time, here = time + step, 0 if step else here
        return found


class Streaming(nn.Module, torchport.Exportable):
    """Sees two frames back, and the sum of all before: frames before a chunk are made again and dropped, the sum is a state."""

    input_types = {"mel": ("batch 6 time", "float32"), "sum": ("batch 8", "float32")}
    output_types = {"scores": ("batch frames 5", "float32"), "next_sum": ("batch 8", "float32")}

    def __init__(self, first=False):
        super().__init__()
        self.first = first
        self.layer, self.head = nn.Linear(6, 8), nn.Conv1d(8, 5, 3)

    def input_example(self):
        return torch.randn(3, 6, 9), torch.randn(3, 8)

    def hidden(self, mel):
        return (self.layer(mel.transpose(1, 2)) + 1).relu().transpose(1, 2)

    def forward(self, mel, sum):
        hidden = self.hidden(mel)
        hidden = nn.functional.pad(hidden, (2, 0)) if self.first else hidden
        seen = hidden[:, :, 2:].cumsum(2) + sum[:, :, None]
        scores = self.head(hidden) + nn.functional.conv1d(seen * 0.003, self.head.weight[:, :, :1])
        return scores.transpose(1, 2), seen[:, :, -1]

    def export_metadata(self):
        cut = {"chunk": 4, "shift": 4, "before": 0 if self.first else 2, "dropped": 0 if self.first else 2}
        state = {"input": "sum", "output": "next_sum", "shape": ["batch", 8], "dtype": "float32", "fill": 0}
        ports = {"features": "mel", "scores": "scores"}
        return {"task": "ctc", "vocabulary": {"blank": 4}, "ports": ports, "streaming": cut, "states": [state]}
