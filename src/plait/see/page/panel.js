"use strict";
// The panel beside the weave: the summary, the findings, and what is known of the chosen slice.

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") Object.assign(element.style, value);
    else if (value !== false && value !== undefined) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

function draw(tag, attributes, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

class Panel {
  constructor(app) {
    this.app = app;
    this.recording = app.recording;
    this.tabs = new Map();
    for (const button of document.querySelectorAll(".tabs button")) {
      this.tabs.set(button.dataset.tab, button);
      button.addEventListener("click", () => this.open(button.dataset.tab));
    }
    this.fill();
  }

  // Everything that has colours in it is made anew when they change.
  fill() {
    document.getElementById("tab-summary").replaceChildren(...this.summary());
    this.fillFindings();
    this.fillLegend();
    this.showSlice(this.app.chosen);
  }

  open(name) {
    for (const [tab, button] of this.tabs) {
      button.setAttribute("aria-selected", tab === name);
      document.getElementById(`tab-${tab}`).hidden = tab !== name;
    }
  }

  // ---- summary

  summary() {
    const { summary: s } = this.recording;
    const share = (ns) => (s.wall_ns ? ns / s.wall_ns : 0);
    const bar = (name, ns) => ns > 0 ? make("i", { class: name, style: { flexGrow: Math.max(share(ns), 0.004) }, title: `${name}: ${showTime(ns)}` }) : null;
    const fact = (name, value, title) => make("div", { title }, make("dt", {}, name), make("dd", {}, value));
    return [
      make("div", { class: "share" }, make("b", {}, showShare(share(s.busy_ns))), ` busy, ${showShare(share(s.idle_ns))} idle`,
        s.unknown_ns ? `, ${showShare(share(s.unknown_ns))} not recorded` : ""),
      make("div", { class: "busybar" }, bar("busy", s.busy_ns), bar("idle", s.idle_ns), bar("unknown", s.unknown_ns)),
      make("dl", { class: "facts" },
        fact("wall time", showTime(s.wall_ns)), fact("tasks", showCount(s.tasks)), fact("slices", showCount(s.slices.count)),
        fact("longest slice", showTime(s.slices.max_ns)), fact("ready delay, 99%", showTime(s.delays.p99_ns), "How long 99 of 100 slices at most stood ready until the thread had time for them"),
        fact("blocked", s.blocked.length ? `${showCount(s.blocked.length)} ×` : "never", `Slices of ${showTime(s.blocked_ns)} or more`)),
      make("h2", {}, "What was waited for"), this.waits(s),
      make("h2", {}, "How long slices run"), this.histogram(s.slices, "slices"),
      make("h2", {}, "How long the ready wait for the thread"), this.histogram(s.delays, "delays"),
      make("h2", {}, "Who runs"), this.top(s),
      make("h2", {}, "Where it ran"), this.meta(),
    ];
  }

  waits(s) {
    const most = Math.max(1, ...s.waits.map((w) => w.durations.total_ns));
    if (!s.waits.length) return make("p", { class: "quiet" }, "Nobody waited for anything.");
    return make("div", { class: "waits" }, s.waits.map((w) => {
      const { label, colour } = this.app.painter.kinds[w.kind];
      return make("details", {},
        make("summary", { title: "Its targets" },
          this.line(w.kind), make("span", { class: "name" }, label),
          make("span", { class: "number" }, showTime(w.durations.total_ns)),
          make("span", { class: "meter" }, make("i", { style: { width: `${(100 * w.durations.total_ns) / most}%`, background: colour } })),
          make("span", { class: "quiet" }, `${showCount(w.durations.count)} × · half within ${showTime(w.durations.p50_ns)} · 99% within ${showTime(w.durations.p99_ns)}`)),
        make("table", {}, w.targets.slice(0, 12).map(([text, count, ns]) => make("tr", {},
          make("td", {}, make("button", { class: "link", onclick: () => this.app.search(text) }, text)), make("td", {}, `${showCount(count)} ×`), make("td", {}, showTime(ns))))));
    }));
  }

  line(kind) {
    const { colour, dash } = this.app.painter.kinds[kind];
    return draw("svg", { class: "sample", width: 30, height: 10, "aria-hidden": true },
      draw("line", { x1: 0, x2: 30, y1: 5, y2: 5, stroke: colour, "stroke-width": 2.5, "stroke-dasharray": dash.join(" ") }));
  }

  histogram(h, name) {
    if (!h.count) return make("p", { class: "quiet" }, "None.");
    const { bounds } = this.recording.summary;
    const width = 320;
    const height = 56;
    const first = h.counts.findIndex((n) => n);
    const last = h.counts.length - 1 - [...h.counts].reverse().findIndex((n) => n);
    const from = Math.max(0, first - 1);
    const to = Math.min(h.counts.length - 1, last + 1);
    const step = width / (to - from + 1);
    const most = Math.max(...h.counts);
    const svg = draw("svg", { class: `histogram ${name}`, viewBox: `0 0 ${width} ${height + 14}`, role: "img", "aria-label": `half within ${showTime(h.p50_ns)}, 99% within ${showTime(h.p99_ns)}` });
    for (let k = from; k <= to; k++) {
      // Square roots, so that a single slow one among thousands is seen.
      const tall = h.counts[k] ? Math.max(2, height * Math.sqrt(h.counts[k] / most)) : 0;
      const low = k ? bounds[k - 1] : 0;
      const blocked = name === "slices" && low >= this.recording.blocked;
      svg.append(draw("rect", { x: (k - from) * step + 1, y: height - tall, width: step - 2, height: tall, rx: 1.5, class: blocked ? "blocked" : "" },
        draw("title", {}, `${k < bounds.length ? `under ${showTime(bounds[k])}` : `over ${showTime(low)}`}: ${showCount(h.counts[k])}`)));
      if (k < bounds.length && String(bounds[k])[0] === "1") {
        const x = (k - from + 1) * step;
        svg.append(draw("text", { x, y: height + 11, "text-anchor": x > width - 14 ? "end" : "middle" }, showTime(bounds[k]).replace(/\.0+/, "")));
      }
    }
    svg.append(draw("line", { x1: 0, x2: width, y1: height + 0.5, y2: height + 0.5 }));
    return make("figure", {}, svg, make("figcaption", { class: "quiet" },
      `half within ${showTime(h.p50_ns)} · 95% within ${showTime(h.p95_ns)} · 99% within ${showTime(h.p99_ns)} · longest ${showTime(h.max_ns)}`));
  }

  top(s) {
    const busy = Math.max(1, s.busy_ns);
    return make("table", { class: "top" },
      make("tr", {}, make("th", {}, "function"), make("th", {}, "tasks"), make("th", {}, "slices"), make("th", { title: "of what the thread ran" }, "share"), make("th", {}, "longest")),
      s.top.filter((t) => t.slices).slice(0, 15).map((t) => make("tr", {},
        make("td", {}, make("button", { class: "link", title: t.name, onclick: () => this.app.search(t.name) }, t.name)),
        make("td", {}, t.kind === 0 ? showCount(t.actors) : "–"), make("td", {}, showCount(t.slices)), make("td", {}, showShare(t.busy_ns / busy)),
        make("td", {}, make("button", { class: `link ${t.longest_ns >= s.blocked_ns ? "blocked" : ""}`, title: "Go to it", onclick: () => this.app.goTo(t.longest_slice) }, showTime(t.longest_ns))))));
  }

  meta() {
    const { meta, wall_start } = this.recording;
    const began = new Date(wall_start * 1000);
    return make("table", { class: "meta" }, [["began", began.toLocaleString()], ...Object.entries(meta)].map(([name, value]) =>
      make("tr", {}, make("td", {}, name), make("td", {}, String(value)))));
  }

  // ---- findings

  fillFindings() {
    const { findings } = this.recording;
    const warnings = findings.filter((f) => f.level === "warning").length;
    this.tabs.get("findings").replaceChildren("Findings", ...(findings.length ? [make("em", { class: warnings ? "badge warning" : "badge" }, String(findings.length))] : []));
    document.getElementById("tab-findings").replaceChildren(...(findings.length ? findings.map((f) => this.finding(f)) : [
      make("p", { class: "quiet" }, "Nothing to complain about: nobody blocks the thread, nobody spins, nothing is missing.")]));
  }

  finding(f) {
    const go = () => this.app.goToFinding(f);
    return make("article", { class: `finding ${f.level}`, tabindex: 0, role: "button", onclick: go, onkeydown: (e) => { if (e.key === "Enter") go(); } },
      make("h3", {}, f.text),
      f.place ? make("code", {}, f.place) : null,
      f.advice ? make("p", {}, f.advice) : null,
      make("p", { class: "quiet" }, f.level === "hint" ? "a hint, not a fault · " : "", `at ${showTime(f.time_ns)}`));
  }

  // ---- the chosen slice

  showSlice(i) {
    const box = document.getElementById("tab-slice");
    if (i === NONE) {
      box.replaceChildren(make("p", { class: "quiet" }, "Click a slice, or a line between two, to see who ran, what it waited for and who woke it."));
      return;
    }
    const r = this.recording;
    const a = r.actorOf(i);
    const link = (k, text) => make("button", { class: "link", onclick: () => this.app.goTo(k) }, text);
    const rows = this.sliceRows(i).map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value)));
    const woken = r.woken(i);
    const colour = this.app.painter.tasks[r.colourIndex(a)];
    box.replaceChildren(...[
      make("h2", { class: "who" }, make("i", { style: { background: colour } }), r.name(a), make("small", {}, r.functionName(a) !== r.name(a) ? r.functionName(a) : r.kindName(a))),
      r.isBlocked(i) ? make("p", { class: "blocks" }, `Blocks the thread for ${showTime(r.columns.duration[i])}. Nobody else can go on meanwhile.`) : null,
      make("dl", { class: "slice" }, rows),
      woken.length ? make("h2", {}, `It woke ${showCount(woken.length)}`) : null,
      woken.length ? make("ul", {}, [...woken.subarray(0, 12)].map((k) => make("li", {}, link(k, r.name(r.actorOf(k))), ` ${r.functionName(r.actorOf(k))}`))) : null,
      woken.length > 12 ? make("p", { class: "quiet" }, `and ${showCount(woken.length - 12)} more`) : null,
      make("h2", {}, r.columns.actor_kind[a] ? "All of its slices" : "The task"),
      make("dl", { class: "slice" }, this.actorRows(a).map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value)))),
      make("div", { class: "buttons" },
        make("button", { onclick: () => this.app.step(-1), title: "Its slice before ([)" }, "← before"),
        make("button", { onclick: () => this.app.step(1), title: "Its next slice (])" }, "next →"),
        make("button", { onclick: () => this.app.fit(), title: "Zoom to it (F)" }, "zoom to it"),
        make("button", { id: "copy", onclick: () => this.copy(), title: "Copy these details (C)" }, "copy")),
    ].filter(Boolean));
  }

  sliceRows(i) {
    const r = this.recording;
    const a = r.actorOf(i);
    const rows = [["began", showTime(r.start[i])], ["ran for", showTime(r.columns.duration[i])], ["then", ENDINGS[r.outcome(i)]]];
    if (r.place(i)) rows.push(["code", make("code", {}, r.place(i))]);
    const kind = r.waitKind(i);
    const waited = r.readyAt(i) - r.previousEnd[i];
    if (kind) rows.push(["waited for", make("span", {}, this.line(kind), ` ${this.app.painter.kinds[kind].label}`, r.target(i) ? make("code", {}, r.target(i)) : "")], ["for so long", r.before[i] === NONE && r.created(a) < 0 ? "since before the recording" : showTime(waited)]);
    rows.push(["ready delay", r.delay(i) < 0 ? "not known" : showTime(r.delay(i))]);
    const waker = r.waker(i);
    rows.push(["woken by", waker >= 0 ? make("button", { class: "link", onclick: () => this.app.goTo(waker) }, r.actorOf(waker) === r.actorOf(i) ? "itself" : r.name(r.actorOf(waker)))
      : WAKERS[r.wakerKind(i)] ?? "not known"]);
    return rows;
  }

  actorRows(a) {
    const r = this.recording;
    const { rowOf, rows, order } = this.app.lanes;
    const row = rows[rowOf[a]];
    let slices = 0;
    let busy = 0;
    for (let p = row.from; p < row.to; p++) {
      if (r.actorOf(order.ids[p]) !== a) continue;
      slices++;
      busy += order.end[p] - order.start[p];
    }
    const result = [["slices", `${showCount(slices)}, ${showTime(busy)} together`]];
    if (r.columns.actor_kind[a] === 0) {
      const from = r.created(a);
      const to = r.ended(a);
      if (from >= 0) result.push(["made", showTime(from)]);
      if (from >= 0 && to >= 0) result.push(["lived", showTime(to - from)]);
      const outcome = r.columns.actor_outcome[a];
      result.push(["ended", to < 0 ? "not while it was recorded" : outcome ? ENDINGS[r.names.outcomes[outcome - 1]] : showTime(to)]);
      const parent = r.parent(a);
      if (parent >= 0) result.push(["made by", make("button", { class: "link", onclick: () => this.app.goToActor(parent) }, r.name(parent))]);
    }
    for (const [time, text, level, actor] of r.marks) if (level === "cancel" && actor === a) result.push([text.split(":")[0], `${text.slice(text.indexOf(":") + 1 || text.length).trim()} at ${showTime(time)}`.trim()]);
    if (r.error(a)) result.push(["error", make("code", { class: "blocked" }, r.error(a))]);
    return result;
  }

  async copy() {
    const box = document.getElementById("tab-slice");
    if (this.app.chosen === NONE) return;
    const lines = [box.querySelector(".who").textContent];
    for (const row of box.querySelectorAll("dl.slice > div")) lines.push(`${row.children[0].textContent}: ${row.children[1].textContent.trim()}`);
    const text = lines.join("\n");
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // A page that was opened from a file may not use the clipboard in this way.
      const area = make("textarea", { style: { position: "fixed", opacity: 0 } });
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    this.copied = text;
    const button = document.getElementById("copy");
    if (button) button.textContent = "copied";
  }

  // ---- legend

  fillLegend() {
    const { painter, recording } = this.app;
    const used = new Set(recording.summary.waits.map((w) => w.kind));
    const entry = (sample, text) => make("div", {}, sample, text);
    const box = (style, name = "") => make("i", { class: `block ${name}`, style });
    document.getElementById("legend").replaceChildren(
      make("h2", {}, "A slice: a task runs on the one thread"),
      make("div", { class: "entries" },
        entry(make("span", { class: "blocks-row" }, painter.tasks.slice(0, 6).map((colour) => box({ background: colour }))), "each task has its colour, everywhere the same"),
        entry(box({ background: painter.colours.blocked }, "hatched"), `blocks the thread: ${showTime(recording.blocked)} or more`),
        entry(box({ background: painter.colours.ready, opacity: 0.4, height: "6px" }), "ready: waits for the thread only"),
        entry(box({}, "gap"), "not recorded")),
      make("h2", {}, "A line: it waits, and costs nothing"),
      make("div", { class: "entries two" }, painter.kinds.map((k, kind) => (kind && (used.has(kind) || used.size < 2) ? entry(this.line(kind), k.label) : null))));
  }
}

const ENDINGS = { waits: "waited", again: "was ready again at once", returned: "returned", raised: "raised", cancelled: "was cancelled" };
const WAKERS = { kernel: "the kernel", timer: "a timer", thread: "another thread", signal: "a signal", none: "not known" };
