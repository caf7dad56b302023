"""What the user can mend: one line, and exit code 2."""


class UserError(Exception):
    """One line naming the file and the key or row, what was found, and what is allowed."""
