"""`python tests/sandbox_corpus.py FOLDER`: see tests/corpus/run.py, or --help."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))  # run as a file, Python looks beside it only
    from tests.corpus.run import main

    sys.exit(main())
