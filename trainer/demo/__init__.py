"""The demo data set, drawn by a program.

Only `builder` imports TensorFlow, so worker processes start fast. Other
packages import this one only for `--dataset=demo`.
"""
