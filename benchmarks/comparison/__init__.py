"""The comparison of engines: scenarios, prompts, contestants, runs, figures and the chart."""
