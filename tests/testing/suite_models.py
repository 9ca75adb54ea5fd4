"""Models that the assertion is tried on."""

from torch import nn

from torchport import Exportable


class Sum(nn.Module, Exportable):
    """Right in every format."""

    input_types = {"x": ("batch time", "float32")}
    output_types = {"y": ("batch", "float32")}

    def forward(self, x):
        return x.sum(1)


class Limited(Sum):
    """Adds one from 41 frames on: only scripting keeps both branches."""

    def forward(self, x):
        if x.shape[1] <= 40:
            return x.sum(1)
        return x.sum(1) + 1


class Encoder(nn.Module):
    """Reads its own weight: whether a swap or a mode is left behind would show."""

    input_types = {"x": ("batch time 4", "float32")}
    output_types = {"h": ("batch time 3", "float32")}

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 3)
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        return self.drop(self.linear(x))


class Decoder(nn.Module):
    """Wrong past 40 frames."""

    input_types = {"h": ("batch time 3", "float32")}
    output_types = {"y": ("batch time", "float32")}

    def forward(self, h):
        return h.sum(2) if h.shape[1] <= 40 else h.sum(2) * 2


class Pair(nn.Module, Exportable):
    """An encoder that exports and a decoder that does not."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = Encoder(), Decoder()

    def list_export_subnets(self):
        return ["encoder", "decoder"]

    def forward(self, x):
        return self.decoder(self.encoder(x))


class Spoken(Sum):
    """Its own hook raises."""

    @property
    def input_example(self):
        raise KeyError("no example today")


class Tagger(nn.Module, Exportable):
    """Its output's name, and the sizes it takes, are what the contract tests change."""

    def __init__(self, output="tags", time="time"):
        super().__init__()
        self.input_types = {"x": (f"batch {time}", "float32")}
        self.output_types = {output: ("batch time", "float32")}

    def forward(self, x):
        return x * 2
