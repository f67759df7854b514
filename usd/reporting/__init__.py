"""What people read: tables, plots and pages of the results, and the judgement of the gate."""
