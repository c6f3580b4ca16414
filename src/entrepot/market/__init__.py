"""Who wins: demand and supply over the same routing and serving economics that the product runs."""
