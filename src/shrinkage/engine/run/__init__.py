"""The engines: together, alone, exact; each trains all members of a plan."""
