"""The blocks of a backbone, by the names of its layers."""

from __future__ import annotations

import pytest

from trainer.model.blocks import block_depths

NAMES = {
    "EfficientNet": (
        "stem_conv block1a_dwconv block1a_bn block2a_conv block2b_conv top_bn",
        [4, 4, 4, 3, 2, 1],
    ),
    "MobileNet": (
        "conv1 conv_dw_1 conv_pw_1 conv_dw_2 conv_pw_2",
        [2, 2, 2, 1, 1],
    ),
    "MobileNetV2": (
        "Conv1 expanded_conv_project block_1_expand block_2_expand Conv_1",
        [4, 4, 3, 2, 1],
    ),
    "MobileNetV3": (
        "conv expanded_conv_project expanded_conv_1_expand conv_1",
        [3, 3, 2, 1],
    ),
    "ResNet": (
        "conv1_conv conv2_block1_1_conv conv2_block2_1_conv conv3_block1_0_bn",
        [3, 3, 2, 1],
    ),
    "ConvNeXt": (
        "convnext_tiny_stem convnext_tiny_stage_0_block_0_layernorm"
        " convnext_tiny_stage_0_block_1_layernorm"
        " convnext_tiny_stage_1_block_0_layernorm layer_normalization",
        [4, 4, 3, 2, 1],
    ),
    "Inception": ("conv2d conv2d_1 mixed0 conv2d_2 mixed1", [2, 2, 2, 1, 1]),
    "Inception-ResNet": ("conv2d block35_1_conv block35_2_conv", [2, 2, 1]),
    "NASNet": (
        "stem_conv1 reduction_conv_1_stem_1 normal_conv_1_0 adjust_bn_1",
        [3, 3, 2, 1],
    ),
    "no blocks": ("a b c", [3, 2, 1]),
}  # fmt: skip


@pytest.mark.parametrize("family", NAMES)
def test_depth_below_the_head(family):
    names, depths = NAMES[family]
    assert block_depths(names.split()) == depths
