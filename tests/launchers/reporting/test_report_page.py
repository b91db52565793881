"""The report's page in a real browser: on a narrow and a wide window, light and dark.

Headless Chromium makes no window narrower than 500 pixels, so that the page stands in frames of both widths.
"""

import json
import re
import shutil
import subprocess
from html import escape, unescape
from pathlib import Path
from typing import Any

import pytest

from launchers.report import report
from tests.helpers import ROOT
from tests.helpers.report_folders import evaluation, planned, write, write_run, write_sweep, write_whole

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
in_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium here: apt-get install --no-install-recommends chromium"
)
WIDTHS = (380, 1400)

MEASURE = """
function touching(boxes) {
  const overlap = (one, other) => one.left < other.right && other.left < one.right
    && one.top < other.bottom && other.top < one.bottom;
  return boxes.filter((box, place) => boxes.slice(place + 1).some(other => overlap(box, other)));
}
function measure(frame) {
  const page = frame.contentDocument, style = element => frame.contentWindow.getComputedStyle(element);
  const width = page.documentElement.clientWidth, ground = style(page.body).backgroundColor;
  const texts = [...page.querySelectorAll('h1, h2, h3, p, li, td, th, figcaption, svg text')];
  const sticksOut = element => {
    const box = element.getBoundingClientRect();
    return !element.closest('.scroll') && box.width > 0 && (box.left < -0.5 || box.right > width + 0.5);
  };
  return {
    width, ground,
    scrolled: page.documentElement.scrollWidth,
    outside: texts.filter(sticksOut).map(element => element.textContent.slice(0, 40)),
    smallest: Math.min(...[...page.querySelectorAll('svg text')].map(text =>
      12 * text.closest('svg').getBoundingClientRect().width / text.closest('svg').viewBox.baseVal.width)),
    crowded: [...page.querySelectorAll('figure svg')].map(svg => touching(
      [...svg.querySelectorAll('text')].filter(text => !/rotate.-38/.test(text.getAttribute('transform')))
        .map(text => text.getBoundingClientRect())).length),
    tables: page.querySelectorAll('table').length,
    rows: page.querySelectorAll('section:first-of-type tbody tr').length,
    figures: [...page.querySelectorAll('figure')].map(figure => figure.querySelector('h3').textContent),
    columns: new Set([...page.querySelectorAll('figure')].map(one => one.getBoundingClientRect().left)).size,
    bars: [...page.querySelectorAll('[id^=LineCollection] path')]
      .filter(bar => bar.getBBox().height > 1).length,
    loaded: frame.contentWindow.performance.getEntriesByType('resource').map(entry => entry.name),
  };
}
onload = () => {
  const frames = [...document.querySelectorAll('iframe')];
  document.getElementById('found').textContent = JSON.stringify(frames.map(measure));
};
"""


def in_browser(page: str, folder: Path, dark: bool) -> dict[int, dict[str, Any]]:
    """What the browser makes of a page, by the width of its window."""
    frames = "".join(
        f'<iframe style="width:{width}px;height:900px;border:0" srcdoc="{escape(page)}"></iframe>'
        for width in WIDTHS
    )
    wrapper = folder / "frames.html"
    wrapper.write_text(
        f'<!doctype html><meta charset="utf-8"><pre id="found"></pre>{frames}<script>{MEASURE}</script>'
    )
    scheme = 0 if dark else 1
    done = subprocess.run(
        [
            *(str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
            *(
                "--window-size=1900,1200",
                "--disable-background-networking",
                f"--user-data-dir={folder / 'profile'}",
            ),
            *(f"--blink-settings=preferredColorScheme={scheme}", "--dump-dom", wrapper.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    found = re.search(r'<pre id="found">(.+?)</pre>', done.stdout, re.S)
    assert found, done.stdout[:2000] + done.stderr
    return dict(zip(WIDTHS, json.loads(unescape(found[1])), strict=True))


def write_names(folder: Path) -> Path:
    """An axis of long names, more series than colors, one seed, tiny numbers."""
    runs = []
    for place in range(12):
        name = f"a rather long name of a class taxonomy, number {place}"
        run = planned(4, 256, 0, 0.3) | {"name": f"t{place}", "row": name}
        runs.append(run | {"values": {"taxonomy": name, "batch_size": 2**place, "seed": 0}})
        write_run(folder / "runs" / f"t{place}", linear=place / 20, mi_bound=1e-6 * place)
        write(
            folder / f"runs/t{place}/eval/uniformity.json",
            evaluation("uniformity", 100, uniform=-1e5 * place),
        )
    figures = [
        {"title": "Names", "x": "taxonomy", "y": "linear.top1", "series": None, "log_x": False},
        {"title": "Small", "x": "batch_size", "y": "mi_bound", "series": "taxonomy", "log_x": True},
        {"title": "Large", "x": "batch_size", "y": "uniformity.uniform", "series": None, "log_x": True},
    ]
    return write_sweep(folder, runs, axes=["taxonomy", "batch_size", "seed"], figures=figures)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("pages")
    made = {"whole": write_whole(folder / "whole"), "names": write_names(folder / "names")}
    return {name: report(sweep)[0].read_text() for name, sweep in made.items()}


@in_chromium
@pytest.mark.parametrize("name", ["whole", "names"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_page_can_be_read(pages: dict[str, str], tmp_path: Path, name: str, dark: bool) -> None:
    for width, seen in in_browser(pages[name], tmp_path, dark).items():
        assert seen["width"] == width
        assert seen["scrolled"] == width
        assert seen["outside"] == []
        assert seen["smallest"] >= 9
        assert not any(seen["crowded"])
        assert seen["loaded"] == []
        assert (seen["ground"] == "rgb(255, 255, 255)") != dark


@in_chromium
def test_tables_and_figures_are_drawn(pages: dict[str, str], tmp_path: Path) -> None:
    seen = in_browser(pages["whole"], tmp_path, dark=False)
    for width in WIDTHS:
        assert seen[width]["rows"] == 11
        assert seen[width]["tables"] == 7  # results, two figures, failed, not finished, throughput, runs
        assert seen[width]["figures"][:2] == ["Accuracy over K", "MI bound over K"]
        assert "loss while training: num negatives 4" in seen[width]["figures"]
        assert seen[width]["bars"] >= 9  # of the accuracy: all points but the one of a single seed
    assert seen[380]["columns"] == 1
    assert seen[1400]["columns"] == 3


def test_the_page_holds_all_it_shows(pages: dict[str, str]) -> None:
    for page in pages.values():
        assert not re.search(r"https?:|//|src=|<link|@import|url\((?!#)|<script", page)


def test_colors_stand_out() -> None:
    """WCAG 2.1: 4.5 for text (1.4.3), 3 for lines (1.4.11), in both sets of colors."""
    template = (ROOT / "launchers/reporting/page.html").read_text()
    light, dark = re.findall(r":root \{(.*?)\}", template, re.S)
    for style in (light, dark):
        colors = dict(re.findall(r"--(\w+): (#\w{6});", style))
        for name in ("ink", "soft", "bad", "good", *(f"c{place}" for place in range(8))):
            assert contrast(colors[name], colors["ground"]) >= (3 if name.startswith("c") else 4.5), name


def contrast(one: str, other: str) -> float:
    low, high = sorted(map(luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


def luminance(color: str) -> float:
    parts = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@in_chromium
def test_the_browser_sees_what_is_wrong(pages: dict[str, str], tmp_path: Path) -> None:
    """The measurements above can fail."""
    wide = '<p style="width:3000px;max-width:none">wide</p>'
    spoiled = pages["whole"].replace("</main>", f'{wide}<img src="http://127.0.0.1:9/nowhere.png"></main>')
    spoiled = re.sub(r"<meta http-equiv[^>]+>", "", spoiled)
    for seen in in_browser(spoiled, tmp_path, dark=False).values():
        assert seen["scrolled"] > seen["width"]
        assert seen["outside"] == ["wide"]
        assert seen["loaded"]
