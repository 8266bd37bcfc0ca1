"""Refused flags of training, devices and folders."""

from __future__ import annotations

from tests.support.bad_flag_cases.case import (
    FAILURE,
    TWO_REPLICAS,
    USAGE,
    Case,
    evaluating,
)

TRAINING = (
    Case(
        name="image_size",
        flags={"image_size": 31},
        status=USAGE,
        words=("--image_size=31: too small", "at least 32 px", "give"),
    ),
    Case(
        name="batch_size 0",
        flags={"batch_size": 0},
        status=USAGE,
        words=(
            "--batch_size=0: must be a whole number from 1",
            "default is 32",
        ),
    ),
    Case(
        name="batch_size and replicas",
        flags={"batch_size": 7, **TWO_REPLICAS},
        status=USAGE,
        words=(
            "--batch_size=7: not divisible by the 2 replicas",
            "give a multiple of 2, or --strategy=one_device",
        ),
    ),
    Case(
        name="batch_size, replicas and parts",
        flags={"batch_size": 6, "accumulate_steps": 2, **TWO_REPLICAS},
        status=USAGE,
        words=(
            "--batch_size=6: not divisible by the 2 replicas that share it in 2"
            " parts each (--accumulate_steps)",
            "give a multiple of 4",
        ),
    ),
    Case(
        name="parts that do not divide",
        flags={"batch_size": 8, "accumulate_steps": 3},
        status=USAGE,
        words=(
            "--accumulate_steps=3: does not divide --batch_size=8",
            "give a divisor of it",
        ),
    ),
    Case(
        name="monitor",
        flags={"monitor": "f1"},
        status=USAGE,
        words=("--monitor", "macro_f1", "balanced_accuracy"),
    ),
    Case(
        name="patience 0",
        flags={"patience": 0},
        status=USAGE,
        words=("--patience=0: must be a whole number >= 1, or left out",),
    ),
    *(
        Case(
            name=f"time_limit {value}",
            flags={"time_limit": value},
            status=USAGE,
            words=(f"--time_limit={value}: must be a number of minutes",),
        )
        for value in ("0", "-1", "nan")
    ),
    Case(
        name="patience of a solved head",
        flags={"head_solver": "lbfgs", "patience": 2, "epochs": None},
        status=USAGE,
        words=("--patience: not read with --head_solver=lbfgs", "leave it out"),
    ),
    Case(
        name="time_limit of an evaluation",
        flags=evaluating("{root}/empty", time_limit=3),
        status=USAGE,
        words=("--time_limit: not read by --stage=evaluate", "leave it out"),
    ),
    Case(
        name="validation unknown",
        flags={"validation": "some"},
        status=USAGE,
        words=(
            "--validation='some': no such validation; give auto, split,"
            " train:FRACTION such as train:0.1, kfold:K such as kfold:5, or"
            " test",
        ),
    ),
    Case(
        name="validation train:0",
        flags={"validation": "train:0"},
        status=USAGE,
        words=(
            "--validation='train:0': must be a fraction above 0 and up to 0.5;"
            " give train:0.1",
        ),
    ),
    Case(
        name="validation kfold:1",
        flags={"validation": "kfold:1"},
        status=USAGE,
        words=(
            "--validation='kfold:1': must be a number of folds from 2 to 20;"
            " give kfold:5",
        ),
    ),
    Case(
        name="validation and validation_fraction",
        flags={"validation": "auto", "validation_fraction": 0.5},
        status=USAGE,
        words=(
            "--validation_fraction=0.5: not read with --validation=auto, only"
            " with --validation=test; leave it out",
        ),
    ),
    Case(
        name="validation split without a split",
        flags={"validation": "split"},
        status=USAGE,
        words=(
            "--validation=split: photos has no validation split; add a folder"
            " val/",
            "or give --validation=train:0.1",
        ),
    ),
    Case(
        name="validation of a stage that trains nothing",
        flags=evaluating("{root}/run", validation="auto"),
        status=USAGE,
        words=(
            "--validation: not read by --stage=evaluate, only by"
            " feature_extract, finetune, lr_find, search; leave it out",
        ),
    ),
    Case(
        name="validation with more folds than samples",
        flags={"validation": "kfold:20"},
        status=FAILURE,
        words=(
            "--validation=fold:1/20: 20 folds need 20 training samples of each"
            " class in the subset; 'apple pie' has 4, 'sushi' has 4, 'борщ'"
            " has 4;",
            "give fewer folds or a larger --data_pct, or add images",
        ),
    ),
    *(
        Case(
            name=f"profile {value!r}",
            flags={"profile": value},
            status=USAGE,
            words=(
                f"--profile={value!r}: must be the first and the last step",
            ),
        )
        for value in ("3", "0,3", "5,4", "1,2,3", "a,b")
    ),
    Case(
        name="steps_per_loop",
        flags={"steps_per_loop": -1},
        status=USAGE,
        words=("--steps_per_loop=-1", "must be a whole number >= 0"),
    ),
    *(
        Case(
            name=f"gpus {value!r}",
            flags={"gpus": value},
            status=USAGE,
            words=(f"--gpus={value!r}: must be numbers from 0", "such as 0,1"),
        )
        for value in ("one", "0;1", "-1", "")
    ),
    Case(
        name="a GPU twice",
        flags={"gpus": "0,0"},
        status=USAGE,
        words=("--gpus='0,0': names GPU 0 twice", "give each once"),
    ),
    Case(
        name="no such GPU",
        flags={"gpus": "99"},
        status=USAGE,
        words=("--gpus=99: ", " GPU "),
    ),
    Case(
        name="no TPU",
        flags={"strategy": "tpu"},
        status=USAGE,
        words=("--strategy=tpu: TensorFlow", "no TPU", "--strategy=auto"),
    ),
    Case(
        name="TPU and strategy",
        flags={"tpu": "local", "strategy": "mirrored"},
        status=USAGE,
        words=("--tpu='local': not possible with --strategy=mirrored",),
    ),
    Case(
        name="TPU without its compiler",
        flags={"strategy": "tpu", "xla": "off"},
        status=USAGE,
        words=(
            "--xla=off: not possible with --strategy=tpu",
            "give --xla=auto",
        ),
    ),
    Case(
        name="workdir below a file",
        flags={"workdir": "{root}/file/below"},
        status=FAILURE,
        words=(
            "--workdir='{root}/file/below': cannot be written to",
            "Not a directory",
            "give a writable folder",
        ),
    ),
    Case(
        name="workdir is a file",
        flags={"workdir": "{root}/file"},
        status=FAILURE,
        words=("--workdir='{root}/file': cannot be written to", "File exists"),
    ),
    Case(
        name="workdir in /proc",
        flags={"workdir": "/proc/nope"},
        status=FAILURE,
        words=(
            "--workdir='/proc/nope': cannot be written to",
            "give a writable folder",
        ),
    ),
    Case(
        name="workdir empty",
        flags={"workdir": ""},
        status=USAGE,
        words=("--workdir=''", "give a folder, or leave the flag out"),
    ),
    Case(
        name="init_from missing",
        flags={"init_from": "{root}/nowhere"},
        status=USAGE,
        words=(
            "--init_from='{root}/nowhere': no such folder",
            "give the workdir of an earlier run",
        ),
    ),
    Case(
        name="init_from without checkpoint",
        flags={"init_from": "{root}/empty"},
        status=FAILURE,
        words=(
            "--init_from='{root}/empty': holds no checkpoint",
            "give the workdir of a run that has saved one",
        ),
    ),
    Case(
        name="evaluate without checkpoint",
        flags=evaluating("{root}/empty"),
        status=FAILURE,
        words=("--workdir='{root}/empty': holds no checkpoint", "train there"),
    ),
    Case(
        name="evaluate nowhere",
        flags=evaluating("{root}/nowhere"),
        status=USAGE,
        words=("--workdir='{root}/nowhere': no such folder", "earlier run"),
    ),
    Case(
        name="evaluate without workdir",
        flags=evaluating(None),
        status=USAGE,
        words=("--workdir", "--stage=evaluate needs", "give --workdir=FOLDER"),
    ),
    Case(
        name="evaluate with a flag of training",
        flags=evaluating("{root}/empty", epochs=3),
        status=USAGE,
        words=(
            "--epochs: not read by --stage=evaluate",
            "only by feature_extract, finetune",
            "leave it out",
        ),
    ),
    Case(
        name="flag",
        flags={"epoch": 3},
        status=USAGE,
        words=("--epoch: no such flag", "did you mean --epochs?"),
    ),
)
