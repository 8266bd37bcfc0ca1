"""The data set that comes with the project: food drawn by a program.

Nothing here imports TensorFlow but `builder`, so that the processes that draw
start in a blink; and nothing else in the project imports this, unless the
demo is asked for.
"""
