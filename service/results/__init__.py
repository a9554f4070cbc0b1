"""What users get: the JSON's schemas and the forms of an answer."""
