"""Duplicates, exact and near, of whole rows and of their parts; and decontamination against evaluation sets."""
