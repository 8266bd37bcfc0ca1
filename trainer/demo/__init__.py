"""The data set that comes with the project: food drawn by a program.

Nothing here imports TensorFlow but `builder`, which TFDS needs: the processes
that draw start in a blink.
"""
