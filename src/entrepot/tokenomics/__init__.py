"""What serving costs: from architecture and hardware to step time, operating points and price."""
