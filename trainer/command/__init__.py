"""The command line: flags, the program that reads them, and completion."""
