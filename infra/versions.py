"""Every version that the platform stands on, one line each, with its source and the end of its support."""

from typing import Final

KUBERNETES: Final = "1.36"
END_OF_SUPPORT: Final = {"1.35": "2027-03-27", "1.36": "2027-08-02"}
