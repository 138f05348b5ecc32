"""The prepared data set: files in the layout that other tools read, and its version in the library."""
