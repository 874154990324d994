"""A browser draws pages in their light and dark colours."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

from deploy.screenshots import WIDTH, take

PAGE = """<!DOCTYPE html><style>
:root { color-scheme: light dark; background: #ffffff }
@media (prefers-color-scheme: dark) { :root { background: #000000 } }
</style>"""


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("chromium"), reason="needs Chromium")
def test_pictures_are_of_the_size_and_colours_asked_for(tmp_path: Path) -> None:
    page, picture = tmp_path / "page.html", tmp_path / "page.png"
    page.write_text(PAGE)
    for dark, colour in ((False, (255, 255, 255)), (True, (0, 0, 0))):
        take(page.as_uri(), picture, dark=dark, height=400)
        with Image.open(picture) as drawn:
            assert drawn.size == (WIDTH, 400)
            assert drawn.convert("RGB").getpixel((WIDTH // 2, 200)) == colour
