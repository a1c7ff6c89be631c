"use strict";
// What is shown, and what may be done with it. The address keeps it, so that a place can be sent to somebody.

const SHORTEST_VIEW = 200; // nanoseconds
const GLIDE_MS = 180;

class View {
  constructor(duration) {
    this.duration = Math.max(1, duration);
    this.from = 0;
    this.to = this.duration;
    this.scroll = 0;
    this.pixels = 1000;
    this.lanesHeight = 100;
  }

  get scale() { return (this.to - this.from) / this.pixels; }
}

class App {
  constructor(recording) {
    this.recording = recording;
    this.chosen = NONE;
    this.hovered = NONE;
    this.chosenRange = null;
    this.query = "";
    this.found = [];
    this.dirty = false;
    this.view = new View(recording.duration);
    this.lanes = new Lanes(recording);
    this.painter = new Painter(recording, this.lanes, this.view);
    this.painter.resize();
    this.whole(false);
    this.panel = new Panel(this);
    this.input = new Input(this);
    this.head();
    new ResizeObserver(() => { this.painter.resize(); this.show(this.view.from, this.view.to); }).observe(document.getElementById("weave"));
    window.addEventListener("hashchange", () => this.readAddress());
    this.readAddress();
    this.redraw();
  }

  head() {
    const { meta, wall_start: began, duration } = this.recording;
    document.getElementById("program").textContent = meta.program ?? "recording";
    document.getElementById("about").textContent = [
      showTime(duration), meta.engine && `plait on ${meta.engine === "uring" ? "io_uring" : meta.engine}`,
      meta.python && `Python ${meta.python}`, new Date(began * 1000).toLocaleString(),
    ].filter(Boolean).join(" · ");
  }

  // ---- frames

  redraw() {
    if (this.dirty) return;
    this.dirty = true;
    requestAnimationFrame((now) => {
      this.dirty = false;
      if (this.gliding) this.glideStep(now);
      const again = this.painter.draw();
      this.painter.drawOverlay(this.hovered, this.chosen, this.chosenRange);
      this.status();
      if (again || this.gliding) this.redraw();
    });
  }

  redrawOverlay() {
    if (!this.dirty) this.painter.drawOverlay(this.hovered, this.chosen, this.chosenRange);
  }

  status() {
    const { view, painter } = this;
    const [from, to] = painter.inView;
    document.getElementById("status").textContent =
      `${showTime(view.to - view.from)} from ${showTime(Math.max(0, view.from))} · ${showCount(to - from)} slices · ${showShare(painter.busyShare)} busy`;
  }

  // ---- where one looks

  // Sets the view, held within the recording; a missing end keeps the width.
  show(from, to = from + this.view.to - this.view.from, scroll = this.view.scroll) {
    const { view, lanes } = this;
    const margin = 0.02 * view.duration;
    const width = Math.max(SHORTEST_VIEW, Math.min(to - from, view.duration + 2 * margin));
    from = Math.max(-margin, Math.min(from, view.duration + margin - width));
    view.from = from;
    view.to = from + width;
    view.scroll = Math.max(0, Math.min(scroll, lanes.height - view.lanesHeight));
    this.writeAddress();
    this.redraw();
  }

  pan(ns) { this.gliding = null; this.show(this.view.from + ns); }
  scroll(pixels) { this.show(this.view.from, this.view.to, this.view.scroll + pixels); }

  zoom(factor, around = (this.view.from + this.view.to) / 2) {
    this.gliding = null;
    const { from, to } = this.view;
    const width = Math.max(SHORTEST_VIEW, (to - from) * factor);
    const place = (around - from) / (to - from);
    this.show(around - place * width, around + (1 - place) * width);
  }

  // From wherever it is now; keys that repeat add up.
  glide(from, to, scroll = this.gliding?.target[2] ?? this.view.scroll) {
    const { view } = this;
    this.gliding = { source: [view.from, view.to, view.scroll], target: [from, to, scroll], began: performance.now() };
    this.redraw();
  }

  glideStep(now) {
    const { source, target, began } = this.gliding;
    const share = matchMedia("(prefers-reduced-motion: reduce)").matches ? 1 : Math.max(0, Math.min(1, (now - began) / GLIDE_MS));
    const eased = 1 - (1 - share) ** 3;
    const [from, to, scroll] = source.map((value, k) => value + (target[k] - value) * eased);
    if (share === 1) this.gliding = null;
    this.show(from, to, scroll);
  }

  panSmoothly(ns) { const [from, to] = this.gliding?.target ?? [this.view.from, this.view.to]; this.glide(from + ns, to + ns); }

  zoomSmoothly(factor) {
    const [from, to] = this.gliding?.target ?? [this.view.from, this.view.to];
    const middle = (from + to) / 2;
    const half = Math.max(SHORTEST_VIEW, Math.min(this.view.duration, (to - from) * factor)) / 2;
    this.glide(middle - half, middle + half);
  }

  whole(smoothly = true) {
    const margin = 0.005 * this.recording.duration;
    if (smoothly) this.glide(-margin, this.recording.duration + margin);
    else this.show(-margin, this.recording.duration + margin);
  }

  range(times) { this.chosenRange = times; this.redrawOverlay(); }

  // ---- what one points at and chooses

  hover(slice, wait, x, y) {
    const changed = slice !== this.hovered;
    this.hovered = slice;
    this.tip(slice, wait, x, y);
    if (changed) this.redrawOverlay();
  }

  tip(slice, wait, x, y) {
    const tip = document.getElementById("tip");
    const lines = slice !== NONE ? this.sliceTip(slice) : wait ? this.waitTip(wait) : null;
    tip.hidden = !lines;
    if (!lines) return;
    tip.replaceChildren(...lines.filter(Boolean).map((text, k) => make(k ? "div" : "b", {}, text)));
    const box = document.getElementById("stage");
    tip.style.left = `${Math.max(4, Math.min(x + 14, box.clientWidth - tip.offsetWidth - 6))}px`;
    tip.style.top = `${Math.max(4, y + 18 + tip.offsetHeight > box.clientHeight ? y - tip.offsetHeight - 12 : y + 18)}px`;
  }

  sliceTip(i) {
    const r = this.recording;
    const a = r.actorOf(i);
    const kind = r.waitKind(i);
    return [
      `${r.name(a)}${r.functionName(a) && r.functionName(a) !== r.name(a) ? ` · ${r.functionName(a)}` : ""}`,
      `${r.isBlocked(i) ? "blocks for" : "ran for"} ${showTime(r.columns.duration[i])}, then ${ENDINGS[r.outcome(i)]}`,
      kind ? `after ${showTime(r.readyAt(i) - r.previousEnd[i])} for ${r.target(i) || this.painter.kinds[kind].label}` : "",
      r.delay(i) > 1000 ? `stood ready for ${showTime(r.delay(i))}` : "",
      r.place(i),
    ];
  }

  waitTip({ slice, pending, mark }) {
    const r = this.recording;
    if (mark) return [mark[1], mark[3] >= 0 ? r.name(mark[3]) : "", mark[4] ? showTime(mark[4]) : "", mark[5], `at ${showTime(mark[0])}`];
    if (pending) return [r.name(pending.actor), `waits for ${pending.target >= 0 ? r.targets[pending.target][1] : this.painter.kinds[pending.kind].label}`, `since ${showTime(pending.since)}, and still does at the end`];
    const kind = r.waitKind(slice);
    const ready = r.readyAt(slice);
    if (!kind) return null;
    return [r.name(r.actorOf(slice)), `waits for ${r.target(slice) || this.painter.kinds[kind].label}`,
      r.before[slice] === NONE && r.created(r.actorOf(slice)) < 0 ? "since before the recording" : `${this.painter.kinds[kind].label}, ${showTime(ready - r.previousEnd[slice])}`];
  }

  choose(slice) {
    this.chosen = slice;
    this.panel.showSlice(slice);
    if (slice !== NONE) this.panel.open("slice");
    this.writeAddress();
    this.redrawOverlay();
  }

  // Chooses a slice and makes sure that it is seen.
  goTo(slice) {
    if (slice === NONE || slice === undefined) return;
    this.choose(slice);
    const { recording: r, view, lanes } = this;
    const start = r.start[slice];
    const end = r.end[slice];
    let [from, to] = this.gliding?.target ?? [view.from, view.to];
    if (end - start < (to - from) / 2000) { const width = Math.max(SHORTEST_VIEW, (end - start) * 60); from = start - width * 0.4; to = from + width; }
    else if (start < from || end > to) { const width = Math.max(to - from, (end - start) * 1.4); from = (start + end - width) / 2; to = from + width; }
    // It may stand in a row that had nothing in the view so far.
    lanes.kept = lanes.rowOf[r.actorOf(slice)];
    lanes.arrange(Math.min(from, view.from), Math.max(to, view.to));
    const item = lanes.itemOf(r.actorOf(slice));
    let { scroll } = view;
    if (item && (item.y < scroll || item.y + item.height > scroll + view.lanesHeight)) scroll = item.y - view.lanesHeight / 2;
    this.glide(from, to, scroll);
  }

  goToActor(a) {
    const { rowOf, rows, order } = this.lanes;
    const row = rows[rowOf[a]];
    if (!row) return;
    for (let p = row.from; p < row.to; p++) if (this.recording.actorOf(order.ids[p]) === a) return this.goTo(order.ids[p]);
  }

  goToWaker() { if (this.chosen !== NONE) this.goTo(this.recording.waker(this.chosen)); }

  goToFinding(f) {
    if (f.slice >= 0) return this.goTo(f.slice);
    if (f.actor >= 0 && !f.duration_ns) return this.goToActor(f.actor);
    const width = Math.max(1e6, f.duration_ns * 3);
    this.glide(f.time_ns - width / 3, f.time_ns + (2 * width) / 3);
  }

  // The slice of the same task before or after the chosen one.
  step(direction) {
    if (this.chosen === NONE) return;
    const r = this.recording;
    if (direction < 0) return this.goTo(r.before[this.chosen]);
    const { position, order, rows, rowOf } = this.lanes;
    const next = position[this.chosen] + 1;
    const a = r.actorOf(this.chosen);
    if (next < rows[rowOf[a]].to && r.actorOf(order.ids[next]) === a) this.goTo(order.ids[next]);
  }

  nextBlocked(direction) {
    const slices = [...this.recording.summary.blocked].sort((a, b) => a - b);
    if (!slices.length) return;
    const after = slices.findIndex((i) => i > this.chosen);
    const next = direction > 0 ? (after < 0 ? 0 : after) : (slices.findLastIndex((i) => i < this.chosen) + slices.length) % slices.length;
    this.goTo(slices[next]);
  }

  fit() {
    if (this.chosen === NONE) return;
    const { start, end } = this.recording;
    const width = Math.max(SHORTEST_VIEW, (end[this.chosen] - start[this.chosen]) * 3);
    const middle = (start[this.chosen] + end[this.chosen]) / 2;
    this.glide(middle - width / 2, middle + width / 2);
  }

  forget() {
    this.search("");
    this.choose(NONE);
    document.getElementById("legend").hidden = true;
    document.getElementById("legend-button").setAttribute("aria-expanded", false);
  }

  // ---- groups

  fold(group) { group.folded = !group.folded; this.rearranged(); }

  foldAll() {
    const { groups } = this.lanes;
    const folded = groups.some((group) => group.folded);
    for (const group of groups) group.folded = !folded && group.rows.length > 1;
    this.rearranged();
  }

  rearranged() { this.lanes.arrange(this.view.from, this.view.to); this.show(this.view.from, this.view.to); }

  // Once the view stands still, rows of large groups that have nothing in it make room; what stands at the top stays there.
  settle() {
    const { lanes, view } = this;
    if (!lanes.groups.some((group) => !group.folded && group.rows.length > ROWS_ALWAYS)) return;
    const top = lanes.at(view.scroll);
    const gone = top ? view.scroll - top.y : 0;
    lanes.arrange(view.from, view.to);
    const now = top && (top.type === "lane" ? lanes.shown[lanes.place[top.row.index]] : lanes.shown.find((item) => item.group === top.group));
    view.scroll = Math.max(0, Math.min(now ? now.y + gone : top?.group.y ?? 0, lanes.height - view.lanesHeight));
    this.redraw();
  }

  // ---- search

  // Marks the tasks whose name or function has the text in it, or that waited for something that has.
  search(text) {
    const box = document.getElementById("search");
    if (box.value !== text) box.value = text;
    this.query = text;
    const needle = text.trim().toLowerCase();
    const told = document.getElementById("found");
    if (!needle) {
      this.painter.matched = null;
      this.found = [];
      told.textContent = "";
    } else {
      const actors = this.matching(needle);
      const ids = [];
      const { actor } = this.recording.columns;
      const firsts = new Map();
      for (let i = 0; i < this.recording.count; i++) {
        if (!actors[actor[i]]) continue;
        ids.push(i);
        if (!firsts.has(actor[i])) firsts.set(actor[i], i);
      }
      this.painter.matched = { actors, order: new Order(this.recording, Uint32Array.from(ids)) };
      this.found = [...firsts.values()];
      this.foundAt = NONE;
      told.textContent = this.found.length ? `${showCount(this.found.length)} found, ${showCount(ids.length)} slices` : "not found";
    }
    this.lanes.found = this.found.length ? this.painter.matched.actors : null;
    this.lanes.kept = NONE;
    this.rearranged();
  }

  matching(needle) {
    const r = this.recording;
    const actors = new Uint8Array(r.actorCount);
    const strings = r.strings.map((text) => text.toLowerCase().includes(needle));
    const { actor_name: names, actor_function: functions } = r.columns;
    for (let a = 0; a < r.actorCount; a++) actors[a] = strings[names[a]] || strings[functions[a]] ? 1 : 0;
    const targets = r.targets.map(([, text]) => text.toLowerCase().includes(needle));
    if (targets.some(Boolean)) {
      const { wait_target: waited, actor } = r.columns;
      for (let i = 0; i < r.count; i++) if (waited[i] && targets[waited[i] - 1]) actors[actor[i]] = 1;
    }
    return actors;
  }

  nextFound(direction) {
    if (!this.found.length) return;
    this.foundAt = (this.foundAt + direction + this.found.length) % this.found.length;
    if (this.foundAt < 0) this.foundAt = this.found.length - 1;
    this.goTo(this.found[this.foundAt]);
  }

  // ---- looks

  switchTheme() {
    const root = document.documentElement;
    setTheme(root.dataset.theme === "dark" ? "light" : "dark");
    this.painter.useTheme();
    this.panel.fill();
    this.redraw();
  }

  toggleLegend() {
    const legend = document.getElementById("legend");
    legend.hidden = !legend.hidden;
    document.getElementById("legend-button").setAttribute("aria-expanded", !legend.hidden);
  }

  // ---- the address

  // And what else waits until the view stands still.
  writeAddress() {
    clearTimeout(this.addressTimer);
    this.addressTimer = setTimeout(() => {
      const parts = [`t=${Math.round(this.view.from)},${Math.round(this.view.to)}`];
      if (this.chosen !== NONE) parts.push(`s=${this.chosen}`);
      if (this.query) parts.push(`q=${encodeURIComponent(this.query)}`);
      this.address = `#${parts.join("&")}`;
      history.replaceState(null, "", this.address);
      this.settle();
    }, 250);
  }

  readAddress() {
    if (location.hash.length < 2 || location.hash === this.address) return;
    const said = new URLSearchParams(location.hash.slice(1));
    const [from, to] = (said.get("t") ?? "").split(",").map(Number);
    if (to > from) this.show(from, to);
    const slice = Number(said.get("s") ?? NONE);
    if (said.has("s") && slice >= 0 && slice < this.recording.count) this.choose(slice);
    if (said.get("q")) this.search(said.get("q"));
  }
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  try { localStorage.setItem("plait-theme", theme); } catch { /* a page from a file may have no storage */ }
}

async function start() {
  let kept = null;
  try { kept = localStorage.getItem("plait-theme"); } catch { /* none */ }
  document.documentElement.dataset.theme = kept ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  const began = performance.now();
  const element = document.getElementById("recording");
  try {
    const recording = await readRecording(element.textContent);
    element.remove();
    window.app = new App(recording);
    document.getElementById("loading").remove();
    requestAnimationFrame(() => { window.app.openedMs = performance.now() - began; window.app.shownMs = performance.now(); document.body.dataset.ready = "true"; });
  } catch (error) {
    document.getElementById("loading").textContent = `This recording cannot be shown: ${error.message}`;
    throw error;
  }
}

start();
