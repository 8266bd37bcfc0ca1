"""Access to files: paths of this machine, and URLs that TensorFlow opens."""
