"""Parts of the pages about data."""
