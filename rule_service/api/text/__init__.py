"""Messages as text for people, YAML or JSON, and back. Pure."""
