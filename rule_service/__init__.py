"""The rule service: owns the database of alert rules, renders them, and streams changes to the deployers."""
