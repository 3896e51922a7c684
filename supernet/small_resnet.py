"""ResNet-8 and ResNet-14 for pictures of some 32 pixels: what a searched network must beat there (docs/decisions.md).

He et al., "Deep residual learning for image recognition" (CVPR 2016), section 4.2, with 16, 32 and 64 channels; ResNet-8 is the one of MLPerf Tiny
(Banbury et al., 2021). The stem has stride 2, which takes a third of the time. In timm's registry as `supernet_resnet8` and `supernet_resnet14`.
"""

from __future__ import annotations

from typing import cast

from timm.models.resnet import BasicBlock
from torch import Tensor, nn

CHANNELS = (16, 32, 64)


class SmallResNet(nn.Module):
    """(B, in_chans, H, W) → (B, num_classes), with what timm's models have: get_classifier, forward_features, forward_head.

    depth: blocks of a stage.  in_chans, num_classes: as timm names them.  stride: of the stem.  channels: of the stages.  drop_rate: dropout before the classifier.
    """

    def __init__(
        self,
        depth: int,
        in_chans: int = 3,
        num_classes: int = 10,
        stride: int = 2,
        channels: tuple[int, int, int] = CHANNELS,
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__()
        c_in = channels[0]
        self.stem = nn.Sequential(_convolution(in_chans, c_in, 3, stride), nn.BatchNorm2d(c_in), nn.ReLU(inplace=True))
        blocks = []
        for stage, c_out in enumerate(channels):
            for block in range(depth):
                step = 2 if stage and not block else 1
                shortcut = nn.Sequential(_convolution(c_in, c_out, 1, step), nn.BatchNorm2d(c_out))
                blocks.append(BasicBlock(c_in, c_out, step, shortcut if (step, c_in) != (1, c_out) else None))
                c_in = c_out
        self.blocks, self.global_pool = nn.Sequential(*blocks), nn.AdaptiveAvgPool2d(1)
        self.dropout, self.classifier = nn.Dropout(drop_rate), nn.Linear(c_in, num_classes)

    def get_classifier(self) -> nn.Linear:
        return self.classifier

    def forward_features(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.blocks(self.stem(x)))

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        x = self.dropout(self.global_pool(x).flatten(1))
        return x if pre_logits else cast(Tensor, self.classifier(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))


def _convolution(c_in: int, c_out: int, kernel: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=False)
