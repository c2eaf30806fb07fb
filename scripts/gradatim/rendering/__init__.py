"""Every CI file, rendered from the graph of steps."""
