"""Pre-trains the demo backbone on procedural pictures.

    python -m tools.pretrain draw      pictures, once, into the workdir
    python -m tools.pretrain train     EfficientNetB0 on them; resumes
    python -m tools.pretrain export    the weights that the project ships
    python -m tools.pretrain calibrate random weights with live statistics
    python -m tools.pretrain real      from random weights on a real data set

The last two are what the demo backbone is compared with.
"""
