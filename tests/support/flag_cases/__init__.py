"""Cases of every flag: each changes something besides the echoed flags."""
