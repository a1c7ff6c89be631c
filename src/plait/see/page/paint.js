"use strict";
// Draws the weave. Everything is drawn anew for each frame, in as many steps as there are pixels, however many slices there are.

const LAYOUT = { ruler: 26, thread: 64, space: 12 };
const TALLEST_BLOCK = 14;
const COUNTING_MS = 5; // what a frame may spend on tiles of folded groups
const THREADS_DRAWN = 160; // with no more slices in view than this, each is tied to its lane by a line

class Painter {
  constructor(recording, lanes, view) {
    this.recording = recording;
    this.lanes = lanes;
    this.view = view;
    const all = new Uint32Array(recording.count);
    for (let i = 0; i < all.length; i++) all[i] = i;
    this.thread = new Order(recording, all);
    this.density = new Density(recording, lanes);
    this.canvas = document.getElementById("lanes");
    this.overlay = document.getElementById("overlay");
    this.overview = document.getElementById("overview");
    this.context = this.canvas.getContext("2d", { alpha: false });
    this.over = this.overlay.getContext("2d");
    this.matched = null; // slices of the actors that a search found
    this.frames = 0;
    this.useTheme();
  }

  useTheme() {
    const dark = document.documentElement.dataset.theme === "dark";
    const shade = dark ? 1 : 0;
    const style = getComputedStyle(document.documentElement);
    const css = (name) => style.getPropertyValue(name).trim();
    const { palette, kinds } = this.recording;
    this.tasks = [...palette.tasks.map((c) => c[shade]), palette.loop[shade]];
    this.inks = this.tasks.map(inkOn);
    // The same as pixels of an image, and at last that of what blocks.
    this.pixels = [...this.tasks, palette.blocked[shade]].map((colour) => pixelOf(colour, 255));
    this.faintPixels = [...this.tasks, palette.blocked[shade]].map((colour) => pixelOf(colour, 31));
    this.kinds = kinds.map((k) => ({ label: k[0], colour: k[1 + shade], dash: k[3] }));
    this.colours = {
      blocked: palette.blocked[shade], ready: palette.ready[shade], idle: palette.idle[shade],
      ground: css("--ground"), raised: css("--raised"), line: css("--line"), text: css("--text"), dim: css("--dim"), accent: css("--accent"),
      warning: css("--warning"),
    };
    this.blockedHatch = hatch(this.context, this.colours.blocked, "rgba(255,255,255,.38)", 7);
    this.gapHatch = hatch(this.context, this.colours.ground, this.colours.line, 8);
    this.overviewImage = null;
  }

  resize() {
    const ratio = window.devicePixelRatio || 1;
    for (const [canvas, box] of [[this.canvas, this.canvas.parentElement], [this.overlay, this.canvas.parentElement], [this.overview, this.overview]]) {
      const width = box.clientWidth;
      const height = box.clientHeight;
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
      canvas.getContext("2d").setTransform(ratio, 0, 0, ratio, 0, 0);
    }
    this.width = this.canvas.parentElement.clientWidth;
    this.height = this.canvas.parentElement.clientHeight;
    this.gutter = this.width < 720 ? 120 : 216;
    this.top = LAYOUT.ruler + LAYOUT.thread + LAYOUT.space;
    this.view.pixels = Math.max(50, this.width - this.gutter);
    this.view.lanesHeight = Math.max(20, this.height - this.top);
    this.columns = new Columns(Math.ceil(this.view.pixels), Math.max(LAYOUT.thread, Math.ceil(this.height)));
    this.overviewImage = null;
    this.useTheme();
  }

  x(time) { return this.gutter + (time - this.origin) / this.scale; }
  timeAt(x) { return this.view.from + (x - this.gutter) * this.view.scale; }

  // One frame. Columns of pixels stand on multiples of their width in time, so that nothing flickers while it moves.
  draw() {
    this.scale = this.view.scale;
    this.origin = Math.round(this.view.from / this.scale) * this.scale;
    this.late = this.origin + this.view.pixels * this.scale;
    const { context: c } = this;
    this.frames++;
    this.density.budget = COUNTING_MS;
    this.again = false;
    c.fillStyle = this.colours.ground;
    c.fillRect(0, 0, this.width, this.height);
    this.drawLanes();
    this.drawThread();
    this.drawRuler();
    this.drawGaps();
    this.drawOverview();
    return this.again;
  }

  // ---- lanes of tasks

  drawLanes() {
    const { context: c, lanes, view } = this;
    const shown = lanes.shown.filter(({ y, height }) => y + height > view.scroll && y < view.scroll + this.height - this.top);
    const place = (item) => this.top + item.y - view.scroll;
    this.lines = this.kinds.map(() => []);
    c.save();
    c.beginPath();
    c.rect(0, this.top, this.width, this.height - this.top);
    c.clip();
    for (const item of shown) this.drawGutter(item, place(item));
    c.beginPath();
    c.rect(this.gutter, this.top, view.pixels, this.height - this.top);
    c.clip();
    for (const item of shown) {
      if (item.type === "folded") this.drawFolded(item.group, place(item), item.height);
      if (item.type === "lane") this.drawRow(item.row, place(item), item.height);
    }
    this.columns.drawTo(c, this.gutter);
    this.strokeLines();
    c.restore();
    this.drawThreads();
    c.fillStyle = this.colours.line;
    c.fillRect(this.gutter - 1, 0, 1, this.height);
    this.drawScrollbar();
  }

  drawGutter(item, y) {
    const { context: c, colours, recording } = this;
    const group = item.type !== "lane";
    const only = group ? NONE : this.onlyInView(item.row);
    const middle = y + (item.type === "folded" ? 19 : item.height / 2);
    c.fillStyle = colours.line;
    if (group || item.alone) c.fillRect(0, Math.round(y), this.width, 1);
    c.textBaseline = "middle";
    let x = 14;
    if (group) {
      c.fillStyle = colours.dim;
      triangle(c, x - 4, middle, item.group.folded);
      x += 8;
    } else {
      if (!item.alone) x += 12;
      c.fillStyle = only === NONE ? colours.line : this.tasks[recording.colourIndex(only)];
      c.beginPath();
      c.roundRect(x - 4, middle - 4.5, 9, 9, 2.5);
      c.fill();
      x += 12;
    }
    c.font = group || item.alone ? FONT_BOLD : FONT;
    c.fillStyle = !group && only === NONE ? colours.dim : colours.text;
    const room = this.gutter - x - 10;
    if (!group) { c.fillText(shortenName(c, this.lanes.label(item, only), room), x, middle); return; }
    const count = showCount(item.group.actors.length);
    c.fillText(shortenName(c, item.group.title, room - 10 - c.measureText(count).width), x, middle);
    c.font = FONT;
    c.fillStyle = colours.dim;
    if (item.type === "head") { c.textAlign = "right"; c.fillText(count, this.gutter - 12, middle); c.textAlign = "left"; return; }
    c.fillText(item.group.kind === 0 ? `${count} tasks, ${showCount(item.group.rows.length)} at once` : count, x, middle + 18);
  }

  // The one actor of a row that is in view, or NONE where there is another number of them.
  onlyInView({ actors }) {
    if (actors.length === 1) return actors[0];
    const { first, last } = this.lanes.lives;
    const k = firstAlive(actors, last, this.origin);
    if (k === actors.length || first[actors[k]] > this.late) return NONE;
    return k + 1 === actors.length || first[actors[k + 1]] > this.late ? actors[k] : NONE;
  }

  // A row of tasks that follow each other: thin lines for what they wait for, blocks for their slices.
  drawRow(row, y, height) {
    const { lanes, recording, late, scale } = this;
    const { order } = lanes;
    const middle = Math.round(y + height / 2);
    this.drawLives(row, y, height);
    let p = order.endsAfter(row.from, row.to, this.origin);
    while (p < row.to) {
      const i = order.ids[p];
      const since = recording.previousEnd[i];
      if (since > late) break;
      if (order.start[p] - since >= scale) this.waitLine(i, middle);
      // Those that begin within the same pixel are passed over.
      const edge = Math.floor((order.start[p] - this.origin) / scale + 1) * scale + this.origin;
      p = p + 1 < row.to && order.start[p + 1] < edge ? order.startsAt(p + 1, row.to, edge) : p + 1;
    }
    for (const wait of row.pending ?? []) this.pendingLine(wait, middle);
    this.strip(order, row.from, row.to, middle - TALLEST_BLOCK / 2, TALLEST_BLOCK, false);
  }

  // A pale band from a task's first slice to its last, so that one is told from the next in its row.
  drawLives({ actors }, y, height) {
    const { context: c, lanes, recording, late } = this;
    const { first, last } = lanes.lives;
    if (recording.columns.actor_kind[actors[0]] !== 0) return;
    const from = firstAlive(actors, last, this.origin);
    let to = firstAlive(actors, last, late);
    if (to < actors.length && first[actors[to]] < late) to++;
    if (to - from > this.view.pixels / 8) {
      // So many that they are one.
      c.globalAlpha = this.matched ? 0.03 : 0.09;
      c.fillStyle = this.colours.ready;
      const left = Math.max(this.gutter, this.x(first[actors[from]]));
      c.fillRect(left, y + 2, this.x(last[actors[to - 1]]) - left, height - 4);
    }
    for (let k = from; k < to && to - from <= this.view.pixels / 8; k++) {
      const a = actors[k];
      const left = Math.max(this.gutter - 4, this.x(first[a])) - 1;
      const right = Math.min(this.gutter + this.view.pixels + 4, this.x(last[a]));
      c.globalAlpha = this.matched && !this.isMatched(a) ? 0.03 : 0.13;
      c.fillStyle = this.tasks[recording.colourIndex(a)];
      if (right - left < 16) { c.fillRect(left, y + 2, Math.max(2, right - left), height - 4); continue; } // round ones take ten times as long
      c.beginPath();
      c.roundRect(left, y + 2, right - left, height - 4, 4);
      c.fill();
    }
    c.globalAlpha = 1;
  }

  waitLine(i, y) {
    const { recording } = this;
    const from = recording.previousEnd[i];
    const ready = recording.readyAt(i);
    const start = recording.start[i];
    const kind = recording.columns.wait_kind[i];
    const faint = this.matched && !this.isMatched(recording.actorOf(i));
    if (kind && ready > from) this.segment(kind, this.x(from), this.x(ready), y, faint, recording.target(i));
    const a = this.x(ready);
    const b = this.x(start);
    if (b - a >= 1) {
      this.context.globalAlpha = faint ? 0.08 : 0.3;
      this.context.fillStyle = this.colours.ready;
      this.context.fillRect(Math.max(a, this.gutter), y - 3, b - Math.max(a, this.gutter), 6);
      this.context.globalAlpha = 1;
    }
  }

  pendingLine(wait, y) {
    if (wait.since > this.late) return;
    const text = wait.target >= 0 ? this.recording.targets[wait.target][1] : "";
    this.segment(wait.kind, this.x(wait.since), this.x(this.recording.duration), y, this.matched && !this.isMatched(wait.actor), text);
  }

  segment(kind, from, to, y, faint, text) {
    const right = this.gutter + this.view.pixels;
    if (to < this.gutter || from > right || to - from < 0.5) return;
    // The dashes of a line that begins far to the left keep their phase.
    const period = this.kinds[kind].dash.reduce((a, b) => a + b, 0) || 1;
    if (from < this.gutter) from += Math.ceil((this.gutter - period - from) / period) * period;
    this.lines[kind].push(from, Math.min(to, right + 2), y, faint ? 1 : 0);
    const room = Math.min(to, right) - Math.max(from, this.gutter);
    if (text && room > 70 && !faint) this.lines[kind].labels = [...(this.lines[kind].labels ?? []), [Math.max(from, this.gutter) + 6, y, text, room - 12]];
  }

  strokeLines() {
    const { context: c } = this;
    this.lines.forEach((segments, kind) => {
      if (!segments.length) return;
      const style = this.kinds[kind];
      c.strokeStyle = style.colour;
      c.lineWidth = 2;
      c.setLineDash(style.dash);
      for (const faint of [1, 0]) {
        c.globalAlpha = faint ? 0.15 : 1;
        c.beginPath();
        for (let k = 0; k < segments.length; k += 4) {
          if (segments[k + 3] !== faint) continue;
          c.moveTo(segments[k], segments[k + 2]);
          c.lineTo(segments[k + 1], segments[k + 2]);
        }
        c.stroke();
      }
      c.setLineDash([]);
      c.font = FONT_SMALL;
      c.textBaseline = "bottom";
      c.fillStyle = style.colour;
      for (const [x, y, text, room] of segments.labels ?? []) c.fillText(shorten(c, text, room), x, y - 1);
    });
    c.textBaseline = "middle";
  }

  // Slices as blocks; where many lie within a pixel, one column in the colour of the longest, the lower the less was run. The columns
  // are left in `this.columns`, to be drawn with others.
  strip(order, from, to, y, height, thread) {
    const { recording, scale, origin, late, columns, matched } = this;
    const { start, end, ids, shades, busySums } = order;
    const right = this.gutter + this.view.pixels;
    const least = thread ? 6 : 5;
    if (!columns.begin(y, height)) return;
    let p = order.endsAfter(from, to, origin);
    while (p < to && start[p] < late) {
      const length = (end[p] - start[p]) / scale;
      if (length >= 1.5) {
        const a = this.x(start[p]);
        this.block(ids[p], Math.max(a, this.gutter - 8), Math.min(a + length, right + 8), y, height, thread);
        p++;
        continue;
      }
      const column = Math.max(0, Math.floor((start[p] - origin) / scale));
      let next = Math.max(p + 1, order.startsAt(p + 1, to, origin + (column + 1) * scale));
      // The last one may reach far to the right: it is drawn as a block.
      if (next > p + 1 && end[next - 1] - start[next - 1] >= 1.5 * scale) next--;
      const longest = order.longest(p, next);
      const share = Math.min(1, (busySums[next] - busySums[p]) / scale);
      const blocked = shades[longest] === BLOCKED_SHADE;
      const tall = Math.max(blocked ? height / 2 : least, Math.round(height * Math.sqrt(share)));
      const pixels = matched && !this.isMatched(recording.actorOf(ids[longest])) ? this.faintPixels : this.pixels;
      columns.add(column, tall, pixels[blocked ? pixels.length - 1 : shades[longest]]);
      p = next;
    }
  }

  block(i, a, b, y, height, thread) {
    const { context: c, recording, colours } = this;
    const actor = recording.actorOf(i);
    const index = recording.colourIndex(actor);
    const blocked = recording.isBlocked(i);
    const width = b - a;
    c.globalAlpha = this.matched && !this.isMatched(actor) ? 0.12 : 1;
    c.fillStyle = blocked ? colours.blocked : this.tasks[index];
    if (width > 9) {
      c.beginPath();
      c.roundRect(a, y, width - 0.75, height, Math.min(3.5, width / 4));
      c.fill();
      if (blocked) { c.fillStyle = this.blockedHatch; c.fill(); }
    } else c.fillRect(a, y, Math.max(1, width - 0.5), height);
    const outcome = recording.outcome(i);
    if (!thread && (outcome === "raised" || outcome === "cancelled")) this.ending(b, y + height / 2, outcome);
    if (width > (blocked ? 64 : 34)) {
      const text = blocked ? `${recording.name(actor)} blocks for ${showTime(recording.columns.duration[i])}` : thread
        ? recording.name(actor) : recording.line(i) ? `line ${recording.line(i)}` : recording.name(actor);
      c.fillStyle = blocked ? "#fff" : this.inks[index];
      c.font = thread || blocked ? FONT_BOLD : FONT_SMALL;
      const x = Math.max(a, this.gutter) + 6;
      const place = blocked && thread && width > 120 ? recording.place(i) : "";
      c.fillText(shorten(c, text, b - x - 6), x, y + height / 2 - (place ? 8 : -0.5));
      if (place) { c.font = FONT_SMALL; c.fillText(shorten(c, place, b - x - 6), x, y + height / 2 + 9); }
    }
    c.globalAlpha = 1;
  }

  ending(x, y, outcome) {
    const { context: c, colours } = this;
    c.strokeStyle = outcome === "raised" ? colours.blocked : colours.warning;
    c.lineWidth = 2;
    c.beginPath();
    if (outcome === "raised") { c.moveTo(x + 2, y - 4); c.lineTo(x + 10, y + 4); c.moveTo(x + 10, y - 4); c.lineTo(x + 2, y + 4); }
    else { c.arc(x + 7, y, 4.5, 0, 7); c.moveTo(x + 4, y + 3); c.lineTo(x + 10, y - 3); }
    c.stroke();
  }

  // How many tasks wait for what: areas on top of each other, the running at the bottom.
  drawFolded(group, y, height) {
    const { context: c, origin, scale, late } = this;
    const layers = this.kinds.length + 1;
    const columns = Math.ceil(this.view.pixels);
    const counts = new Float32Array(layers * columns);
    const whole = this.density.visit(group, origin, late, scale, (bins, first, width, early, end) => {
      const a = Math.max(0, Math.floor((early - origin) / scale));
      const b = Math.min(columns, Math.ceil((end - origin) / scale));
      for (let k = a; k < b; k++) {
        const bin = Math.floor((origin + (k + 0.5) * scale - first) / width);
        if (bin < 0 || bin >= TILE_BINS) continue;
        for (let layer = 0; layer < layers; layer++) counts[layer * columns + k] = bins[layer * TILE_BINS + bin];
      }
    });
    if (!whole) this.again = true;
    const room = height - 10;
    const unit = room / Math.max(1, group.rows.length);
    const base = new Float32Array(columns).fill(y + height - 4);
    const order = [layers - 1, ...Array(layers - 1).keys()];
    for (const layer of order) {
      let used = false;
      for (let k = 0; k < columns && !used; k++) used = counts[layer * columns + k] > 0;
      if (!used) continue;
      const colour = layer === layers - 1 ? this.tasks[this.recording.colourIndex(group.actors[0])] : this.kinds[layer].colour;
      c.globalAlpha = layer === 0 ? 0.55 : layer === layers - 1 ? 1 : 0.8;
      c.fillStyle = colour;
      c.beginPath();
      c.moveTo(this.gutter, base[0]);
      for (let k = 0; k < columns; k++) {
        const top = base[k] - counts[layer * columns + k] * unit;
        c.lineTo(this.gutter + k, top);
        c.lineTo(this.gutter + k + 1, top);
      }
      for (let k = columns - 1; k >= 0; k--) {
        c.lineTo(this.gutter + k + 1, base[k]);
        c.lineTo(this.gutter + k, base[k]);
        base[k] -= counts[layer * columns + k] * unit;
      }
      c.fill();
    }
    c.globalAlpha = 1;
  }

  // Faint lines from each slice of the thread to its lane, where they are few enough to be followed: the threads of the weave.
  drawThreads() {
    const { context: c, recording, thread, lanes } = this;
    const from = thread.endsAfter(0, recording.count, this.origin);
    const to = thread.startsAt(from, recording.count, this.late);
    this.inView = [from, to];
    if (to - from > THREADS_DRAWN) return;
    c.save();
    c.beginPath();
    c.rect(this.gutter, LAYOUT.ruler + LAYOUT.thread - 4, this.view.pixels, this.height);
    c.clip();
    c.lineWidth = 1;
    for (let i = from; i < to; i++) {
      const actor = recording.actorOf(i);
      const item = lanes.itemOf(actor);
      if (!item || (this.matched && !this.isMatched(actor))) continue;
      const y = this.top + item.y - this.view.scroll + item.height / 2 - 6;
      if (y < this.top) continue;
      c.strokeStyle = this.tasks[recording.colourIndex(actor)];
      c.globalAlpha = 0.35;
      c.beginPath();
      for (const time of [recording.start[i], recording.end[i]]) {
        const x = this.x(time);
        c.moveTo(x, LAYOUT.ruler + LAYOUT.thread - 4);
        c.lineTo(x, Math.min(y, this.height));
      }
      c.stroke();
    }
    c.restore();
  }

  drawScrollbar() {
    const { context: c, view, lanes } = this;
    if (lanes.height <= view.lanesHeight) return;
    const track = this.height - this.top;
    const size = Math.max(24, (track * view.lanesHeight) / lanes.height);
    const y = this.top + (track - size) * (view.scroll / (lanes.height - view.lanesHeight));
    c.fillStyle = this.colours.dim;
    c.globalAlpha = 0.4;
    c.beginPath();
    c.roundRect(this.width - 7, y, 5, size, 2.5);
    c.fill();
    c.globalAlpha = 1;
  }

  // ---- the thread, the ruler, the overview

  drawThread() {
    const { context: c, colours, recording } = this;
    const y = LAYOUT.ruler + 4;
    const height = LAYOUT.thread - 8;
    c.fillStyle = colours.idle;
    const a = Math.max(this.gutter, this.x(0));
    const b = Math.min(this.gutter + this.view.pixels, this.x(recording.duration));
    if (b > a) c.fillRect(a, y, b - a, height);
    c.save();
    c.beginPath();
    c.rect(this.gutter, y, this.view.pixels, height);
    c.clip();
    const strip = (order) => {
      this.strip(order, 0, order.ids.length, y, height, true);
      this.columns.drawTo(c, this.gutter);
    };
    if (this.matched) {
      // What is looked for may be shorter than what it stands beside: it is drawn by itself, over the others.
      const { matched } = this;
      this.matched = null;
      this.veil(() => strip(this.thread));
      strip(matched.order);
      this.matched = matched;
    } else strip(this.thread);
    c.restore();
    c.textBaseline = "middle";
    c.fillStyle = colours.text;
    c.font = FONT_BOLD;
    c.fillText(shorten(c, recording.thread, this.gutter - 30), 14, y + height / 2 - 8);
    c.fillStyle = colours.dim;
    c.font = FONT;
    const span = Math.min(this.late, recording.duration) - Math.max(0, this.origin);
    const busy = this.thread.busy(0, recording.count, Math.max(0, this.origin), this.late);
    this.busyShare = span > 0 ? busy / span : 0;
    c.fillText(shorten(c, `the one thread · ${showShare(this.busyShare)} busy`, this.gutter - 22), 14, y + height / 2 + 10);
  }

  veil(draw) {
    const { context: c } = this;
    draw();
    c.globalAlpha = 0.82;
    c.fillStyle = this.colours.idle;
    c.fillRect(this.gutter, 0, this.view.pixels, this.height);
    c.globalAlpha = 1;
  }

  drawRuler() {
    const { context: c, colours, recording } = this;
    c.fillStyle = colours.ground;
    c.fillRect(0, 0, this.width, LAYOUT.ruler);
    c.font = FONT_SMALL;
    c.textBaseline = "middle";
    const step = niceStep(this.scale * 110);
    for (let t = Math.ceil(this.origin / step) * step; t <= this.late; t += step) {
      const x = Math.round(this.x(t)) + 0.5;
      c.fillStyle = colours.line;
      c.fillRect(x, LAYOUT.ruler - 7, 1, 7);
      c.globalAlpha = 0.4;
      c.fillRect(x, this.top - 6, 1, this.height);
      c.globalAlpha = 1;
      c.fillStyle = colours.dim;
      c.fillText(showTick(t, step), x + 5, LAYOUT.ruler / 2 + 1);
    }
    for (const mark of recording.marks) {
      if (mark[2] === "cancel") continue; // told with its task
      const x = this.x(mark[0]);
      if (x < this.gutter || x > this.width) continue;
      c.fillStyle = mark[2] === "warning" ? colours.warning : colours.accent;
      c.beginPath();
      c.moveTo(x - 5, LAYOUT.ruler - 9);
      c.lineTo(x + 5, LAYOUT.ruler - 9);
      c.lineTo(x, LAYOUT.ruler);
      c.fill();
      c.globalAlpha = 0.5;
      c.fillRect(x - 0.5, LAYOUT.ruler, 1, this.height);
      c.globalAlpha = 1;
    }
    c.fillStyle = colours.dim;
    c.fillText("time", 14, LAYOUT.ruler / 2 + 1);
  }

  // What nobody recorded is drawn as nothing: hatched, over all lanes.
  drawGaps() {
    const { context: c, colours, recording } = this;
    for (const [from, to, lost] of recording.gaps) {
      const a = Math.max(this.gutter, this.x(from));
      const b = Math.min(this.gutter + this.view.pixels, Math.max(this.x(to), this.x(from) + 2));
      if (b <= this.gutter || a >= this.gutter + this.view.pixels) continue;
      c.fillStyle = this.gapHatch;
      c.globalAlpha = 0.9;
      c.fillRect(a, LAYOUT.ruler, b - a, this.height);
      c.globalAlpha = 1;
      if (b - a < 90) continue;
      c.fillStyle = colours.dim;
      c.font = FONT_BOLD;
      c.fillText(shorten(c, lost ? `${showCount(lost)} events missing` : "not recorded", b - a - 12), a + 8, LAYOUT.ruler + LAYOUT.thread / 2);
    }
  }

  drawOverview() {
    const c = this.overview.getContext("2d");
    const width = this.overview.clientWidth;
    const height = this.overview.clientHeight;
    this.overviewImage ??= this.wholeImage(width, height);
    c.save();
    c.setTransform(1, 0, 0, 1, 0, 0);
    c.drawImage(this.overviewImage, 0, 0);
    c.restore();
    const { duration } = this.recording;
    const a = (Math.max(0, this.view.from) / duration) * width;
    const b = (Math.min(duration, this.view.to) / duration) * width;
    c.fillStyle = this.colours.ground;
    c.globalAlpha = 0.62;
    c.fillRect(0, 0, a, height);
    c.fillRect(b, 0, width - b, height);
    c.globalAlpha = 1;
    c.strokeStyle = this.colours.accent;
    c.lineWidth = 2;
    c.strokeRect(Math.max(1, a), 1, Math.max(2, Math.min(b, width - 1) - Math.max(1, a)), height - 2);
  }

  // The busy share over the whole time, coloured by who ran longest; what blocks stands out over its full height.
  wholeImage(width, height) {
    const { recording, thread, colours } = this;
    const image = document.createElement("canvas");
    image.width = this.overview.width;
    image.height = this.overview.height;
    const c = image.getContext("2d");
    const ratio = window.devicePixelRatio || 1;
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.fillStyle = colours.raised;
    c.fillRect(0, 0, width, height);
    const scale = recording.duration / width;
    const room = height - 8;
    let p = 0;
    for (let x = 0; x < width && p < recording.count; x++) {
      const early = x * scale;
      const from = thread.endsAfter(Math.max(0, p - 1), recording.count, early);
      const to = thread.startsAt(from, recording.count, early + scale);
      p = to;
      if (from >= to) continue;
      const i = thread.longest(from, to);
      const share = Math.min(1, thread.busy(from, to, early, early + scale) / scale);
      const blocked = recording.isBlocked(i);
      c.fillStyle = blocked ? colours.blocked : this.tasks[recording.colourIndex(recording.actorOf(i))];
      const tall = Math.max(blocked ? room / 2 : 1.5, room * share);
      c.fillRect(x, height - 3 - tall, 1, tall);
    }
    for (const [from, to] of recording.gaps) {
      c.fillStyle = hatch(c, colours.raised, colours.dim, 6);
      c.fillRect(from / scale, 0, Math.max(2, (to - from) / scale), height);
    }
    return image;
  }

  // ---- over everything: what is pointed at, what is chosen, who woke whom

  drawOverlay(hovered, chosen, range) {
    const c = this.over;
    c.clearRect(0, 0, this.width, this.height);
    if (range) {
      const [a, b] = range.map((t) => this.x(t)).sort((x, y) => x - y);
      c.fillStyle = this.colours.accent;
      c.globalAlpha = 0.16;
      c.fillRect(a, 0, b - a, this.height);
      c.globalAlpha = 1;
      c.font = FONT_BOLD;
      c.textBaseline = "top";
      c.fillText(showTime(Math.abs(range[1] - range[0])), Math.max(this.gutter + 6, a + 6), LAYOUT.ruler + LAYOUT.thread);
    }
    c.save();
    c.beginPath();
    c.rect(this.gutter, LAYOUT.ruler, this.view.pixels, this.height);
    c.clip();
    if (chosen !== NONE) this.outline(chosen, true);
    if (hovered !== NONE && hovered !== chosen) this.outline(hovered, false);
    const shown = hovered !== NONE ? hovered : chosen;
    if (shown !== NONE) this.arrows(shown);
    c.restore();
  }

  // Where a slice stands in its lane: left, right and middle.
  spot(i) {
    const { recording } = this;
    const item = this.lanes.itemOf(recording.actorOf(i));
    const a = this.x(recording.start[i]);
    const b = Math.max(a + 1, this.x(recording.end[i]));
    const y = item ? this.top + item.y - this.view.scroll + item.height / 2 : LAYOUT.ruler + LAYOUT.thread;
    return { a, b, y: Math.max(this.top - 6, Math.min(this.height + 10, y)), lane: item?.type === "lane" && y > this.top };
  }

  outline(i, strong) {
    const c = this.over;
    const { a, b, y, lane } = this.spot(i);
    c.strokeStyle = strong ? this.colours.text : this.colours.dim;
    c.lineWidth = strong ? 2 : 1.5;
    const around = (top, height) => {
      c.beginPath();
      c.roundRect(a - 2, top, b - a + 3, height, 4);
      c.stroke();
    };
    around(LAYOUT.ruler + 2, LAYOUT.thread - 4);
    if (lane) around(y - TALLEST_BLOCK / 2 - 2, TALLEST_BLOCK + 4);
  }

  arrows(i) {
    const { recording } = this;
    const waker = recording.waker(i);
    if (waker >= 0) this.arrow(waker, i);
    let shown = 0;
    for (const k of recording.woken(i)) {
      if (shown++ === 60) break;
      this.arrow(i, k);
    }
  }

  arrow(from, to) {
    const c = this.over;
    const { recording } = this;
    const a = this.spot(from);
    const b = this.spot(to);
    const x0 = Math.max(a.a, Math.min(a.b, this.x(recording.readyAt(to))));
    const x1 = b.a;
    if (Math.max(x0, x1) < this.gutter || Math.min(x0, x1) > this.width) return;
    const colour = this.tasks[recording.colourIndex(recording.actorOf(to))];
    c.strokeStyle = c.fillStyle = colour;
    c.lineWidth = 1.75;
    const bend = Math.max(14, Math.min(80, Math.abs(x1 - x0) / 2 + 10));
    c.beginPath();
    c.moveTo(x0, a.y);
    c.bezierCurveTo(x0 + bend, a.y, x1 - bend, b.y, x1 - 4, b.y);
    c.stroke();
    c.beginPath();
    c.arc(x0, a.y, 3, 0, 7);
    c.moveTo(x1, b.y);
    c.lineTo(x1 - 8, b.y - 4.5);
    c.lineTo(x1 - 8, b.y + 4.5);
    c.fill();
  }

  // ---- what is where

  isMatched(actor) { return this.matched.actors[actor] === 1; }

  // The slice at a point, or NONE: within two pixels of it, for a slice may be thinner than a pointer is steady.
  sliceAt(x, y) {
    if (x < this.gutter) return NONE;
    const slack = 2.5 * this.scale;
    const time = this.origin + (x - this.gutter) * this.scale;
    if (y >= LAYOUT.ruler && y < LAYOUT.ruler + LAYOUT.thread) return this.nearest(this.thread, 0, this.recording.count, time, slack);
    const item = y >= this.top ? this.lanes.at(y - this.top + this.view.scroll) : null;
    if (item?.type !== "lane") return NONE;
    return this.nearest(this.lanes.order, item.row.from, item.row.to, time, slack);
  }

  // The mark on the ruler at a point, or null.
  markAt(x, y) {
    if (y >= LAYOUT.ruler || x < this.gutter) return null;
    return this.recording.marks.find((mark) => mark[2] !== "cancel" && Math.abs(this.x(mark[0]) - x) <= 6) ?? null;
  }

  nearest(order, from, to, time, slack) {
    const a = order.endsAfter(from, to, time - slack);
    const b = order.startsAt(a, to, time + slack);
    if (a >= b) return NONE;
    const at = order.endsAfter(a, b, time);
    return order.ids[at < b && order.start[at] <= time ? at : order.longest(a, b)];
  }

  // The wait that a lane shows at a point: the slice that ends it, or a wait that never ended; null elsewhere.
  waitAt(x, y) {
    const item = x >= this.gutter && y >= this.top ? this.lanes.at(y - this.top + this.view.scroll) : null;
    if (item?.type !== "lane") return null;
    const time = this.origin + (x - this.gutter) * this.scale;
    const { order } = this.lanes;
    const p = order.endsAfter(item.row.from, item.row.to, time);
    if (p < item.row.to && this.recording.previousEnd[order.ids[p]] <= time) return { slice: order.ids[p] };
    const pending = (item.row.pending ?? []).find((wait) => wait.since <= time && time <= this.recording.duration);
    return pending ? { pending } : null;
  }
}
