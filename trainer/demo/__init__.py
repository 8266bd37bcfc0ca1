"""What comes with the project: a data set drawn by a program, and a backbone.

Nothing here imports TensorFlow but `builder`, so that the processes that draw
start in a blink; and nothing else in the project imports this, unless the
demo is asked for.
"""
