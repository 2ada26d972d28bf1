"""The command `debbie`: proxy, demo, replay, report, check, dialects."""
