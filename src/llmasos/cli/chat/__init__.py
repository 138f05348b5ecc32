"""The conversation in the terminal: session, answers, slash commands, editor."""
