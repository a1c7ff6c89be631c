"use strict";
// Slices in some order, with what is needed to draw any part of them in as many steps as there are pixels.

// Stands for the colour of what blocks the thread, among the indexes of the tasks' colours.
const BLOCKED_SHADE = 255;

class Order {
  // `ids` are the slices; inside each part that is asked for they follow each other in time and do not overlap.
  constructor(recording, ids) {
    const n = ids.length;
    const start = new Float64Array(n);
    const end = new Float64Array(n);
    const busySums = new Float64Array(n + 1);
    const shades = new Uint8Array(n); // here, for what is drawn next to each other should lie next to each other in memory
    const { start: starts, end: ends } = recording;
    let busy = 0;
    for (let p = 0; p < n; p++) {
      const i = ids[p];
      start[p] = starts[i];
      end[p] = ends[i];
      busy += end[p] - start[p];
      busySums[p + 1] = busy;
      shades[p] = recording.isBlocked(i) ? BLOCKED_SHADE : recording.colourIndex(recording.actorOf(i));
    }
    Object.assign(this, { ids, start, end, busySums, shades });
    this.levels = this.pyramid();
  }

  // Level by level the position of the longest of two: the longest of any range is found in some twenty steps.
  pyramid() {
    const levels = [];
    let size = this.ids.length;
    const { start, end } = this;
    let below = null;
    while (size > 1) {
      const half = (size + 1) >> 1;
      const level = new Uint32Array(half);
      for (let k = 0; k < half; k++) {
        const a = below ? below[2 * k] : 2 * k;
        if (2 * k + 1 >= size) { level[k] = a; continue; }
        const b = below ? below[2 * k + 1] : 2 * k + 1;
        level[k] = end[b] - start[b] > end[a] - start[a] ? b : a;
      }
      levels.push(level);
      below = level;
      size = half;
    }
    return levels;
  }

  // The position of the longest slice in [from, to).
  longest(from, to) {
    let best = from;
    let length = this.end[from] - this.start[from];
    const look = (p) => {
      const l = this.end[p] - this.start[p];
      if (l > length || (l === length && p < best)) { best = p; length = l; }
    };
    let depth = -1;
    while (from < to) {
      if (from & 1) { look(depth < 0 ? from : this.levels[depth][from]); from++; }
      if (to & 1) { to--; look(depth < 0 ? to : this.levels[depth][to]); }
      from >>= 1;
      to >>= 1;
      depth++;
    }
    return best;
  }

  // The first position in [from, to) whose slice ends after `time`.
  endsAfter(from, to, time) {
    while (from < to) {
      const middle = (from + to) >>> 1;
      if (this.end[middle] > time) to = middle; else from = middle + 1;
    }
    return from;
  }

  // The first position in [from, to) whose slice starts at `time` or later.
  startsAt(from, to, time) {
    // Where slices are dense the answer is near: double the step before halving it.
    let step = 16;
    while (from + step < to && this.start[from + step] < time) { from += step; step *= 2; }
    to = Math.min(to, from + step);
    while (from < to) {
      const middle = (from + to) >>> 1;
      if (this.start[middle] >= time) to = middle; else from = middle + 1;
    }
    return from;
  }

  // How long the slices of [from, to) ran between two times.
  busy(from, to, early, late) {
    from = this.endsAfter(from, to, early);
    to = this.startsAt(from, to, late);
    if (from >= to) return 0;
    return this.busySums[to] - this.busySums[from] - Math.max(0, early - this.start[from]) - Math.max(0, this.end[to - 1] - late);
  }
}
