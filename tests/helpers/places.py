"""Where the project and its data are, whichever folder a test stands in."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STUDIES = ROOT / "studies"
SHARED = ROOT.parent / "shared"
