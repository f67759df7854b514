"""Networks: the base, the control branch and its adapters."""
