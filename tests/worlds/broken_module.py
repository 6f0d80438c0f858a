"""A module that can't be imported: the package that it needs is not there."""

import no_such_package_anywhere  # type: ignore[import-not-found]  # noqa: F401
