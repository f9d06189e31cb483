"""Checks answers against a JSON schema; needs the extra ``jsonschema``."""

from holdfast.adapters.jsonschema.schema import JsonSchemaValidator

__all__ = ["JsonSchemaValidator"]
