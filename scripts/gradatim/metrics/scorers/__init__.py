"""How a language model's answer to one row is scored: a row of the table and a function each."""
