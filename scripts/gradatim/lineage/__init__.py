"""What a model was trained on, how and with what: read from where training left it, kept as evidence."""
