"""What can be done about an alert: one module a strategy."""
