"""`python -m langchain_glm.cli`: the command without its script."""

from langchain_glm.cli import main

if __name__ == "__main__":
    main()
