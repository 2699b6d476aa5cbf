"""Agents and attackers at play: engines that write, episodes that act on it, rewards, and exams."""
