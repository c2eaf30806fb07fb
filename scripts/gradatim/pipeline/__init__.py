"""The release as a graph of steps, and the walk over it."""
