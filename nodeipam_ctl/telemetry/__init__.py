"""How do we tell what happened? Logs, metrics and the HTTP endpoints for them; nothing here decides anything."""
