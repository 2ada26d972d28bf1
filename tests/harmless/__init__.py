"""Healthy agents, played live through the tap on a virtual clock: Debbie does them no harm."""
