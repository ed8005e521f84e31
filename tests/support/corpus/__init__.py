"""Hostile input for everything that fetches: archives and servers, as tables that can be counted."""
