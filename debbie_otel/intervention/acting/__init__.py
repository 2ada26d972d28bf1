"""JSON-RPC routing of injected messages: whose answer is whose, and what is held back."""
