"""How long a password watched a stream, by evidence that anybody can compute it from again."""
