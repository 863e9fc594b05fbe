"""What every group of settings is."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """A group of settings: immutable, and an unknown key is a mistake."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, use_attribute_docstrings=True
    )

    def to_json(self) -> Any:
        """Return what pyinfra's debug commands may print: secrets are masked."""
        return self.model_dump(mode="json")
