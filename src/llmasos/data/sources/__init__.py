"""Where rows come from: files of every common format, Hugging Face data sets, data sets of the library."""
