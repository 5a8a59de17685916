"""Logs as one line of JSON each, on standard error."""

import logging
from datetime import UTC, datetime

import msgspec


class OneLineOfJson(logging.Formatter):
    """Time, level, what happened; of a failed request its code, model and detail, of our own mistakes the traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        for name in ("code", "model", "detail"):
            if value := getattr(record, name, ""):
                line[name] = value
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


def to_standard_error(level: int) -> None:
    """Write this program's logs, and its libraries', to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(OneLineOfJson())
    logging.basicConfig(level=level, handlers=[handler], force=True)
