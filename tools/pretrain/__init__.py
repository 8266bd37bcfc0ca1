"""Pre-trains the demo backbone on procedural pictures.

    python -m tools.pretrain draw      pictures, once, into the workdir
    python -m tools.pretrain train     EfficientNetB0 on them; resumes
    python -m tools.pretrain export    the weights that the project ships
    python -m tools.pretrain calibrate random weights with live statistics
    python -m tools.pretrain real      from random weights on a real data set

The last two are what the demo backbone is compared with. What is shipped was
made by these, small pictures first, for they cost half as much:

    python -m tools.pretrain train --workdir=A --image_size=48 --steps=5600
    python -m tools.pretrain train --workdir=B --init_from=A --image_size=64 \\
        --seed=1 --pictures=30000 --steps=1500 --learning_rate=1e-3 \\
        --warmup_steps=100
    python -m tools.pretrain export --workdir=B
"""
