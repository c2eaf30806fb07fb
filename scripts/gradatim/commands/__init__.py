"""One click command per verb, and one for all the steps; each imported only when called."""
