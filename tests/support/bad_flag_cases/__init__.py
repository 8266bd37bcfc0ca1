"""Cases of flags that are refused with one line."""
