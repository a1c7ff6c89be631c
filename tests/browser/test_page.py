"""The page in a real browser: what it draws, and what mouse and keys do to it."""

import asyncio
import dataclasses
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import ActionChains, Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

import plait
from plait.see import recording as recording_file
from plait.see.model import Mark, Recording, WaitKind
from plait.see.page import page
from plait.see.summary import summarize

import browsers
import recordings
from recordings import MS

pytestmark = pytest.mark.timeout(180)

Show = Callable[..., Chrome]
Shot = Callable[[str], None]

STILL = "!app.dirty && !app.gliding"


@pytest.fixture(scope="module")
def recording() -> Recording:
    made = recordings.web_server()
    made.marks = [
        Mark(made.start_ns + 700 * MS, "deployed"),
        Mark(made.start_ns + 900 * MS, "a cancel was swallowed", "warning"),
    ]
    return made


def ask(browser: Chrome, expression: str) -> Any:
    """The value of a JavaScript expression, once the page stands still."""
    browsers.wait(browser, STILL)
    return browser.execute_script(f"return {expression}")


def press(browser: Chrome, *keys: str) -> None:
    ActionChains(browser).send_keys(*keys).perform()
    browsers.wait(browser, STILL)


def spot(browser: Chrome, x: float, y: float) -> ActionChains:
    """The mouse over a point of the stage."""
    stage = browser.find_element(By.ID, "stage")
    size = stage.size
    return ActionChains(browser, duration=30).move_to_element_with_offset(
        stage, round(x - size["width"] / 2), round(y - size["height"] / 2)
    )


def view(browser: Chrome) -> tuple[float, float]:
    browsers.wait(browser, STILL)
    first, last = browser.execute_script("return [app.view.from, app.view.to]")
    return first, last


def colour_at(browser: Chrome, x: float, y: float) -> tuple[int, int, int]:
    browsers.wait(browser, STILL)
    code = "return [...document.getElementById('lanes').getContext('2d').getImageData(arguments[0], arguments[1], 1, 1).data]"
    red, green, blue, _ = browser.execute_script(code, x, y)
    return red, green, blue


def as_rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def test_it_holds_the_recording_as_it_was_made(shown: Show, recording: Recording, shot: Shot) -> None:
    browser = shown(recording)
    shot("whole")
    columns = recording.slices
    assert len(columns) == ask(browser, "app.recording.count")
    starts = ask(browser, "[...app.recording.start]")
    assert [start - recording.start_ns for start in columns.start_ns] == starts
    assert list(columns.waker) == ask(browser, "[...app.recording.start].map((_, i) => app.recording.waker(i))")
    assert list(columns.delay_ns) == ask(browser, "[...app.recording.start].map((_, i) => app.recording.delay(i))")
    names = [recording.actors[actor].name for actor in columns.actor]
    assert names == ask(browser, "[...app.recording.start].map((_, i) => app.recording.name(app.recording.actorOf(i)))")
    busy = ask(browser, "app.painter.thread.busy(0, app.recording.count, 0, app.recording.duration)")
    assert summarize(recording).busy_ns == busy


def test_each_slice_is_drawn_in_its_tasks_colour_on_the_thread_and_in_its_lane(
    shown: Show, recording: Recording
) -> None:
    browser = shown(recording)
    columns = recording.slices
    index = next(i for i in range(200, len(columns)) if 200_000 < columns.duration_ns[i] < MS)
    # In a view of ten times its length, its middle is the middle of the window.
    browser.execute_script(
        "const i = arguments[0], r = app.recording, w = (r.end[i] - r.start[i]) * 5, m = (r.start[i] + r.end[i]) / 2;"
        "app.show(m - w, m + w); const item = app.lanes.itemOf(r.actorOf(i)); app.show(app.view.from, app.view.to, item.y - 40)",
        index,
    )
    colour = as_rgb(ask(browser, f"app.painter.tasks[app.recording.colourIndex(app.recording.actorOf({index}))]"))
    left, right, lane = ask(browser, f"(({{a, b, y}}) => [a, b, y])(app.painter.spot({index}))")
    assert right - left > 50
    # Below the text that stands in it.
    assert colour == colour_at(browser, right - 6, 82)
    assert colour == colour_at(browser, right - 4, lane + 5)
    idle = as_rgb(ask(browser, "app.painter.colours.idle"))
    assert idle == colour_at(browser, left - 3, 82) or left < 220


def test_what_blocks_the_thread_is_red(shown: Show, recording: Recording) -> None:
    browser = shown(recording)
    [first, *_] = summarize(recording).blocked
    browser.execute_script("app.choose(arguments[0]); app.fit()", first)
    left, right = ask(browser, f"(({{a, b}}) => [a, b])(app.painter.spot({first}))")
    red = as_rgb(ask(browser, "app.painter.colours.blocked"))
    # It is hatched: along a line both red and its lighter stripes are found.
    found = {colour_at(browser, left + (right - left) / 2 + step, 80) for step in range(8)}
    assert red in found
    assert len(found) > 1


def test_a_click_on_a_slice_tells_all_about_it(shown: Show, recording: Recording, shot: Shot) -> None:
    browser = shown(recording)
    columns = recording.slices
    index = next(
        i
        for i in range(300, len(columns))
        if columns.waker[i] >= 0 and columns.duration_ns[i] > 100_000 and columns.wait_kind[i]
    )
    browser.execute_script(
        "const r = app.recording, i = arguments[0]; app.show(r.start[i] - 1e6, r.start[i] + 1e6)", index
    )
    left, right = ask(browser, f"(({{a, b}}) => [a, b])(app.painter.spot({index}))")
    spot(browser, (left + right) / 2, 50).click().perform()
    assert index == ask(browser, "app.chosen")
    told = browser.find_element(By.ID, "tab-slice").text
    shot("slice")
    actor = recording.actors[columns.actor[index]]
    waker = recording.actors[columns.actor[columns.waker[index]]]
    target = recording.targets[columns.wait_target[index]]
    place = f"{actor.file}:{columns.line[index]}"
    for text in (actor.name, actor.function, place, "ready delay", "woken by", target.text, waker.name):
        assert text in told
    assert ask(browser, "app.painter.frames") > 0
    # The waker is a way to go on.
    press(browser, "g")
    assert columns.waker[index] == ask(browser, "app.chosen")
    press(browser, Keys.ESCAPE)
    assert -1 == ask(browser, "app.chosen")


def test_a_first_slice_tells_what_it_had_waited_for(shown: Show, recording: Recording) -> None:
    """Also that of an actor which was there before the recording: it waits since nobody knows when."""
    slices = recording.slices
    first = next(i for i in range(len(slices)) if slices.wait_kind[i])
    actor = slices.actor[first]
    earlier = [
        dataclasses.replace(each, created_ns=0) if k == actor else each for k, each in enumerate(recording.actors)
    ]
    kinds = array("B", slices.wait_kind)
    begin = slices.actor.index(actor)
    kinds[begin] = slices.wait_kind[first]
    browser = shown(dataclasses.replace(recording, actors=earlier, slices=dataclasses.replace(slices, wait_kind=kinds)))
    browser.execute_script("app.choose(arguments[0])", begin)
    assert "since before the recording" in browser.find_element(By.ID, "tab-slice").text


def test_a_blocking_slice_tells_the_line_that_the_watchdog_saw(shown: Show, recording: Recording) -> None:
    [first, *_] = summarize(recording).blocked
    start = recording.slices.start_ns[first]
    seen = Mark(start + MS, "Task-1 blocks the thread: ", "warning", -1, 50 * MS, "/srv/shop/pdf.py:99 in render")
    browser = shown(dataclasses.replace(recording, marks=[*recording.marks, seen]))
    assert seen.place == ask(browser, f"app.recording.place({first})")
    other = next(i for i in range(len(recording.slices)) if i != first)
    assert seen.place != ask(browser, f"app.recording.place({other})")


def test_of_a_large_group_a_search_leaves_the_lanes_that_it_found(shown: Show) -> None:
    simulation = recordings.Simulation()
    for number in range(30):
        simulation.spawn(
            "work", iter([(MS, recordings.Wait(WaitKind.TIMER, "sleep", MS)), (MS, recordings.Done())]), f"w{number}"
        )
    simulation.spawn("other", iter([(MS, recordings.Done())]), "other")
    browser = shown(simulation.run(200 * MS))
    lanes = (
        "app.lanes.shown.filter((item) => item.type === 'lane').map((item) => app.recording.name(item.row.actors[0]))"
    )
    browser.execute_script("app.foldAll()")
    assert 31 == len(ask(browser, lanes))
    browser.execute_script("app.search('w1')")
    found = ["w1", *[f"w{number}" for number in range(10, 20)]]
    assert [*found, "other"] == ask(browser, lanes)
    # Who is gone to is seen, though it is not what was searched for.
    browser.execute_script("app.goToActor([...Array(31).keys()].find((a) => app.recording.name(a) === 'w5'))")
    assert sorted([*found, "other", "w5"]) == sorted(ask(browser, lanes))
    browser.execute_script("app.search('')")
    assert 31 == len(ask(browser, lanes))


def test_a_tip_says_what_a_task_waits_for(shown: Show, recording: Recording) -> None:
    browser = shown(recording)
    y = ask(browser, "app.painter.top + app.lanes.shown.find((item) => app.lanes.label(item, 0) && item.alone).y + 13")
    spot(browser, 700, y).perform()
    assert "SIGTERM" in browsers.wait(
        browser, "!document.getElementById('tip').hidden && document.getElementById('tip').innerText"
    )


def test_a_mark_tells_its_text(shown: Show, recording: Recording) -> None:
    browser = shown(recording)
    spot(browser, ask(browser, "app.painter.x(app.recording.marks[0][0])"), 20).perform()
    shown_text = "document.getElementById('tip').innerText"
    assert browsers.wait(browser, f"!document.getElementById('tip').hidden && {shown_text}").startswith("deployed")


def test_arrows_lead_from_the_waker(shown: Show, recording: Recording) -> None:
    """Something is drawn over the lanes only while a slice with a waker is chosen."""
    browser = shown(recording)
    painted = (
        "app.painter.over.getImageData(0, 0, app.painter.overlay.width, app.painter.overlay.height).data"
        ".reduce((sum, value, k) => sum + (k % 4 === 3 && value ? 1 : 0), 0)"
    )
    assert 0 == ask(browser, painted)
    columns = recording.slices
    woken = next(i for i in range(300, len(columns)) if columns.waker[i] >= 0)
    browser.execute_script("app.goTo(arguments[0])", woken)
    assert ask(browser, painted) > 100
    browser.execute_script("app.forget()")
    assert 0 == ask(browser, painted)


def test_keys_zoom_move_and_go_back_to_the_whole(shown: Show, recording: Recording) -> None:
    browser = shown(recording)
    first, last = view(browser)
    press(browser, "w")
    zoomed = view(browser)
    assert first < zoomed[0] < zoomed[1] < last
    press(browser, "d")
    moved = view(browser)
    assert moved[0] > zoomed[0]
    assert pytest.approx(zoomed[1] - zoomed[0]) == moved[1] - moved[0]
    press(browser, Keys.ARROW_LEFT)
    assert pytest.approx(zoomed) == view(browser)
    press(browser, "s")
    assert view(browser)[1] - view(browser)[0] > zoomed[1] - zoomed[0]
    press(browser, "0")
    assert pytest.approx((first, last)) == view(browser)


def test_the_wheel_zooms_around_the_pointer_and_a_drag_moves(shown: Show, recording: Recording) -> None:
    browser = shown(recording)
    stage = browser.find_element(By.ID, "stage")
    before = ask(browser, "app.painter.timeAt(500)")
    code = (
        "const box = arguments[0].getBoundingClientRect(); arguments[0].dispatchEvent(new WheelEvent('wheel',"
        "{deltaY: -300, clientX: box.left + 500, clientY: box.top + 60, bubbles: true, cancelable: true}))"
    )
    width = view(browser)[1] - view(browser)[0]
    browser.execute_script(code, stage)
    assert view(browser)[1] - view(browser)[0] < width
    assert pytest.approx(before, abs=width / 1000) == ask(browser, "app.painter.timeAt(500)")
    start = view(browser)[0]
    scale = ask(browser, "app.view.scale")
    spot(browser, 500, 60).click_and_hold().move_by_offset(-100, 0).release().perform()
    assert pytest.approx(start + 100 * scale, rel=0.02) == view(browser)[0]


def test_a_time_can_be_chosen_on_the_ruler(shown: Show, recording: Recording) -> None:
    browser = shown(recording)
    early, late = ask(browser, "[app.painter.timeAt(400), app.painter.timeAt(500)]")
    spot(browser, 400, 10).click_and_hold().move_by_offset(100, 0).release().perform()
    assert pytest.approx((early, late), rel=0.01) == view(browser)


def test_search_dims_all_others_and_goes_from_one_to_the_next(shown: Show, recording: Recording, shot: Shot) -> None:
    browser = shown(recording)
    press(browser, "/")
    press(browser, "checkout")
    shot("search")
    found = [i for i, actor in enumerate(recording.actors) if actor.function == "checkout"]
    assert [1 if i in set(found) else 0 for i in range(len(recording.actors))] == ask(
        browser, "[...app.painter.matched.actors]"
    )
    assert f"{len(found)} found" in browser.find_element(By.ID, "found").text
    firsts = ask(browser, "app.found")
    press(browser, Keys.ENTER)
    assert firsts[0] == ask(browser, "app.chosen")
    press(browser, Keys.ENTER)
    assert firsts[1] == ask(browser, "app.chosen")
    press(browser, Keys.ESCAPE)
    assert ask(browser, "app.painter.matched") is None
    # What a task waited for finds it as well.
    browser.execute_script("app.search('pay.example')")
    assert 0 < len(ask(browser, "app.found")) <= len(found)
    browser.execute_script("app.search('no such thing')")
    assert "not found" == browser.find_element(By.ID, "found").text


def test_light_and_dark_change_everything_that_is_drawn(shown: Show, recording: Recording, shot: Shot) -> None:
    browser = shown(recording)
    browser.execute_script("setTheme('light'); app.painter.useTheme(); app.panel.fill(); app.redraw()")
    assert (255, 255, 255) == colour_at(browser, 30, 5)
    press(browser, "t")
    shot("dark")
    assert "dark" == ask(browser, "document.documentElement.dataset.theme")
    assert as_rgb("#11151c") == colour_at(browser, 30, 5)
    assert "17, 21, 28" in browser.find_element(By.TAG_NAME, "body").value_of_css_property("background-color")
    browser.find_element(By.ID, "theme").click()
    assert (255, 255, 255) == colour_at(browser, 30, 5)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_begins_as_the_system_likes_it(browser: Chrome, shown: Show, recording: Recording, scheme: str) -> None:
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    shown(recording)
    browser.execute_script("localStorage.clear()")
    browser.refresh()
    browsers.wait(browser, "document.body.dataset.ready")
    assert scheme == ask(browser, "document.documentElement.dataset.theme")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_a_group_unfolds_into_as_many_rows_as_there_were_tasks_at_once(shown: Show, shot: Shot) -> None:
    recording = recordings.web_server(1.0, rate=900.0, report_every=10**9)
    browser = shown(recording)
    shot("folded")
    [folded] = ask(browser, "app.lanes.groups.filter((g) => g.folded).map((g) => [g.title, g.rows.length, g.y])")
    assert "checkout" == folded[0]
    # No two tasks of a row are there at the same time.
    assert ask(
        browser,
        """app.lanes.rows.every((row) => row.actors.every((a, k) =>
        !k || app.lanes.lives.first[a] >= app.lanes.lives.last[row.actors[k - 1]]))""",
    )
    lanes = ask(browser, "app.lanes.shown.length")
    spot(browser, 60, ask(browser, f"app.painter.top + {folded[2]} + 19 - app.view.scroll")).click().perform()
    assert lanes + folded[1] == ask(browser, "app.lanes.shown.length")
    shot("unfolded")


def test_a_folded_group_shows_how_many_wait_for_what(shown: Show) -> None:
    """The areas of a tile are the sums of the waits, counted in another way."""
    recording = recordings.web_server(1.0, rate=900.0, report_every=10**9)
    recording.gaps = []
    browser = shown(recording)
    areas = ask(browser, """(() => {
        const group = app.lanes.groups.find((g) => g.title === 'checkout');
        const width = 2 ** Math.ceil(Math.log2(app.recording.duration / TILE_BINS));
        const counting = new Count(app.recording, app.lanes, group, 0, width);
        counting.goOn(Infinity);
        const { bins } = counting;
        return Array.from({ length: app.painter.kinds.length + 1 }, (_, layer) =>
            bins.subarray(layer * TILE_BINS, (layer + 1) * TILE_BINS).reduce((a, b) => a + b, 0) * width);
    })()""")  # fmt: skip
    group = next(top for top in summarize(recording).top if top.name == "checkout")
    assert pytest.approx(group.busy_ns, rel=1e-3) == areas[-1]
    pending = [p for p in recording.pending if recording.actors[p.actor].function == "checkout"]
    for kind, waited in group.waited_ns.items():
        left = sum(recording.end_ns - p.since_ns for p in pending if p.kind == kind)
        assert pytest.approx(waited + left, rel=1e-3) == areas[kind]


def test_what_was_not_recorded_is_drawn_as_a_gap(shown: Show, recording: Recording, shot: Shot) -> None:
    browser = shown(recording)
    [gap] = recording.gaps
    early, late = gap.start_ns - recording.start_ns, gap.end_ns - recording.start_ns
    browser.execute_script("app.show(arguments[0], arguments[1])", early - 20e6, late + 20e6)
    shot("gap")
    left, right = ask(browser, f"[app.painter.x({early}), app.painter.x({late})]")
    found = {colour_at(browser, left + 20 + step, 200) for step in range(12)}
    assert len(found) > 2
    assert right > left + 100


def test_findings_lead_to_where_they_are_seen(shown: Show, recording: Recording, shot: Shot) -> None:
    browser = shown(recording)
    browser.find_element(By.CSS_SELECTOR, "[data-tab=findings]").click()
    shot("findings")
    articles = browser.find_elements(By.CSS_SELECTOR, ".finding")
    texts = [article.find_element(By.TAG_NAME, "h3").text for article in articles]
    assert texts[0].startswith("report blocks the thread")
    assert {"deployed", "a cancel was swallowed"} <= set(texts)
    articles[0].click()
    blocked = summarize(recording).blocked[0]
    assert blocked == ask(browser, "app.chosen")
    first, last = view(browser)
    assert first <= recording.slices.start_ns[blocked] - recording.start_ns <= last


def test_a_deadlock_is_told_with_names_and_lines_and_leads_to_the_first_of_them(
    shown: Show, shot: Shot, tmp_path: Path
) -> None:
    """A real one: two tasks that take two locks in two orders."""

    async def take(first: asyncio.Lock, second: asyncio.Lock) -> None:
        async with first:
            await met.wait()
            async with second:
                pass

    async def main() -> None:
        a, b = asyncio.Lock(), asyncio.Lock()
        kept.extend(
            asyncio.create_task(take(*locks), name=name) for name, locks in (("left", (a, b)), ("right", (b, a)))
        )
        for _ in range(5):
            await asyncio.sleep(0)

    kept: list[asyncio.Task[None]] = []
    met = asyncio.Barrier(2)
    path = tmp_path / "out.plait"
    with plait.record(path, size=1 << 20):
        plait.run(main())
    recording = recording_file.read(path)
    browser = shown(recording)
    browser.find_element(By.CSS_SELECTOR, "[data-tab=findings]").click()
    shot("deadlock")
    [article] = browser.find_elements(By.CSS_SELECTOR, ".finding.warning")
    assert "deadlock: 2 tasks wait for each other" in article.text
    assert "left waits for Lock held by right" in article.text
    assert "right waits for Lock held by left" in article.text
    assert f"{__file__}:" in article.text
    article.click()
    assert "left" == recording.actors[recording.slices.actor[ask(browser, "app.chosen")]].name


def test_the_address_leads_to_the_same_place(shown: Show, recording: Recording) -> None:
    browser = shown(recording)
    browser.execute_script("app.show(3e8, 4e8); app.choose(arguments[0]); app.search('report')", 250)
    fragment = browsers.wait(browser, "location.hash.includes('q=report') && location.hash")
    shown(recording, fragment)
    assert pytest.approx((3e8, 4e8), abs=1) == view(browser)
    assert (250, "report") == (ask(browser, "app.chosen"), ask(browser, "app.query"))
    assert "report" == browser.find_element(By.ID, "search").get_property("value")


@pytest.mark.parametrize("fragment", ["#", "#t=5,1", "#t=a,b&s=x", "#s=999999999", "#q=%ff", "#t=-1e30,1e30", "#s=-7"])
def test_a_wrong_address_shows_the_recording_all_the_same(shown: Show, recording: Recording, fragment: str) -> None:
    browser = shown(recording, fragment)
    first, last = view(browser)
    assert first < last
    assert -1 == ask(browser, "app.chosen")


def test_details_can_be_copied(shown: Show, recording: Recording) -> None:
    browser = shown(recording)
    browser.execute_script("app.choose(300)")
    press(browser, "c")
    copied = browsers.wait(browser, "app.panel.copied")
    actor = recording.actors[recording.slices.actor[300]]
    assert copied.startswith(actor.name)
    assert "ran for: " in copied


def test_help_and_legend_come_and_go_with_their_keys(shown: Show, recording: Recording, shot: Shot) -> None:
    browser = shown(recording)
    press(browser, "?")
    shot("help")
    assert "zoom in and out" in browser.find_element(By.ID, "help").text
    press(browser, Keys.ESCAPE)
    assert not browser.find_element(By.ID, "help").is_displayed()
    press(browser, "l")
    shot("legend")
    assert "database" in browser.find_element(By.ID, "legend").text
    press(browser, "l")
    assert not browser.find_element(By.ID, "legend").is_displayed()


def test_the_next_slice_that_blocks_is_a_key_away(shown: Show, recording: Recording) -> None:
    browser = shown(recording)
    blocked = sorted(summarize(recording).blocked)
    for expected in [*blocked, blocked[0]]:
        press(browser, "b")
        assert expected == ask(browser, "app.chosen")


def test_a_small_window_shows_the_weave_alone(browser: Chrome, shown: Show, recording: Recording, shot: Shot) -> None:
    browsers.size(browser, 600, 500)
    try:
        shown(recording)
        shot("small")
        assert not browser.find_element(By.ID, "panel").is_displayed()
        assert ask(browser, "app.view.pixels") > 400
    finally:
        browsers.size(browser, 1440, 900)


def test_a_recording_of_nothing_is_shown_as_such(shown: Show) -> None:
    browser = shown(Recording({}, 5, 5, 0.0, [], [], recordings.Slices()))
    assert 0 == ask(browser, "app.recording.count")
    assert "Nobody waited for anything." in browser.find_element(By.ID, "tab-summary").text


def test_a_damaged_page_says_so(browser: Chrome, tmp_path: Path) -> None:
    text = page(recordings.web_server(0.1))
    start = text.index('octet-stream">') + len('octet-stream">')
    (tmp_path / "page.html").write_text(text[: start + 4000] + "AAAA" + text[start + 4004 :])
    browser.get(f"file://{tmp_path / 'page.html'}")
    loading = "document.getElementById('loading').textContent"
    shown = browsers.wait(browser, f"{loading}.includes('cannot') && {loading}")
    assert shown.startswith("This recording cannot be shown: ")
    browsers.errors(browser)
