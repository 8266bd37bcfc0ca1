"""Layouts of made-up folders, given as lists of files."""

from __future__ import annotations

import pytest

from tests.support.trees import layout_of, shown
from trainer.data.layout_names import LayoutError, role_of


@pytest.mark.parametrize(
    ("role", "names"),
    [
        (
            "train",
            "train Training TRN training_set trainset Train-Images TrainData",
        ),
        ("validation", "val Valid VALIDATION dev val_set validation-images"),
        ("test", "test Testing TST eval Evaluation test_set testdata"),
        (
            None,
            "trains trainer tester contest values invalid device set data"
            " train1 apple",
        ),
    ],
    ids=str,
)
def test_split_names_are_known_in_any_spelling(
    role: str | None, names: str
) -> None:
    for name in names.split():
        assert role_of(name) == role, name


BRAIN = ("{Training,Testing}/{glioma,notumor}/1",)
CLASS_FIRST = ("{cat,dog}/{train,test}/1",)
CASES = {
    "flat": (("{a,b}/1",), {"train": ": a b"}),
    "nothing": ((), {"train": ": "}),
    "nested classes": (("{a,b}/{x,y,z}/1", "a/1"), {"train": ": a b"}),
    "brain scans": (
        BRAIN,
        {
            "train": "Training: glioma notumor",
            "test": "Testing: glioma notumor",
        },
    ),
    "train and testing": (
        ("{train,testing}/{a,b}/1",),
        {"train": "train: a b", "test": "testing: a b"},
    ),
    "capitals and hyphens": (
        ("{TRAIN-images,Val_Set,TEST}/{a,b}/1",),
        {
            "train": "TRAIN-images: a b",
            "validation": "Val_Set: a b",
            "test": "TEST: a b",
        },
    ),
    "train and eval": (
        ("{train,eval}/{a,b}/1",),
        {"train": "train: a b", "test": "eval: a b"},
    ),
    "eval beside test": (
        ("{train,eval,test}/{a,b}/1",),
        {"train": "train: a b", "validation": "eval: a b", "test": "test: a b"},
    ),
    "eval beside val": (
        ("{train,eval,val}/{a,b}/1",),
        {"train": "train: a b", "validation": "val: a b", "test": "eval: a b"},
    ),
    "training_set": (
        ("{training_set,test_set}/{a,b}/1",),
        {"train": "training_set: a b", "test": "test_set: a b"},
    ),
    "train alone": (("train/{a,b}/1",), {"train": "train: a b"}),
    "folders without images beside": (
        ("{train,test}/{a,b}/1", "docs/readme.txt", "labels/train/1.txt"),
        {"train": "train: a b", "test": "test: a b"},
    ),
    "photos of trains": (("{bus,car,train}/1",), {"train": ": bus car train"}),
    "classes valid and invalid": (
        ("{valid,invalid}/1",),
        {"train": ": invalid valid"},
    ),
    "class first": (
        CLASS_FIRST,
        {"train": "*/train: cat dog", "test": "*/test: cat dog"},
    ),
    "class first in mixed spelling": (
        ("cat/{Train,Val,test}/1", "dog/{training,valid,Test}/1"),
        {
            "train": "*/Train: cat dog",
            "validation": "*/Val: cat dog",
            "test": "*/test: cat dog",
        },
    ),
    "kinds of vehicles": (
        ("road/{bus,car}/1", "rail/{train,tram}/1"),
        {"train": ": rail road"},
    ),
    "four domains of the same classes": (
        ("{art,cartoon,photo,sketch}/{a,b}/1",),
        {"train": ": art cartoon photo sketch"},
    ),
    "test tube among many classes": (
        ("{a,b,c,test tube,bullet train}/1",),
        {"train": ": a b bullet train c test tube"},
    ),
}


@pytest.mark.parametrize(("paths", "expected"), CASES.values(), ids=CASES)
def test_layout_is_detected(
    paths: tuple[str, ...], expected: dict[str, str]
) -> None:
    assert shown(layout_of(*paths)) == expected


def test_class_first_images_are_those_of_the_split() -> None:
    layout = layout_of(*CLASS_FIRST)
    assert layout.splits["test"].classes == (
        ("cat", "cat/test"),
        ("dog", "dog/test"),
    )


def test_class_named_like_a_split_is_noted() -> None:
    assert layout_of("{bus,test}/1").notes == (
        "test/ is a class, although it is named like a split, because it"
        " holds images and no folders",
    )
    assert not layout_of("{a,b}/1").notes


REFUSED = {
    "something beside the splits": (
        ("{train,test,extra}/{a,b}/1",),
        "train/ and test/ look like splits, and extra/ beside them would not"
        " be used; --train_split=train leaves it out, and --train_split=."
        " takes each folder as a class",
    ),
    "a split of unknown name": (
        ("{train,holdout}/{a,b}/1",),
        "train/ looks like a split, and holdout/ beside it would not be used;"
        " --train_split=train leaves it out, --test_split=holdout tests on"
        " holdout/, and --train_split=. takes each folder as a class",
    ),
    "a class called train with folders": (
        ("{bus,car}/1", "train/steam/1"),
        "train/ looks like a split, and bus/ and car/ beside it would not be"
        " used; --train_split=. takes each folder as a class",
    ),
    "splits without classes": (
        ("{bus,train,test}/1",),
        "train/ and test/ look like splits, and bus/ beside them would not be"
        " used; --train_split=. takes each folder as a class",
    ),
    "same folders": (
        ("{2019,2020}/{a,b}/1",),
        "2019/ and 2020/ hold the same folders, 'a', 'b', so each may be a"
        " split or a class; give --train_split=2019 --test_split=2020 for"
        " splits, or --train_split=. for classes",
    ),
    "three with the same folders": (
        ("{fold1,fold2,fold3}/{a,b}/1",),
        "fold1/, fold2/ and fold3/ hold the same folders, 'a', 'b', so each"
        " may be a split or a class; give --train_split=fold1"
        " --test_split=fold2 for splits, or --train_split=. for classes",
    ),
    "two spellings of train": (
        ("{Train,train,test}/{a,b}/1",),
        "more than one training split: Train/, train/; keep one of them, or"
        " name it with --train_split=Train",
    ),
    "no training split": (
        ("{photos,test}/{a,b}/1",),
        "test/ looks like a split, but no folder looks like the training"
        " split; name it with --train_split=NAME, or give --train_split=. if"
        " each folder is a class",
    ),
    "words in names": (
        ("seg_train/seg_train/{a,b}/1", "seg_test/seg_test/{a,b}/1"),
        "seg_test/ and seg_train/ look like splits by a word in their names;"
        " give --train_split=seg_train --test_split=seg_test, or paths such"
        " as seg_test/seg_test, or --train_split=. if each folder is a class",
    ),
    "class and split in one name": (
        ("{train_cats,train_dogs,test_cats,test_dogs}/1",),
        "test_cats/, test_dogs/, train_cats/ and train_dogs/ look like splits"
        " by a word in their names; give --train_split=train_cats"
        " --test_split=test_cats, or paths such as test_cats/images, or"
        " --train_split=. if each folder is a class",
    ),
    "only some classes have splits": (
        ("cat/{train,test}/1", "dog/1"),
        "cat/ holds test/ and train/, which look like splits, but dog/ does"
        " not hold such folders; arrange all classes alike, or give"
        " --train_split=. to use all images of a class alike",
    ),
    "test photos in one class": (
        ("dog/test/1", "dog/1", "cat/1"),
        "dog/ holds test/, which looks like a split, but cat/ does not hold"
        " such folders; arrange all classes alike, or give --train_split=. to"
        " use all images of a class alike",
    ),
}


@pytest.mark.parametrize(("paths", "text"), REFUSED.values(), ids=REFUSED)
def test_open_question_is_refused(paths: tuple[str, ...], text: str) -> None:
    with pytest.raises(LayoutError) as error:
        layout_of(*paths)
    assert str(error.value) == text
    # The flag that the message names decides.
    layout_of(*paths, train=".")


@pytest.mark.parametrize(
    ("paths", "inner"),
    [
        (("food/{train,test}/{a,b}/1",), "food"),
        (("food/{a,b}/1", "docs/1.txt"), "food"),
        (("data/food/{a,b}/1",), "data/food"),
        (("train/{train,val}/{a,b}/1",), "train"),
    ],
    ids=str,
)
def test_wrapped_folder_names_the_inner_folder(
    paths: tuple[str, ...], inner: str
) -> None:
    with pytest.raises(LayoutError, match="holds only") as error:
        layout_of(*paths)
    assert error.value.inner == inner
