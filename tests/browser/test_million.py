"""A million slices: opened, moved and searched. Times are printed, and held only to what no machine should need."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome

from plait.see.page import page

import browsers
import recordings

pytestmark = pytest.mark.timeout(300)

SLICES = 1_000_000
OPEN_SECONDS = 20
FRAME_MS = 1000

# Moves or zooms the view by some pixels in each of 60 frames, and tells how long drawing took and how long frames were apart.
FRAMES = """
const done = arguments[arguments.length - 1];
const { painter } = app;
const draw = painter.draw.bind(painter);
const drawn = [], apart = [];
painter.draw = () => { const began = performance.now(); const again = draw(); drawn.push(performance.now() - began); return again; };
const span = app.recording.duration / arguments[0];
app.show(0.3 * app.recording.duration, 0.3 * app.recording.duration + span);
if (arguments[1] !== 1) painter.density.tiles.clear();
let last = performance.now();
let left = 60;
const frame = (now) => {
  apart.push(now - last);
  last = now;
  if (arguments[1] === 1) app.show(app.view.from + span / 300);
  else app.zoom(left > 30 ? arguments[1] : 1 / arguments[1], 0.4 * app.recording.duration);
  if (left--) return requestAnimationFrame(frame);
  delete painter.draw;
  const at = (list, share) => list.sort((a, b) => a - b)[Math.floor((list.length - 1) * share)];
  done([drawn.length, at(drawn, 0.5), at(drawn, 0.95), at(apart, 0.5)]);
};
requestAnimationFrame(frame);
"""


# How often one frame calls the canvas, and how many columns and blocks it puts into its images.
COUNT = """
const { painter } = app;
const canvas = CanvasRenderingContext2D.prototype, kept = [];
let calls = 0, parts = 0;
const count = (object, name, add) => {
  const before = object[name];
  kept.push([object, name, before]);
  object[name] = function (...words) { add(); return before.apply(this, words); };
};
for (const name of Object.getOwnPropertyNames(canvas)) {
  if (typeof Object.getOwnPropertyDescriptor(canvas, name).value === "function") count(canvas, name, () => calls++);
}
count(Columns.prototype, "add", () => parts++);
app.show(0.3 * app.recording.duration, (0.3 + 0.7 / arguments[0]) * app.recording.duration);
while (painter.draw());
calls = parts = 0;
painter.draw();
for (const [object, name, before] of kept) object[name] = before;
const lanes = app.lanes.shown.filter(({ y, height }) => y < app.view.scroll + app.view.lanesHeight && y + height > app.view.scroll).length;
return [calls, parts, lanes + 1, Math.ceil(app.view.pixels), painter.inView[1] - painter.inView[0]];
"""


@pytest.fixture(scope="module")
def opened(browser: Chrome, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    file: Path = tmp_path_factory.mktemp("page") / "million.html"
    file.write_text(page(recordings.many_slices(SLICES)))
    browser.get(f"file://{file}")
    browsers.wait(browser, "document.body.dataset.ready")
    yield browser
    browser.get("about:blank")


def test_a_million_slices_are_opened_in_seconds(opened: Chrome, capsys: pytest.CaptureFixture[str]) -> None:
    assert SLICES == opened.execute_script("return app.recording.count")
    unpacked, shown = opened.execute_script("return [app.openedMs, app.shownMs]")
    with capsys.disabled():
        print(f" a million slices: {shown:.0f} ms from the start of the page until it is shown", end="")
    assert unpacked <= shown < 1000 * OPEN_SECONDS


@pytest.mark.parametrize(
    ("zoom", "factor"), [(1, 1), (10, 1), (1000, 1), (100_000, 1), (1, 0.8)], ids=lambda value: str(value)
)
def test_it_moves_in_frames(opened: Chrome, capsys: pytest.CaptureFixture[str], zoom: int, factor: float) -> None:
    """With a factor it zooms in and out again, and the folded groups are counted anew at every step."""
    frames, drawing, slow, apart = opened.execute_async_script(FRAMES, zoom, factor)
    with capsys.disabled():
        zooming = "" if factor == 1 else f", by {factor} in each frame"
        print(
            f" zoom {zoom}{zooming}: drawn in {drawing:.1f} ms, 95 % in {slow:.1f} ms, a frame each {apart:.1f} ms",
            end="",
        )
    assert frames >= 60
    assert drawing < FRAME_MS


@pytest.mark.parametrize("zoom", [1, 10, 1000, 100_000])
def test_what_a_frame_draws_is_bounded_by_pixels_not_by_slices(opened: Chrome, zoom: int) -> None:
    """A strip has one column for each of its pixels at most, and a lane some calls for each block that is wider than one."""
    calls, columns, strips, pixels, slices = opened.execute_script(COUNT, zoom)
    assert 0 < columns + calls
    assert columns <= strips * (pixels + 1)
    assert calls <= 8 * strips * pixels
    if zoom == 1:
        assert slices > 10 * columns
        assert columns > 10 * pixels


def test_a_tile_of_a_folded_group_that_is_counted_in_pieces_is_the_same(opened: Chrome) -> None:
    """A frame has some milliseconds for it: a tile of the whole recording takes the time of several frames."""
    pieces, slices, same = opened.execute_script("""
        const group = app.lanes.groups.filter((g) => g.folded).sort((a, b) => b.actors.length - a.actors.length)[0];
        const count = () => new Count(app.recording, app.lanes, group, 0, app.recording.duration / TILE_BINS);
        const pieces = count(), whole = count();
        let calls = 1;
        while (!pieces.goOn(0)) calls++;
        whole.goOn(Infinity);
        const slices = group.rows.reduce((sum, row) => sum + row.to - row.from, 0);
        return [calls, slices, whole.bins.every((value, k) => value === pieces.bins[k]) && whole.bins.some((value) => value > 1)];
    """)
    assert slices > 100_000
    assert pieces > slices / 2000 - 1
    assert same


def test_a_search_among_a_million_finds_all(opened: Chrome) -> None:
    expected = opened.execute_script(
        "return [...app.recording.columns.actor].filter((a) => app.recording.functionName(a) === 'checkout').length"
    )
    opened.execute_script("app.search('checkout')")
    browsers.wait(opened, "!app.dirty")
    assert expected == opened.execute_script("return app.painter.matched.order.ids.length") > 0
    opened.execute_script("app.search('')")
