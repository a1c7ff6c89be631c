"use strict";
// How many tasks of a group wait for what, over time: drawn for a folded group. Counted in tiles that are kept.

const TILE_BINS = 256;
const TILES_KEPT = 600;

class Density {
  constructor(recording, lanes) {
    this.recording = recording;
    this.lanes = lanes;
    this.kinds = recording.kinds.length; // one more layer stands above them: running
    this.tiles = new Map();
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
      let tile = this.kept(group, level, t);
      if (!tile) {
        if (this.budget <= 0) { whole = false; this.coarser(group, level, t, draw); continue; }
        const began = performance.now();
        tile = this.keep(group, level, t, this.count(group, t * span, width));
        this.budget -= performance.now() - began;
      }
      draw(tile, t * span, width, t * span, (t + 1) * span);
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

  keep(group, level, t, tile) {
    this.tiles.set(this.key(group, level, t), tile);
    if (this.tiles.size > TILES_KEPT) this.tiles.delete(this.tiles.keys().next().value);
    return tile;
  }

  // bins[layer * TILE_BINS + k]: how many tasks on average were in that state in the k-th bin.
  count(group, from, width) {
    const { recording, lanes } = this;
    const { order } = lanes;
    const to = from + width * TILE_BINS;
    const layers = this.kinds + 1;
    const bins = new Float32Array(layers * TILE_BINS);
    const steps = new Float32Array(layers * (TILE_BINS + 1)); // where whole bins begin and end
    const add = (layer, early, late) => {
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
    };
    for (const row of group.rows) {
      for (let p = order.endsAfter(row.from, row.to, from); p < row.to; p++) {
        const i = order.ids[p];
        if (recording.previousEnd[i] >= to) break;
        const ready = recording.readyAt(i);
        const kind = recording.columns.wait_kind[i];
        if (kind) add(kind, recording.previousEnd[i], ready);
        add(0, ready, recording.start[i]);
        add(this.kinds, recording.start[i], recording.end[i]);
      }
    }
    for (const wait of group.pending) add(wait.kind, wait.since, recording.duration);
    for (let layer = 0; layer < layers; layer++) {
      let level = 0;
      for (let k = 0; k < TILE_BINS; k++) {
        level += steps[layer * (TILE_BINS + 1) + k];
        bins[layer * TILE_BINS + k] += level;
      }
    }
    return bins;
  }
}
