"""Other people's instrumentations in the same process, each of them real."""
