"""What the planner's models are held to: figures of their errors on what they did not see."""
