"""A package, so that `test_standard.py` may be here and in `unit_tests` too."""
