"""The STOW-RS door: HTTP requests that store instances."""
