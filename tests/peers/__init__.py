"""`ChatGLM` beside other packages: what each does with the same answers of the same server.

python -m tests.peers               # observe all, compare with comparison.json; run examples
python -m tests.peers update        # write what was observed into comparison.json
python -m tests.peers costs FILE    # and what `python -m benchmarks.peers --json FILE` measured
python -m tests.peers table         # print the tables, in English and in Chinese
python -m tests.peers write         # write them into README.md and README.zh-CN.md
"""
