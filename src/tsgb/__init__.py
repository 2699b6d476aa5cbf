"""tsgb, Train Small, Guard Big: harden open-weight tool-calling agents against hijacking by self-play."""

__version__ = "0.1.0"
