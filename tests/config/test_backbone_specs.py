"""The grammar of --backbones."""

from __future__ import annotations

import pytest

from trainer.config.backbone_specs import BackboneSpec, parse_backbones
from trainer.errors import UsageError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("VGG16", {"name": "VGG16"}),
        (
            "MobileNetV2:alpha=0.35",
            {"name": "MobileNetV2", "backbone_args": "alpha=0.35"},
        ),
        (
            "MobileNet:alpha=0.5:dropout=0",
            {"name": "MobileNet", "backbone_args": "alpha=0.5,dropout=0"},
        ),
        ("A:weights=none", {"name": "A", "weights": "none"}),
        # A URL has a colon.
        ("A:weights=gs://b/f.h5", {"name": "A", "weights": "gs://b/f.h5"}),
        (
            "A:x='y':weights_origin=keras_none:weights=w=1.h5",
            {
                "name": "A",
                "backbone_args": "x='y'",
                "weights_origin": "keras_none",
                "weights": "w=1.h5",
            },
        ),
    ],
)
def test_one_backbone(text: str, expected: dict[str, str]) -> None:
    assert parse_backbones(text) == (BackboneSpec(label=text, **expected),)


def test_several_backbones_keep_their_order() -> None:
    found = parse_backbones("B, A:weights=none,C")
    assert [spec.label for spec in found] == ["B", "A:weights=none", "C"]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "'' does not begin with a name"),
        ("A,,B", "'' does not begin with a name"),
        ("A,", "'' does not begin with a name"),
        (":alpha=1", "':alpha=1' does not begin with a name"),
        ("A B", "'A B' does not begin with a name"),
        ("A:alpha", "'alpha' is not ARGUMENT=VALUE"),
        ("A:=1", "'=1' is not ARGUMENT=VALUE"),
        ("A:weights=", "'A:weights=' names no weights"),
        ("A:weights_origin=b:weights=f", "weights_origin=imagenet or"),
        ("A,A", "names A twice; give each once"),
    ],
)
def test_another_text_is_refused(text: str, what: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_backbones(text)
    assert what in str(refused.value)
    assert str(refused.value).startswith(f"--backbones={text!r}: ")
