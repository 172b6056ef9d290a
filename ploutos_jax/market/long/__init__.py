"""Bars that do not fit: markets that lie in files, of which a device holds one slice at a time."""
