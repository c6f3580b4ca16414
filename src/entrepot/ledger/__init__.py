"""Money: an append-only journal and its store, so that what we say was spent equals the invoice."""
