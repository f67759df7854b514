"""What changed between two revisions: data, parameters, verdicts, metrics, figures and stages, from git alone."""
