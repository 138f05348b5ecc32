"""The parts of the page that explains a text: tokens, attention, layers."""
