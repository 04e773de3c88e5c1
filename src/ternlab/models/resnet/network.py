"""torchvision's residual networks for ImageNet, with a first layer suited to the images.

He et al. 2016, "Deep Residual Learning", table 1; bottlenecks have stride 2 in the 3x3 convolution (torchvision's
variant, for which its accuracies are published).
"""

from __future__ import annotations

from torch import nn
from torchvision.models import ResNet, get_model

from ternlab.models.initialization import he_convolution
from ternlab.models.stem import StemSettings, has_small_stem

_STEM_WIDTH = 64


def build(settings: StemSettings, channels: int, size: int, classes: int) -> ResNet:
    """Build torchvision's `settings.name` for `classes` classes; logits are `(batch, classes)`.

    The `small` stem is a 3x3 convolution with stride 1 and no max-pool, so 32-pixel images reach the stages at 32
    pixels instead of 8. With the `imagenet` stem and three channels, the network, its parameter names and its random
    initialization are torchvision's own.
    """
    network: ResNet = get_model(settings.name, weights=None, num_classes=classes)
    small = has_small_stem(settings, size)
    if small:
        network.conv1 = nn.Conv2d(channels, _STEM_WIDTH, 3, padding=1, bias=False)
        network.maxpool = nn.Identity()
    elif channels != 3:
        network.conv1 = nn.Conv2d(channels, _STEM_WIDTH, 7, stride=2, padding=3, bias=False)
    if small or channels != 3:
        he_convolution(network.conv1)
    return network
