"""The one error that a user can mend; the runner prints it as one line and exits with code 2."""


class BundleError(ValueError):
    """A bundle, model or measurement file that cannot be used, and what to do about it."""
