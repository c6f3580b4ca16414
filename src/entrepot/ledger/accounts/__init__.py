"""The money of budgets: who has it, who holds it, and for whom a request counts."""
