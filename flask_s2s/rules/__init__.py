"""The rules, apart from what applies them: values in, values out."""
