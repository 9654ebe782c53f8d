"""What requests may hold and lists look like: the types that several routes share, and their OpenAPI description.

Values are judged here as the settings judge theirs, so that nothing is stored that a request to Google cannot carry.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from litestar._openapi.schema_generation import SchemaCreator
from litestar.openapi.spec import OpenAPIType, Schema
from litestar.plugins import OpenAPISchemaPlugin
from litestar.typing import FieldDefinition

from regrant.secret import Secret

MAX_ITEMS = 1000
MAX_SECRET = 16_384

Word = Annotated[str, msgspec.Meta(pattern=r"^[!-~]*$", max_length=512)]
Label = Annotated[str, msgspec.Meta(max_length=100)]
Location = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=64)]
Email = Annotated[str, msgspec.Meta(max_length=320)]
Reason = Annotated[str, msgspec.Meta(max_length=800)]
Upstream = Literal["gemini", "vertex"]


def read_secret(_type: type[Secret], value: Any) -> Secret:
    """A token or password as it came in, without the white space that pasting adds. Raises ValueError."""
    if not isinstance(value, str):
        raise ValueError("Expected `str`")  # noqa: TRY004 - msgspec answers it as the field's own error
    if len(value) > MAX_SECRET:
        raise ValueError(f"Expected `str` of length <= {MAX_SECRET}")
    return Secret(value.strip())


class SecretSchema(OpenAPISchemaPlugin):
    """Secrets are passwords in the OpenAPI file: only ever written."""

    @staticmethod
    def is_plugin_supported_type(value: Any) -> bool:
        return value is Secret

    def to_openapi_schema(self, field_definition: FieldDefinition, schema_creator: SchemaCreator) -> Schema:  # noqa: ARG002
        return Schema(type=OpenAPIType.STRING, write_only=True, max_length=MAX_SECRET)
