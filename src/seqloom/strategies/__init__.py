"""How a model is spread over devices, and in which precision it multiplies."""
