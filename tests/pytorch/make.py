"""Makes the fixtures in this folder: small PyTorch models, each with an input and PyTorch's own output.

    pip install torch==2.2.2 numpy safetensors && python tests/pytorch/make.py

Each file is a state dict with PyTorch's names and two more tensors: the input `x` (time x input) and PyTorch's output
`y` (time x output), computed in f64. Where the tensors do not describe a layer completely, the file has the metadata
`skinny.layers`. The f16 and bf16 files hold rounded weights, and `y` is the output of the rounded weights.
"""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

TIME, INPUT, HIDDEN, CLASSES = 25, 13, 12, 7


class Stack(nn.Module):
    """Modules in sequence, under the given names."""

    def __init__(self, **modules):
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x):
        for module in self.children():
            if isinstance(module, (nn.GRU, nn.LSTM)):
                x, _ = module(x)
            elif isinstance(module, nn.Conv1d):
                x = module(x.T).T
            else:
                x = module(x)
        return x


def head(width):
    return nn.Linear(width, CLASSES)


MODELS = {
    "linear": lambda: (Stack(first=nn.Linear(INPUT, 9), second=nn.Linear(9, CLASSES, bias=False)), None),
    "gru": lambda: (Stack(gru=nn.GRU(INPUT, HIDDEN, num_layers=2), fc=head(HIDDEN)), None),
    "gru_no_bias": lambda: (Stack(gru=nn.GRU(INPUT, HIDDEN, bias=False), fc=head(HIDDEN)), None),
    "gru_bidirectional": lambda: (
        Stack(gru=nn.GRU(INPUT, HIDDEN, num_layers=2, bidirectional=True), fc=head(2 * HIDDEN)),
        None,
    ),
    "lstm": lambda: (Stack(rnn=nn.LSTM(INPUT, HIDDEN, num_layers=2), fc=head(HIDDEN)), None),
    "lstm_projection": lambda: (Stack(rnn=nn.LSTM(INPUT, HIDDEN, num_layers=2, proj_size=5), fc=head(5)), None),
    "lstm_bidirectional": lambda: (
        Stack(rnn=nn.LSTM(INPUT, HIDDEN, bidirectional=True, proj_size=5), fc=head(10)),
        None,
    ),
    "convolution": lambda: (
        Stack(
            conv=nn.Conv1d(INPUT, 10, 5, stride=2, padding=2),
            clip=nn.Hardtanh(0.0, 0.5),
            gru=nn.GRU(10, HIDDEN),
            hidden=nn.Linear(HIDDEN, HIDDEN),
            relu=nn.ReLU(),
            fc=head(HIDDEN),
        ),
        "conv:stride=2:padding=2:clip=0.5 gru hidden:relu fc",
    ),
    "gru_f16": lambda: (Stack(gru=nn.GRU(INPUT, HIDDEN), fc=head(HIDDEN)).half(), None),
    "gru_bf16": lambda: (Stack(gru=nn.GRU(INPUT, HIDDEN), fc=head(HIDDEN)).bfloat16(), None),
}


def main():
    folder = Path(__file__).parent
    for seed, (name, make) in enumerate(MODELS.items()):
        torch.manual_seed(seed)
        model, layers = make()
        tensors = {key: value.detach().clone() for key, value in model.state_dict().items()}
        x = torch.randn(TIME, INPUT)
        with torch.no_grad():
            y = model.double()(x.double()).float()
        metadata = {"skinny.layers": layers} if layers else None
        save_file({**tensors, "x": x, "y": y}, folder / f"{name}.safetensors", metadata)


main()
