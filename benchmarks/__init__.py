"""What `langchain_glm` costs, beside others and beside the bare socket; see `__main__.py`."""
