"use strict";
// Mouse, touch pad and keys.

const KEYS = [
  ["W S  or  + −", "zoom in and out"],
  ["A D  or  ← →", "back and forth in time"],
  ["↑ ↓", "scroll the lanes"],
  ["0", "the whole recording"],
  ["F", "zoom to the chosen slice"],
  ["[ ]", "the task's slice before, and after"],
  ["G", "to the slice that woke it"],
  ["B", "the next slice that blocks"],
  ["/", "search; Enter goes to the next one found"],
  ["E", "unfold or fold all groups"],
  ["C", "copy the details of the slice"],
  ["L", "legend"],
  ["T", "light or dark"],
  ["Esc", "forget the choice and the search"],
  ["wheel", "zoom over the thread; over the lanes scroll, with Ctrl zoom"],
  ["drag", "move; with Shift or on the ruler choose a time"],
  ["double click", "zoom to a slice"],
];

class Input {
  constructor(app) {
    this.app = app;
    this.stage = document.getElementById("stage");
    this.drag = null;
    this.stage.addEventListener("wheel", (e) => this.wheel(e), { passive: false });
    this.stage.addEventListener("pointerdown", (e) => this.down(e));
    this.stage.addEventListener("pointermove", (e) => this.move(e));
    this.stage.addEventListener("pointerup", (e) => this.up(e));
    this.stage.addEventListener("pointercancel", () => { this.drag = null; });
    this.stage.addEventListener("pointerleave", () => app.hover(NONE, null));
    this.stage.addEventListener("dblclick", (e) => this.double(e));
    this.overview();
    this.buttons();
    document.addEventListener("keydown", (e) => this.key(e));
    document.getElementById("keys").append(...KEYS.flatMap(([key, what]) => [make("kbd", {}, key), make("span", {}, what)]));
  }

  point(e) {
    const box = this.stage.getBoundingClientRect();
    return [e.clientX - box.left, e.clientY - box.top];
  }

  wheel(e) {
    e.preventDefault();
    const { app } = this;
    const { painter, view } = app;
    const [x, y] = this.point(e);
    const unit = e.deltaMode === 1 ? 32 : e.deltaMode === 2 ? 400 : 1;
    const [dx, dy] = [e.deltaX * unit, e.deltaY * unit];
    if (e.shiftKey || Math.abs(dx) > Math.abs(dy)) return app.pan((e.shiftKey && !dx ? dy : dx) * view.scale);
    const overLanes = y >= painter.top && app.lanes.height > view.lanesHeight;
    if (!e.ctrlKey && !e.metaKey && (overLanes || x < painter.gutter)) return app.scroll(dy);
    // A pinch on a touch pad comes as a wheel with Ctrl, in small steps.
    const strength = e.ctrlKey && Math.abs(dy) < 40 ? 0.01 : 0.002;
    app.zoom(Math.exp(Math.max(-1, Math.min(1, dy * strength))), painter.timeAt(Math.max(x, painter.gutter)));
  }

  down(e) {
    if (e.button > 1) return;
    const { painter, view } = this.app;
    const [x, y] = this.point(e);
    document.getElementById("lanes").focus({ preventScroll: true });
    const range = x >= painter.gutter && (e.shiftKey || y < LAYOUT.ruler);
    this.drag = { x, y, from: view.from, scroll: view.scroll, time: painter.timeAt(x), range, moved: false };
    this.stage.setPointerCapture(e.pointerId);
  }

  move(e) {
    const { app, drag } = this;
    const [x, y] = this.point(e);
    if (!drag) {
      const slice = app.painter.sliceAt(x, y);
      const mark = app.painter.markAt(x, y);
      app.hover(slice, mark ? { mark } : slice === NONE ? app.painter.waitAt(x, y) : null, x, y);
      this.stage.style.cursor = slice !== NONE || this.onFold(x, y) ? "pointer" : y < LAYOUT.ruler ? "col-resize" : "default";
      return;
    }
    if (Math.abs(x - drag.x) + Math.abs(y - drag.y) > 3) drag.moved = true;
    if (!drag.moved) return;
    app.hover(NONE, null);
    if (drag.range) app.range([drag.time, app.painter.timeAt(Math.max(x, app.painter.gutter))]);
    else {
      this.stage.style.cursor = "grabbing";
      app.show(drag.from - (x - drag.x) * app.view.scale, undefined, drag.scroll - (y - drag.y));
    }
  }

  up(e) {
    const { app, drag } = this;
    this.drag = null;
    this.stage.style.cursor = "default";
    if (!drag) return;
    const [x, y] = this.point(e);
    if (drag.moved) {
      if (drag.range) { const [a, b] = [drag.time, app.painter.timeAt(Math.max(x, app.painter.gutter))].sort((p, q) => p - q); app.range(null); app.glide(a, b); }
      return;
    }
    const fold = this.onFold(x, y);
    if (fold) return app.fold(fold);
    const slice = app.painter.sliceAt(x, y);
    app.choose(slice !== NONE ? slice : app.painter.waitAt(x, y)?.slice ?? NONE);
  }

  double(e) {
    const [x, y] = this.point(e);
    const slice = this.app.painter.sliceAt(x, y);
    if (slice !== NONE) { this.app.choose(slice); this.app.fit(); }
  }

  // The group whose name, or whose folded lane, is at a point.
  onFold(x, y) {
    const { painter, lanes, view } = this.app;
    if (y < painter.top) return null;
    const item = lanes.at(y - painter.top + view.scroll);
    return item && (item.type === "head" || (item.type === "folded" && x < painter.gutter)) ? item.group : null;
  }

  overview() {
    const { app } = this;
    const canvas = document.getElementById("overview");
    const timeAt = (e) => {
      const box = canvas.getBoundingClientRect();
      return ((e.clientX - box.left) / box.width) * app.recording.duration;
    };
    let start = null;
    canvas.addEventListener("pointerdown", (e) => {
      canvas.setPointerCapture(e.pointerId);
      const time = timeAt(e);
      const inside = time >= app.view.from && time <= app.view.to && app.view.to - app.view.from < 0.98 * app.recording.duration;
      start = { time, offset: inside ? time - app.view.from : null };
    });
    canvas.addEventListener("pointermove", (e) => {
      if (!start) return;
      const time = timeAt(e);
      if (start.offset !== null) app.show(time - start.offset);
      else if (Math.abs(time - start.time) > app.recording.duration / 500) app.show(Math.min(time, start.time), Math.max(time, start.time));
    });
    canvas.addEventListener("pointerup", (e) => {
      const time = timeAt(e);
      const span = app.view.to - app.view.from;
      if (start && start.offset === null && Math.abs(time - start.time) <= app.recording.duration / 500) app.glide(time - span / 2, time + span / 2);
      start = null;
    });
    canvas.addEventListener("dblclick", () => app.whole());
    canvas.addEventListener("wheel", (e) => { e.preventDefault(); app.zoom(Math.exp(Math.max(-1, Math.min(1, e.deltaY * 0.002))), timeAt(e)); }, { passive: false });
  }

  buttons() {
    const { app } = this;
    const on = (id, action) => document.getElementById(id).addEventListener("click", action);
    on("zoom-in", () => app.zoomSmoothly(0.5));
    on("zoom-out", () => app.zoomSmoothly(2));
    on("whole", () => app.whole());
    on("theme", () => app.switchTheme());
    on("legend-button", () => app.toggleLegend());
    on("help-button", () => document.getElementById("help").showModal());
    const search = document.getElementById("search");
    search.addEventListener("input", () => app.search(search.value));
    search.addEventListener("keydown", (e) => {
      if (e.key === "Enter") { e.preventDefault(); app.nextFound(e.shiftKey ? -1 : 1); }
      if (e.key === "Escape") { app.search(""); search.blur(); }
      e.stopPropagation();
    });
  }

  key(e) {
    if (e.ctrlKey || e.metaKey || e.altKey || document.getElementById("help").open) return;
    const { app } = this;
    const { view } = app;
    const step = (view.to - view.from) * (e.shiftKey ? 0.5 : 0.15);
    const focused = document.activeElement;
    if (focused?.matches?.("input, summary, article, [role=tab], #panel button") && ["Enter", " ", "ArrowDown", "ArrowUp"].includes(e.key)) return;
    const actions = {
      a: () => app.panSmoothly(-step), arrowleft: () => app.panSmoothly(-step),
      d: () => app.panSmoothly(step), arrowright: () => app.panSmoothly(step),
      w: () => app.zoomSmoothly(0.6), "+": () => app.zoomSmoothly(0.6), "=": () => app.zoomSmoothly(0.6),
      s: () => app.zoomSmoothly(1 / 0.6), "-": () => app.zoomSmoothly(1 / 0.6),
      arrowup: () => app.scroll(-60), arrowdown: () => app.scroll(60),
      pageup: () => app.scroll(-view.lanesHeight * 0.8), pagedown: () => app.scroll(view.lanesHeight * 0.8),
      0: () => app.whole(), home: () => app.whole(),
      f: () => app.fit(), "[": () => app.step(-1), "]": () => app.step(1),
      g: () => app.goToWaker(), b: () => app.nextBlocked(e.shiftKey ? -1 : 1),
      "/": () => document.getElementById("search").select(),
      e: () => app.foldAll(), c: () => app.panel.copy(), l: () => app.toggleLegend(), t: () => app.switchTheme(),
      "?": () => document.getElementById("help").showModal(),
      escape: () => app.forget(),
    };
    const action = actions[e.key.toLowerCase()];
    if (!action) return;
    e.preventDefault();
    action();
  }
}
