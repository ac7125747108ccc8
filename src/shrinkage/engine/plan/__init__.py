"""Which members there are, who trains together, and what they leave."""
