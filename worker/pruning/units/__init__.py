"""The units of a program that can be removed whole: their groups and parts, what they cost, how much they matter."""
