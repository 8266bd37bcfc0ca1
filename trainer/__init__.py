"""Fine-tunes image classifiers with a plain TensorFlow 2 training loop."""
