"""Studies: many trainings, their plan, their results and the tables over them."""
