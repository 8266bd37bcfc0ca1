"""Refused flags of data, backbone and weights."""

from __future__ import annotations

from tests.support.bad_flag_cases.case import (
    FAILURE,
    FIX,
    USAGE,
    Case,
)

_PHOTOS = "give a folder of photos (train/CLASS/*.jpg or CLASS/*.jpg)"
_READABLE = "JPEG, PNG, BMP, GIF and WebP can be read"
_PERCENT = "must be a number above 0 and up to 100"
DATA = (
    Case(
        name="stage",
        flags={"stage": "finetun"},
        status=USAGE,
        words=(
            "--stage='finetun'",
            "feature_extract, finetune, study, check_data, probe, lr_find",
            "did you mean finetune?",
        ),
    ),
    Case(
        name="backbone",
        flags={"backbone": "MobileNetV9"},
        status=USAGE,
        words=(
            "--backbone='MobileNetV9': no such backbone",
            "did you mean MobileNetV2",
            "legal: ConvNeXtBase, ",
        ),
    ),
    Case(
        name="backbone argument",
        flags={"backbone_args": "beta=2"},
        status=USAGE,
        words=("--backbone_args=beta=2", "not an argument", "legal", "alpha"),
    ),
    Case(
        name="no dataset",
        flags={"dataset": ""},
        status=USAGE,
        words=("--dataset=''", "no data named", "give a folder", "food10"),
    ),
    Case(
        name="dataset is no TFDS name",
        flags={"dataset": "tf_flower"},
        status=USAGE,
        words=(
            "--dataset='tf_flower'",
            "neither a folder nor a TFDS name",
            "did you mean tf_flowers",
            "give a folder of photos, demo, food10 or a name",
        ),
    ),
    Case(
        name="dataset folder missing",
        flags={"dataset": "{root}/nowhere"},
        status=USAGE,
        words=("--dataset='{root}/nowhere': no such folder", _PHOTOS),
    ),
    Case(
        name="dataset is a file",
        flags={"dataset": "{root}/file"},
        status=USAGE,
        words=("--dataset='{root}/file': a file", _PHOTOS),
    ),
    Case(
        name="dataset folder empty",
        flags={"dataset": "{root}/empty"},
        status=FAILURE,
        words=("--dataset='{root}/empty'", "no class folders", _PHOTOS),
    ),
    Case(
        name="one class only",
        flags={"dataset": "{root}/one"},
        status=FAILURE,
        words=(
            "--dataset='{root}/one'",
            "one class only, 'pie'",
            "add a class folder with images to train/ and test/",
        ),
    ),
    Case(
        name="class without image",
        flags={"dataset": "{root}/bare"},
        status=FAILURE,
        words=(
            "--dataset='{root}/bare'",
            "class 'sushi' in train/ has no image (.jpg, .jpeg,",
            "add some, or remove the class from train/ and test/ alike",
        ),
    ),
    Case(
        name="class without readable image",
        flags={"dataset": "{root}/unreadable", "on_bad_image": "skip"},
        status=FAILURE,
        words=(
            "class 'sushi': no readable image in the train split",
            "{root}/unreadable/train/sushi/000.jpg: an empty file",
            "replace the unreadable images, or remove every folder of the",
        ),
    ),
    Case(
        name="class sets differ",
        flags={"dataset": "{root}/differ"},
        status=FAILURE,
        words=(
            "--dataset='{root}/differ'",
            "test/ lacks 'sushi' and also has 'suhsi'",
            "give train/ and test/ the same class folders",
        ),
    ),
    *(
        Case(
            name=f"image {name}",
            flags={"dataset": f"{{root}}/{name}"},
            status=FAILURE,
            words=(f"{{root}}/{name}/test/sushi/001.jpg: {reason}", FIX),
        )
        for name, reason in (
            ("corrupt", "a broken, truncated or unsupported JPEG"),
            ("truncated", "a broken, truncated or unsupported JPEG"),
            ("zero", "an empty file"),
            ("html", f"looks like HTML; {_READABLE}"),
            ("tiff", f"looks like TIFF; {_READABLE}"),
        )
    ),
    Case(
        name="shots and data_pct",
        flags={"shots": 5, "data_pct": 10},
        status=USAGE,
        words=("--shots=5: not possible with --data_pct=10; leave one",),
    ),
    Case(
        name="shots 0",
        flags={"shots": 0},
        status=USAGE,
        words=("--shots=0: must be a whole number of images from 1",),
    ),
    Case(
        name="columns",
        flags={"columns": "file"},
        status=USAGE,
        words=(
            "--columns='file': 'file' is not such a pair; give COLUMN=NAME",
        ),
    ),
    Case(
        name="columns of a folder",
        flags={"columns": "path=file"},
        status=USAGE,
        words=(
            "--columns='path=file': '{root}/photos' is not a table; leave it",
        ),
    ),
    Case(
        name="column of groups of a folder",
        flags={"group_by": "column"},
        status=USAGE,
        words=(
            "--group_by=column: '{root}/photos' is not a table; leave it out",
        ),
    ),
    Case(
        name="grouping",
        flags={"group_by": "person"},
        status=USAGE,
        words=("--group_by='person': no such grouping; give parent, column",),
    ),
    Case(
        name="group in two splits",
        flags={"group_by": "parent"},
        status=FAILURE,
        words=(
            "--dataset='{root}/photos': group '",
            "has images in train and in test; move each group to one split, or"
            " give --group_by=none",
        ),
    ),
    *(
        Case(
            name=f"data_pct {value}",
            flags={"data_pct": value},
            status=USAGE,
            words=(f"--data_pct={value}: {_PERCENT}", "default is 100"),
        )
        for value in ("0", "101", "-1", "nan")
    ),
    Case(
        name="data_pct is no number",
        flags={"data_pct": "ten"},
        status=USAGE,
        words=("--data_pct='ten': not a number", "--help"),
    ),
    Case(
        name="weights missing",
        flags={"weights": "{root}/nowhere.h5"},
        status=USAGE,
        words=("--weights='{root}/nowhere.h5': no such file", "give imagenet"),
    ),
    Case(
        name="not weights",
        flags={"weights": "{root}/file"},
        status=FAILURE,
        words=("--weights='{root}/file': holds no weights", ".weights.h5"),
    ),
    Case(
        name="weights of another architecture",
        flags={"weights": "{root}/other.weights.h5"},
        status=FAILURE,
        words=(
            "--weights='{root}/other.weights.h5'",
            "another architecture",
            "no 'conv1'",
            "give weights of this --backbone",
        ),
    ),
    # Channels 8 and, with alpha=0.5, 4.
    Case(
        name="weights of wrong shapes",
        flags={"weights": "{root}/half.weights.h5"},
        status=FAILURE,
        words=(
            "--weights='{root}/half.weights.h5': wrong shapes",
            "layer 'conv1' (kernel) is (3, 3, 3, 4) in the file and"
            " (3, 3, 3, 8) in the model",
            "give the --backbone_args it was saved with",
        ),
    ),
)
