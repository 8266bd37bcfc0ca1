"""Weights of samples in the batches, and in what runs say about them."""

from __future__ import annotations

import pathlib
import types
from typing import Any

import numpy as np
import pytest

from tests.data.test_table import open_it, rows, table
from trainer.cache import RowSpec
from trainer.data.batches import evaluation_batches, training_batches
from trainer.data.order import Shard
from trainer.data.reading import Reading
from trainer.data.sample_weights import weights_phrase
from trainer.data.samples import WHOLE_FILE, Samples
from trainer.data.table import BadRowsError

N = 10
WEIGHTS = np.arange(N) / 4 + 0.25


def samples_of(weights: np.ndarray | None) -> Samples:
    return Samples(
        ids=tuple(map(str, range(N))),
        labels=np.arange(N, dtype=np.int32) % 3,
        paths=("",) * N,
        offsets=np.zeros(N, np.int64),
        lengths=np.full(N, WHOLE_FILE, np.int64),
        weights=weights,
    )


def reading() -> Reading:
    """Returns a reading whose one feature is the number of the row plus 1."""
    features: Any = types.SimpleNamespace(
        specs=(RowSpec(shape=(1,), dtype="float32"),),
        read=lambda rows: [(rows + 1).astype(np.float32)[:, None]],
    )
    return Reading(image_px=4, features=features)


@pytest.mark.parametrize("start", [0, 4])
def test_each_row_has_its_weight_and_padding_has_0(start: int) -> None:
    shard = Shard(global_batch=4, num_replicas=2, pipeline=0, num_pipelines=1)
    batches = training_batches(
        samples_of(WEIGHTS),
        reading=reading(),
        shard=shard,
        seed=0,
        start_step=start,
        total_steps=9,
        augment=False,
    )
    elements = list(batches.as_numpy_iterator())
    assert len(elements) == 2 * (9 - start)
    for element in elements:
        numbers = element["features"][0][:, 0].astype(int)
        expected = np.append(0, WEIGHTS)[numbers]
        assert element["importance"].dtype == np.float32
        assert element["importance"].tolist() == expected.tolist()
        assert (element["mask"] == (expected > 0)).all()


def test_batches_without_weights_have_no_importance() -> None:
    shard = Shard(global_batch=4, num_replicas=1, pipeline=0, num_pipelines=1)
    plain = training_batches(
        samples_of(None),
        reading=reading(),
        shard=shard,
        seed=0,
        start_step=0,
        total_steps=3,
        augment=False,
    )
    evaluated = evaluation_batches(
        samples_of(WEIGHTS), reading=reading(), shard=shard
    )
    for batches in (plain, evaluated):
        assert "importance" not in batches.element_spec


def test_columns_of_other_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in length"):
        samples_of(WEIGHTS[:4])


@pytest.mark.parametrize(
    ("weights", "phrase"),
    [
        ([0.5, 2], "weights from 0.5 to 2"),
        ([0, 2, 0], "weights from 0 to 2, 2 of them 0"),
    ],
)
def test_the_range_of_weights_is_told(
    weights: list[float], phrase: str
) -> None:
    assert weights_phrase(np.array(weights)) == phrase


def test_weights_stay_with_their_rows(tmp_path: pathlib.Path) -> None:
    text = "path,label,split,weight\n3,a,train,0\n1,b,train,2.5\n"
    text += "4,a,test,\n2,b,test,1e6\n"
    source = open_it(table(tmp_path, text))
    assert source.test is not None
    assert source.train.ids == ("1", "3")
    assert source.train.weights is not None
    assert source.train.weights.tolist() == [2.5, 0]
    assert source.test.weights is not None
    assert source.test.weights.tolist() == [1e6, 1]
    assert source.train.take([1]).weights.tolist() == [0]


@pytest.mark.parametrize(
    "cell", ["-0.5", "nan", "inf", "1e-7", "2e6", "1,5", "heavy"]
)
def test_illegal_weights_are_bad_rows(
    tmp_path: pathlib.Path, cell: str
) -> None:
    text = "path\tlabel\tweight\n" + f"1\ta\t{cell}\n"
    with pytest.raises(BadRowsError) as error:
        open_it(table(tmp_path, text, "d.tsv"))
    assert f"line 2: no weight '{cell}'; legal are 0 and" in str(error.value)


def test_weights_of_one_are_as_no_column(tmp_path: pathlib.Path) -> None:
    text = "path,label,weight\n" + rows("a{},a,1", 1, 2)
    text += rows("b{},b,1.0", 1, 2)
    assert open_it(table(tmp_path, text)).train.weights is None


def test_ignored_weights_are_not_read(tmp_path: pathlib.Path) -> None:
    text = "path,label,weight\n" + rows("a{},a,heavy", 1, 2)
    text += rows("b{},b,0.5", 1, 2)
    source = open_it(table(tmp_path, text), columns="weight=")
    assert sorted(source.train.ids)[0][0] == "a"
    assert len(source.train) == 2
