"""The steps from an empty database to `key_tables.metadata`. None is changed once it was released."""
