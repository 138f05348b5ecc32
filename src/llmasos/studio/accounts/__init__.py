"""Who may use the Studio: people, their passwords, sessions, and the door that everybody passes."""
