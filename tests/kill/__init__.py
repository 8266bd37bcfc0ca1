"""What kills runs of the command line, and looks at what they end with."""
