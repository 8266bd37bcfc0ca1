"""The blocks of a backbone, for learning rates that differ by depth.

Keras does not store which layers form a block, but the names of its layers do.
TensorFlow is not imported.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_BLOCKS = (
    # ConvNeXt: convnext_tiny_stage_0_block_0_depthwise_conv.
    re.compile(r".*?(stage_\d+_block_\d+)_"),
    # ResNet, DenseNet, RegNet-like: conv2_block1_1_conv.
    re.compile(r"(conv\d+_block\d+)_"),
    # Inception-ResNet: block35_1_conv.
    re.compile(r"(block\d+_\d+)_"),
    # EfficientNet, VGG, Xception: block1a_dwconv, block1_conv1.
    re.compile(r"(block\d+[a-z]?)_"),
    # MobileNetV2 and V3: block_8_project, expanded_conv_5_project.
    re.compile(r"(block_\d+|expanded_conv_\d+)_"),
    re.compile(r"(expanded_conv)_"),
    # MobileNet: conv_dw_7 and conv_pw_7 are one block.
    re.compile(r"conv_(?:dw|pw)_(\d+)"),
    # Inception: mixed0, mixed_5b.
    re.compile(r"(mixed_?\d+[a-z]?)$"),
    # NASNet: separable_conv_1_normal_left1_6, reduction_conv_1_stem_1.
    re.compile(r".*(?:normal|reduction|adjust)_.*?_(stem_\d+|\d+)$"),
)


def block_depths(names: Sequence[str]) -> list[int]:
    """Returns how many blocks each layer is below the head.

    Consecutive layers whose names share a block form that block. Layers
    without a block, such as the stem, belong to the next block; those after
    the last block form one of their own.

    Args:
      names: names of the layers of a backbone, from the input to the output.

    Returns:
      A number for each layer: 1 for the block below the head, and one more for
      each block further down. If no name has a block, each layer is one.
    """
    labels = [_label(name) for name in names]
    if not any(labels):
        return list(range(len(names), 0, -1))
    following = "last"
    for position in range(len(labels) - 1, -1, -1):
        label = labels[position]
        labels[position] = following = following if label is None else label
    # A block may be interrupted by a layer of another, which is sorted in
    # between, so the order is that of first appearance.
    order = list(dict.fromkeys(labels))
    depth = {label: len(order) - i for i, label in enumerate(order)}
    return [depth[label] for label in labels]


def _label(name: str) -> str | None:
    """Returns the block in a layer's name; None if it has none."""
    for pattern in _BLOCKS:
        match = pattern.match(name)
        if match:
            return match[1]
    return None
