"""Results: trained weights as versions of the library."""
