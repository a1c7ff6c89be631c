"use strict";
// Which lanes there are: actors in groups by what they run, and in a group as many rows as there were tasks at once.

// In a group of no more tasks than this each has a row of its own.
const ROWS_EACH = 16;
// A group with more rows than this is folded at first: one lane that shows how many of its tasks wait for what.
const ROWS_UNFOLDED = 16;
// Groups of more rows show those that have a task in view.
const ROWS_ALWAYS = 6;

const HEIGHTS = { head: 26, lane: 22, folded: 58 };

class Lanes {
  constructor(recording) {
    this.recording = recording;
    this.found = null; // by actor, what a search has found
    this.kept = NONE; // the row of what one has gone to: it is shown whatever is searched
    const groups = this.groups();
    this.order = this.inRows(groups);
    this.groups = groups;
    this.arrange();
  }

  // Actors by kind and group, in the order of their first appearance; the loop's own work comes last.
  groups() {
    const { recording } = this;
    const { actor_kind: kinds, actor_group: names } = recording.columns;
    const found = new Map();
    for (let a = 0; a < recording.actorCount; a++) {
      const key = kinds[a] === 0 ? names[a] : -1 - kinds[a];
      let group = found.get(key);
      if (!group) {
        const title = kinds[a] === 0 ? recording.group(a) : { 1: "callbacks", 2: "protocols", 3: "the loop" }[kinds[a]];
        group = { title, kind: kinds[a], actors: [], rows: [], folded: false, pending: [] };
        found.set(key, group);
      }
      group.actors.push(a);
    }
    return [...found.values()].sort((a, b) => a.kind - b.kind);
  }

  // Gives each actor a row, and returns all slices row by row.
  inRows(groups) {
    const { recording } = this;
    const { first, last, counts } = (this.lives = this.lifetimes());
    const rowOf = new Int32Array(recording.actorCount).fill(NONE);
    const rows = [];
    for (const group of groups) {
      const shown = sortByKey(group.actors.filter((a) => counts[a] || first[a] < last[a]), first);
      const packed = group.kind === 0 && shown.length > ROWS_EACH ? packRows(shown, first, last) : shown.map((_, k) => k);
      for (let k = 0; k < shown.length; k++) {
        const row = (group.rows[packed[k]] ??= { group, actors: [], from: 0, to: 0, index: 0 });
        row.actors.push(shown[k]);
      }
      for (const row of group.rows) {
        row.index = rows.length;
        rows.push(row);
        for (const a of row.actors) rowOf[a] = row.index;
      }
      group.folded = group.rows.length > ROWS_UNFOLDED;
    }
    for (const [a, since, kind, target] of recording.pending) {
      if (rowOf[a] === NONE) continue;
      const row = rows[rowOf[a]];
      const wait = { actor: a, since, kind, target };
      (row.pending ??= []).push(wait);
      row.group.pending.push(wait);
    }
    this.rowOf = rowOf;
    this.rows = rows;
    const sizes = new Uint32Array(rows.length + 1);
    const { actor } = recording.columns;
    for (let i = 0; i < recording.count; i++) sizes[rowOf[actor[i]] + 1]++;
    for (let r = 0; r < rows.length; r++) {
      sizes[r + 1] += sizes[r];
      rows[r].from = sizes[r];
      rows[r].to = sizes[r + 1];
    }
    const ids = new Uint32Array(recording.count);
    const position = new Uint32Array(recording.count);
    for (let i = 0; i < recording.count; i++) {
      const p = sizes[rowOf[actor[i]]]++;
      ids[p] = i;
      position[i] = p;
    }
    this.position = position;
    return new Order(recording, ids);
  }

  // From when to when an actor was there, and how many slices it has.
  lifetimes() {
    const { recording } = this;
    const { actor } = recording.columns;
    const first = new Float64Array(recording.actorCount);
    const last = new Float64Array(recording.actorCount);
    const counts = new Uint32Array(recording.actorCount);
    for (let a = 0; a < recording.actorCount; a++) {
      first[a] = Math.max(0, recording.created(a));
      last[a] = recording.ended(a) >= 0 ? recording.ended(a) : recording.duration;
    }
    for (let i = 0; i < recording.count; i++) {
      const a = actor[i];
      if (!counts[a]++) first[a] = Math.min(recording.previousEnd[i], recording.start[i]);
      last[a] = Math.max(last[a], recording.end[i]);
    }
    return { first, last, counts };
  }

  // What stands where, from top to bottom. Of a large group only rows that have a task between the two times, and that is searched for.
  arrange(early = 0, late = Infinity) {
    this.shown = [];
    let y = 0;
    const add = (item, height) => { this.shown.push({ ...item, y, height }); y += height; };
    for (const group of this.groups) {
      if (!group.rows.length) continue;
      group.y = y;
      if (group.rows.length === 1 && group.kind === 0) {
        add({ type: "lane", group, row: group.rows[0], alone: true }, HEIGHTS.lane + 4);
        continue;
      }
      if (group.folded) { add({ type: "folded", group }, HEIGHTS.folded); continue; }
      add({ type: "head", group }, HEIGHTS.head);
      const all = group.rows.length <= ROWS_ALWAYS;
      for (const row of group.rows) if (all || row.index === this.kept || (this.isFound(row) && this.livesIn(row, early, late))) add({ type: "lane", group, row }, HEIGHTS.lane);
    }
    this.height = y;
    this.place = new Int32Array(this.rows.length).fill(NONE);
    this.shown.forEach((item, k) => {
      if (item.type === "lane") this.place[item.row.index] = k;
      if (item.type === "folded") for (const row of item.group.rows) this.place[row.index] = k;
    });
  }

  isFound({ actors }) { return !this.found || actors.some((a) => this.found[a]); }

  livesIn({ actors }, early, late) {
    const { first, last } = this.lives;
    const k = firstAlive(actors, last, early);
    return k < actors.length && first[actors[k]] < late;
  }

  // The shown lane of an actor: its own, or the one of its folded group.
  itemOf(a) {
    const row = this.rowOf[a];
    return row === NONE || this.place[row] === NONE ? null : this.shown[this.place[row]];
  }

  // The shown item at a height.
  at(y) {
    let low = 0;
    let high = this.shown.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.shown[middle].y + this.shown[middle].height > y) high = middle; else low = middle + 1;
    }
    return this.shown[low] && this.shown[low].y <= y ? this.shown[low] : null;
  }

  // The name of a lane of which `a` is the only actor in view, or NONE.
  label(item, a) {
    const { recording } = this;
    if (a === NONE) return `${item.alone ? `${item.group.title} · ` : ""}${showCount(item.row.actors.length)} in turn`;
    const name = recording.name(a);
    return item.alone && recording.functionName(a) && name !== recording.functionName(a)
      ? `${name} · ${recording.functionName(a)}` : name;
  }
}

// The place of the first of a row's actors that lives on after a time.
function firstAlive(actors, last, time) {
  let low = 0;
  let high = actors.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (last[actors[middle]] > time) high = middle; else low = middle + 1;
  }
  return low;
}

// The lowest row that is free when a task begins; returns the row of each. The actors are ordered by their begin.
function packRows(actors, first, last) {
  const rows = new Uint32Array(actors.length);
  const until = [];
  const numbers = [];
  const taken = new Heap(until);
  const free = new Heap(numbers);
  for (let k = 0; k < actors.length; k++) {
    const a = actors[k];
    while (taken.size && until[taken.top] <= first[a]) free.push(taken.pop());
    const row = free.size ? free.pop() : numbers.push(numbers.length) - 1;
    rows[k] = row;
    until[row] = last[a];
    taken.push(row);
  }
  return rows;
}

// Numbers, of which the one with the lowest key is the first to leave.
class Heap {
  constructor(keys) { this.keys = keys; this.items = []; }
  get size() { return this.items.length; }
  get top() { return this.items[0]; }

  push(item) {
    const { items, keys } = this;
    let hole = items.length;
    while (hole) {
      const up = (hole - 1) >> 1;
      if (keys[items[up]] <= keys[item]) break;
      items[hole] = items[up];
      hole = up;
    }
    items[hole] = item;
  }

  pop() {
    const { items, keys } = this;
    const top = items[0];
    const last = items.pop();
    const size = items.length;
    if (!size) return top;
    let hole = 0;
    for (let child = 1; child < size; child = 2 * hole + 1) {
      if (child + 1 < size && keys[items[child + 1]] < keys[items[child]]) child++;
      if (keys[last] <= keys[items[child]]) break;
      items[hole] = items[child];
      hole = child;
    }
    items[hole] = last;
    return top;
  }
}

// In place, and at once where they are in order already, as actors mostly are.
function sortByKey(items, keys) {
  for (let k = 1; k < items.length; k++) {
    if (keys[items[k]] < keys[items[k - 1]]) return items.sort((a, b) => keys[a] - keys[b]);
  }
  return items;
}
