"""What `--stage` asks for: train, evaluate, predict, export."""
