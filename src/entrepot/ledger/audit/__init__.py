"""Works the books out again from the journal, with code that shares nothing with what it checks."""
