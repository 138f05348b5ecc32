"""Linguistics: sentences, words, stop words, stems, parts of speech, frequencies. Nothing here downloads data."""
