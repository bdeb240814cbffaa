"""Everything durable: what was received, what is to be done, what was answered, what was delivered. The sole owner."""
