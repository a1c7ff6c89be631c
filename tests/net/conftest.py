import sys
from pathlib import Path

# So that the tests of this folder find `peers`.
sys.path.insert(0, str(Path(__file__).parent))
