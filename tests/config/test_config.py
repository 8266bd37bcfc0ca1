"""Tests of Config: legal values, defaults and one-line errors."""

import pytest

from trainer.config import Config
from trainer.config.fields import FIELDS
from trainer.config.given import check_given, check_solved_head
from trainer.errors import UsageError


def make(**values):
    return Config(**{"dataset": "photos", **values})


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (
            "stage",
            "finetun",
            "--stage='finetun': not one of feature_extract, finetune,"
            " study, check_data, probe, lr_find, search, soup, evaluate,"
            " predict, export, serve, report, embed, compare, list_runs; did"
            " you mean finetune?",
        ),
        (
            "data_pct",
            0.0,
            "--data_pct=0: must be a number above 0 and up to 100;"
            " the default is 100.0",
        ),
        ("data_pct", 101.0, "--data_pct=101: must be a number above 0"),
        ("data_pct", -1.0, "--data_pct=-1: must be a number above 0"),
        ("data_pct", float("nan"), "--data_pct=nan: must be a number above"),
        ("batch_size", 0, "--batch_size=0: must be a whole number from 1"),
        ("epochs", 0, "--epochs=0: must be a whole number from 1"),
        ("learning_rate", 0.0, "--learning_rate=0: must be a number above 0"),
        ("learning_rate", float("inf"), "--learning_rate=inf: must be"),
        ("image_size", -5, "--image_size=-5: must be a whole number of px"),
        ("seed", -1, "--seed=-1: must be a whole number from 0 to 2**31-1"),
        ("seed", 2**31, "--seed=2147483648: must be a whole number from 0"),
        ("data_pct", 100.00001, "--data_pct=100.00001: must be a number"),
        ("workdir", "", "--workdir='': an empty path; give a folder, or"),
        ("workdir", "x\udcff", r"--workdir='x\udcff': not UTF-8; rename it"),
        ("init_from", "", "--init_from='': an empty path; give a folder"),
        (
            "workdir",
            "runs[1]",
            "--workdir='runs[1]': TensorFlow treats a path with any of * ? [ \\"
            " as a pattern and would not find its checkpoints; give a path"
            " without them",
        ),
        ("workdir", "a*", "--workdir='a*': TensorFlow treats a path with any"),
        ("init_from", "what?", "--init_from='what?': TensorFlow treats a path"),
        ("tfds_data_dir", "", "--tfds_data_dir='': an empty path; give a"),
        (
            "test_split",
            "../mine",
            "--test_split='../mine': not a folder of the data set; give its"
            " path below --dataset, such as holdout, or */holdout for a folder"
            " in each class folder, or none",
        ),
        ("train_split", "", "--train_split='': not a folder of the data set"),
        ("train_split", "/data", "--train_split='/data': not a folder of the"),
        ("val_split", "a*", "--val_split='a*': not a folder of the data set"),
        ("val_split", ".", "--val_split='.': not a folder of the data set"),
        ("test_fraction", 1.0, "--test_fraction=1: must be a number above 0"),
        ("validation_fraction", 1.5, "--validation_fraction=1.5: must be"),
        ("clip_global_norm", 0.0, "--clip_global_norm=0: must be a number"),
        ("keep_checkpoints", 0, "--keep_checkpoints=0: must be a whole"),
        ("log_every_steps", 0, "--log_every_steps=0: must be a whole"),
        ("checkpoint_every_steps", -1, "--checkpoint_every_steps=-1: must"),
        ("head_epochs", -1, "--head_epochs=-1: must be a whole number from 0"),
        ("head_learning_rate", -1.0, "--head_learning_rate=-1: must be"),
        ("warmup", -1.0, "--warmup=-1: must be a fraction from 0 to below 1,"),
        ("warmup", 1.5, "--warmup=1.5: must be a fraction from 0 to below 1,"),
        ("warmup", 2e6, "--warmup=2000000: must be a fraction from 0 to"),
        ("logical_cpus", 0, "--logical_cpus=0: must be a whole number from 1"),
        ("steps_per_loop", -1, "--steps_per_loop=-1: must be a whole number"),
        ("accumulate_steps", 0, "--accumulate_steps=0: must be a whole"),
        (
            "accumulate_steps",
            5,
            "--accumulate_steps=5: does not divide --batch_size=32 into equal"
            " parts; give a divisor of it",
        ),
        (
            "monitor",
            "f1",
            "--monitor='f1': not one of accuracy, loss, macro",
        ),
        ("monitor", "acuracy", "did you mean accuracy?"),
        (
            "patience",
            0,
            "--patience=0: must be a whole number >= 1, or left out to train"
            " all epochs; the default is unset",
        ),
        ("patience", -3, "--patience=-3: must be a whole number >= 1"),
        (
            "time_limit",
            0.0,
            "--time_limit=0: must be a number of minutes above 0, or left out"
            " for no limit; the default is unset",
        ),
        ("time_limit", -1.0, "--time_limit=-1: must be a number of minutes"),
        ("time_limit", float("nan"), "--time_limit=nan: must be a number"),
        ("time_limit", float("inf"), "--time_limit=inf: must be a number"),
        ("gpus", "", "--gpus='': must be numbers from 0, separated by commas"),
        ("gpus", "0,", "--gpus='0,': must be numbers from 0, separated by"),
        ("gpus", "-1", "--gpus='-1': must be numbers from 0, separated by"),
        ("gpus", "all", "--gpus='all': must be numbers from 0, separated by"),
        ("gpus", "1,0,1", "--gpus='1,0,1': names GPU 1 twice; give each once"),
        ("gpus", "0,2,2", "--gpus='0,2,2': names GPU 2 twice; give each once"),
        ("tpu", "", "--tpu='': not possible; give local or a TPU's name"),
        ("xla", "yes", "--xla='yes': not one of auto, on, off"),
        ("precision", "fp16", "--precision='fp16': not one of auto, float32"),
        ("strategy", "mirored", "did you mean mirrored?"),
        ("on_bad_image", "ignore", "--on_bad_image='ignore': not one of"),
        ("weights_origin", "keras", "--weights_origin='keras': not one of"),
        ("init_from_checkpoint", "frist", "not one of last, best"),
        ("checkpoint", "x", "--checkpoint='x': not one of last, best"),
        ("unfreeze", "last:0", "--unfreeze='last:0': last:N takes a whole"),
        ("dataset", "", "--dataset='': no data named; give a folder"),
    ],
)
def test_illegal_values_get_one_line(field, value, message):
    with pytest.raises(UsageError) as error:
        make(**{field: value})
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"tpu": "local", "strategy": "mirrored"},
            "--tpu='local': not possible with --strategy=mirrored; give local"
            " or a TPU's name, with --strategy=tpu or auto",
        ),
        (
            {"tpu": "local", "gpus": "0"},
            "--tpu='local': not possible with --gpus=0; leave one of them out",
        ),
        (
            {"strategy": "tpu", "gpus": "0"},
            "--strategy=tpu: not possible with --gpus=0; leave one of them out",
        ),
        *(
            (
                {**values, "xla": "off"},
                f"--xla=off: not possible with {named}, because a TPU always"
                " compiles; give --xla=auto",
            )
            for values, named in (
                ({"strategy": "tpu"}, "--strategy=tpu"),
                ({"tpu": "n1"}, "--tpu='n1'"),
            )
        ),
    ],
)
def test_device_flags_that_exclude_each_other_are_rejected(values, message):
    with pytest.raises(UsageError) as error:
        make(**values)
    assert str(error.value) == message


@pytest.mark.parametrize("stage", ["evaluate", "predict", "export", "report"])
def test_a_stage_that_uses_a_model_needs_a_workdir(stage):
    with pytest.raises(UsageError, match=f"--workdir='': --stage={stage}"):
        Config(stage=stage)


def test_predict_needs_inputs():
    with pytest.raises(UsageError, match="--inputs='': --stage=predict needs"):
        Config(stage="predict", workdir="w")


def test_json_round_trip():
    config = make(data_pct=0.5, clip_global_norm=1.0, unfreeze="all")
    assert Config.from_json(config.to_json()) == config


@pytest.mark.parametrize(
    ("stage", "flag"),
    [
        ("feature_extract", "unfreeze"),
        ("feature_extract", "head_epochs"),
        ("feature_extract", "checkpoint"),
        ("evaluate", "epochs"),
        ("evaluate", "data_pct"),
        ("lr_find", "tta"),
        ("soup", "tta"),
        ("soup", "checkpoint"),
        ("report", "checkpoint"),
        ("report", "tta"),
        ("report", "strict_classes"),
        ("lr_find", "learning_rate"),
        ("lr_find", "dry_run"),
    ],
)
def test_a_flag_that_the_stage_does_not_read_is_rejected(stage, flag):
    with pytest.raises(UsageError) as error:
        check_given(stage, frozenset({"workdir", flag}))
    assert f"--{flag}: not read by --stage={stage}, only by" in str(error.value)


def test_every_field_has_help_and_an_effect():
    for name, field in FIELDS.items():
        assert field.metadata["help"].endswith("."), name
        assert field.metadata["effect"] in ("result", "numerics", "free")


@pytest.mark.parametrize(
    "value", ["big", "", "-1", "nan", "inf", "1e7", "Auto"]
)
def test_head_l2_is_auto_or_a_number_in_range(value):
    with pytest.raises(UsageError, match="must be auto or a number from 0"):
        Config(dataset="d", head_solver="lbfgs", head_l2=value)


def test_head_l2_needs_the_exact_solver():
    with pytest.raises(UsageError, match="only with --head_solver=lbfgs"):
        Config(dataset="d", head_l2="0.1")
    assert Config(dataset="d", head_solver="lbfgs", head_l2="0").head_l2 == "0"


@pytest.mark.parametrize(
    ("stage", "name"),
    [
        ("feature_extract", "augment"),
        ("feature_extract", "epochs"),
        ("feature_extract", "learning_rate"),
        ("finetune", "head_epochs"),
        ("lr_find", "head_epochs"),
        ("study", "head_learning_rate"),
    ],
)
def test_solved_head_rejects_flags_of_training_steps(stage, name):
    config = Config(dataset="d", stage=stage, head_solver="lbfgs")
    message = f"^--{name}: not read with --head_solver=lbfgs, which solves"
    with pytest.raises(UsageError, match=message):
        check_solved_head(config, frozenset({name, "head_solver"}))
    check_solved_head(config, frozenset({"batch_size", "head_l2"}))
    check_solved_head(Config(dataset="d", stage=stage), frozenset({name}))


def test_finetune_from_another_run_has_no_head_to_solve():
    config = Config(dataset="d", head_solver="lbfgs", init_from="run")
    with pytest.raises(UsageError, match="leave one of them out"):
        check_solved_head(config, frozenset({"head_solver", "init_from"}))
