"""Fresh weights (sec. 6, as the released program sets them)."""

import torch
from torch import nn


@torch.no_grad()
def initialise(network: nn.Module) -> None:
    """Sets fresh weights in place: convolutions N(0, 0.02), norms N(1, 0.02), biases 0."""
    if any(weight.is_meta for weight in network.parameters()):
        return  # there is nothing to set, and torch would load its compiler for it
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, 0.02)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)
