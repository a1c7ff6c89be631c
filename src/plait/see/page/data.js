"use strict";
// The recording as page.py embedded it: a deflated block of a JSON header and columns of numbers.

async function readRecording(text) {
  const packed = bytesOfBase64(text);
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const buffer = await new Response(stream).arrayBuffer();
  const headerLength = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, headerLength)));
  const columns = {};
  let offset = 4 + headerLength;
  for (const [name, length, width] of header.columns) {
    columns[name] = columnOfPlanes(new Uint8Array(buffer, offset, length * width), length, width);
    offset += length * width;
  }
  return new Recording(header, columns);
}

function bytesOfBase64(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

// All lowest bytes stand first, then the next ones.
function columnOfPlanes(bytes, length, width) {
  if (width === 1) return bytes;
  const column = width <= 4 ? new Uint32Array(length) : new Float64Array(length);
  for (let plane = 0; plane < width; plane++) {
    const factor = 2 ** (8 * plane);
    const from = plane * length;
    for (let i = 0; i < length; i++) column[i] += bytes[from + i] * factor;
  }
  return column;
}

const NONE = -1;

class Recording {
  constructor(header, columns) {
    Object.assign(this, header);
    this.columns = columns;
    this.count = columns.start.length;
    this.actorCount = columns.actor_kind.length;
    const { start, end, previousEnd, before } = this.times();
    this.start = start; // nanoseconds since the recording began
    this.end = end;
    this.previousEnd = previousEnd; // where the wait before this slice began: the end of its actor's slice before
    this.before = before; // that slice, or NONE
    this.wokenBy = null; // made when somebody asks
  }

  times() {
    const { start: distances, duration, actor, actor_created: created, actor_kind: actorKind, wait_kind: kind } = this.columns;
    const start = new Float64Array(this.count);
    const end = new Float64Array(this.count);
    const previousEnd = new Float64Array(this.count);
    const before = new Int32Array(this.count);
    const last = new Int32Array(this.actorCount).fill(NONE);
    let time = 0;
    for (let i = 0; i < this.count; i++) {
      time += distances[i];
      start[i] = time;
      end[i] = time + duration[i];
      const a = actor[i];
      const p = last[a];
      before[i] = p;
      // A first slice has waited since its task was made; a task that was there before the recording, since that began. Since
      // when others had waited is not known.
      previousEnd[i] = p !== NONE ? end[p] : created[a] ? Math.min(created[a] - 1, time) : kind[i] && !actorKind[a] ? 0 : time;
      last[a] = i;
    }
    return { start, end, previousEnd, before };
  }

  actorOf(i) { return this.columns.actor[i]; }
  delay(i) { return this.columns.delay[i] - 1; } // -1: not known
  waker(i) { return this.columns.waker[i] - 1; }
  waitKind(i) { return this.columns.wait_kind[i]; }
  outcome(i) { return this.names.outcomes[this.columns.outcome[i]]; }
  wakerKind(i) { return this.names.wakers[this.columns.waker_kind[i]]; }
  target(i) { const t = this.columns.wait_target[i]; return t ? this.targets[t - 1][1] : ""; }
  line(i) { return this.columns.line[i]; }

  // When it became ready: from then on it waited for the thread only.
  readyAt(i) {
    return Math.max(this.previousEnd[i], this.start[i] - Math.max(0, this.columns.delay[i] - 1));
  }

  isBlocked(i) { return this.columns.duration[i] >= this.blocked; }

  name(a) { return this.strings[this.columns.actor_name[a]]; }
  functionName(a) { return this.strings[this.columns.actor_function[a]]; }
  group(a) { return this.strings[this.columns.actor_group[a]]; }
  kindName(a) { return this.names.actors[this.columns.actor_kind[a]]; }
  file(a) { return this.strings[this.columns.actor_file[a]]; }
  error(a) { return this.strings[this.columns.actor_error[a]]; }
  created(a) { return this.columns.actor_created[a] - 1; } // -1: before the recording
  ended(a) { return this.columns.actor_ended[a] - 1; } // -1: it had not ended
  parent(a) { return this.columns.actor_parent[a] - 1; }
  colourIndex(a) { return this.columns.actor_colour[a]; }

  // The slices that this one woke.
  woken(i) {
    if (!this.wokenBy) {
      const offsets = new Uint32Array(this.count + 2);
      const { waker } = this.columns;
      for (let k = 0; k < this.count; k++) if (waker[k]) offsets[waker[k] + 1]++;
      for (let k = 1; k < offsets.length; k++) offsets[k] += offsets[k - 1];
      const list = new Uint32Array(offsets[this.count + 1]);
      const next = offsets.slice();
      for (let k = 0; k < this.count; k++) if (waker[k]) list[next[waker[k]]++] = k;
      this.wokenBy = { offsets, list };
    }
    const { offsets, list } = this.wokenBy;
    return list.subarray(offsets[i + 1], offsets[i + 2]);
  }

  // The code of a slice: the line that the watchdog saw to block, or where it went on, else where its function is defined.
  place(i) {
    if (this.isBlocked(i)) {
      const mark = this.marks.find(([time, , , , lasted, place]) => lasted && place && time >= this.start[i] && time <= this.end[i]);
      if (mark) return mark[5];
    }
    const a = this.actorOf(i);
    const file = this.file(a);
    return file ? `${file}:${this.line(i) || this.columns.actor_line[a]}` : "";
  }
}

// For people: 850 ns, 12.3 µs, 4.56 ms, 1.20 s.
function showTime(ns) {
  const sign = ns < 0 ? "−" : "";
  let value = Math.abs(ns);
  if (value < 1) return "0";
  for (const [unit, size] of [["ns", 1], ["µs", 1e3], ["ms", 1e6], ["s", 1e9]]) {
    if (Math.abs(ns) < size * 999.995 || unit === "s") {
      value /= size;
      const digits = unit === "ns" || value >= 100 ? 0 : value >= 10 ? 1 : 2;
      return `${sign}${value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits })} ${unit}`;
    }
  }
}

const showCount = (n) => n.toLocaleString("en");
const showShare = (x) => (x > 0 && x < 0.001 ? "<0.1%" : `${(100 * x).toFixed(x < 0.0995 ? 1 : 0)}%`);
