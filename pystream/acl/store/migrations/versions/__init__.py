"""The steps from an empty database to `tables.metadata`. None is changed once it was released."""
