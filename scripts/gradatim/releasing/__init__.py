"""What tags, publishes, signs and verifies a release."""
