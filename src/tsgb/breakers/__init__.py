"""What is rerouted and what is kept: examples, representations, losses, and how losses are weighed over time."""
