"""The base class of all groups of settings."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """A group of settings: immutable; unknown keys are mistakes."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, use_attribute_docstrings=True
    )

    def to_json(self) -> Any:
        """Return the settings for pyinfra's debug commands, with secrets masked."""
        return self.model_dump(mode="json")
