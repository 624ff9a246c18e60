"""Every setting, with its default and its bounds: a module for each part of the archive, a class for each section."""
