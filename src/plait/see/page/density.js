"use strict";
// How many tasks of a group wait for what, over time: drawn for a folded group. Counted in tiles that are kept.

const TILE_BINS = 256;
const TILES_KEPT = 600;
const COUNTS_KEPT = 32; // that are not finished: where one has zoomed further meanwhile, nobody may ask for them again
const COUNTED_AT_ONCE = 2000; // slices between two looks at the clock: a tenth of a millisecond

class Density {
  constructor(recording, lanes) {
    this.recording = recording;
    this.lanes = lanes;
    this.tiles = new Map();
    this.counts = new Map(); // of tiles that are counted now
    this.budget = 0; // milliseconds that are left for counting in this frame
  }

  // Calls draw(bins, first, width, from, to): the layers of the tiles that cover a part; each bin is `width` nanoseconds. False where
  // this frame's budget did not suffice to count all; a coarser tile stood in for them, if there was one.
  visit(group, early, late, nsPerPixel, draw) {
    const level = Math.max(0, Math.floor(Math.log2(nsPerPixel)));
    const width = 2 ** level;
    const span = width * TILE_BINS;
    let whole = true;
    for (let t = Math.floor(Math.max(0, early) / span); t * span < Math.min(late, this.recording.duration); t++) {
      const tile = this.kept(group, level, t) ?? this.count(group, level, t);
      if (tile) { draw(tile, t * span, width, t * span, (t + 1) * span); continue; }
      whole = false;
      this.coarser(group, level, t, draw);
    }
    return whole;
  }

  coarser(group, level, t, draw) {
    for (let up = 1; up <= 12; up++) {
      const tile = this.kept(group, level + up, Math.floor(t / 2 ** up));
      if (!tile) continue;
      const width = 2 ** (level + up);
      const span = 2 ** level * TILE_BINS;
      draw(tile, Math.floor(t / 2 ** up) * width * TILE_BINS, width, t * span, (t + 1) * span);
      return;
    }
  }

  key(group, level, t) { return `${group.rows[0].index}/${level}/${t}`; }

  kept(group, level, t) {
    const key = this.key(group, level, t);
    const tile = this.tiles.get(key);
    if (tile) { this.tiles.delete(key); this.tiles.set(key, tile); } // the least used is the first to go
    return tile;
  }

  // The tile, if this frame's budget was enough for what was left to be counted of it.
  count(group, level, t) {
    if (this.budget <= 0) return null;
    const { recording, lanes, counts, tiles } = this;
    const key = this.key(group, level, t);
    const began = performance.now();
    const width = 2 ** level;
    const count = counts.get(key) ?? new Count(recording, lanes, group, t * width * TILE_BINS, width);
    const done = count.goOn(began + this.budget);
    this.budget -= performance.now() - began;
    counts.delete(key);
    if (!done) {
      counts.set(key, count);
      if (counts.size > COUNTS_KEPT) counts.delete(counts.keys().next().value);
      return null;
    }
    tiles.set(key, count.bins);
    if (tiles.size > TILES_KEPT) tiles.delete(tiles.keys().next().value);
    return count.bins;
  }
}

// The counting of one tile, some of it in each frame: that of a whole recording has a million slices to look at.
class Count {
  constructor(recording, lanes, group, from, width) {
    this.recording = recording;
    this.order = lanes.order;
    this.group = group;
    this.from = from;
    this.to = from + width * TILE_BINS;
    this.width = width;
    this.layers = recording.kinds.length + 1;
    this.bins = new Float32Array(this.layers * TILE_BINS); // [layer * TILE_BINS + k]: how many tasks on average were in that state in the k-th bin
    this.steps = new Float32Array(this.layers * (TILE_BINS + 1)); // where whole bins begin and end
    this.row = 0;
    this.position = NONE; // in the row, or not in it yet
  }

  // Goes on until all is counted or the time has come; whether all is.
  goOn(until) {
    const { recording, order, group, from, to } = this;
    const { rows } = group;
    let left = COUNTED_AT_ONCE;
    for (; this.row < rows.length; this.row++, this.position = NONE) {
      const row = rows[this.row];
      let p = this.position === NONE ? order.endsAfter(row.from, row.to, from) : this.position;
      for (; p < row.to; p++) {
        if (--left <= 0) {
          if (performance.now() >= until) { this.position = p; return false; }
          left = COUNTED_AT_ONCE;
        }
        const i = order.ids[p];
        if (recording.previousEnd[i] >= to) break;
        const ready = recording.readyAt(i);
        const kind = recording.columns.wait_kind[i];
        if (kind) this.add(kind, recording.previousEnd[i], ready);
        this.add(0, ready, recording.start[i]);
        this.add(this.layers - 1, recording.start[i], recording.end[i]);
      }
      left -= 20; // finding the first one in a row
    }
    for (const wait of group.pending) this.add(wait.kind, wait.since, recording.duration);
    this.sum();
    return true;
  }

  add(layer, early, late) {
    const { from, to, width, bins, steps } = this;
    early = (Math.max(early, from) - from) / width;
    late = (Math.min(late, to) - from) / width;
    if (late <= early) return;
    const a = Math.floor(early);
    const b = Math.min(TILE_BINS, Math.floor(late));
    if (a === b) { bins[layer * TILE_BINS + a] += late - early; return; }
    bins[layer * TILE_BINS + a] += a + 1 - early;
    if (b < TILE_BINS) bins[layer * TILE_BINS + b] += late - b;
    steps[layer * (TILE_BINS + 1) + a + 1] += 1;
    steps[layer * (TILE_BINS + 1) + b] -= 1;
  }

  sum() {
    for (let layer = 0; layer < this.layers; layer++) {
      let level = 0;
      for (let k = 0; k < TILE_BINS; k++) {
        level += this.steps[layer * (TILE_BINS + 1) + k];
        this.bins[layer * TILE_BINS + k] += level;
      }
    }
  }
}
