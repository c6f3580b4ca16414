"""The revisions of the store's schema, in order; `ledger.store.store` brings a store up to the last one."""
