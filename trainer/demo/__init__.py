"""The demo data set, drawn by a program.

Only `builder` imports TensorFlow, so that the processes that draw start fast.
The rest of the project imports this package only if the demo is asked for.
"""
