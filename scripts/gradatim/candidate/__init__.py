"""One candidate on its way to a release: what it is, what it rests on, and where its steps leave what they found."""
