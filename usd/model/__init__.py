"""Networks: the frozen base, the control branch and its adapters."""
