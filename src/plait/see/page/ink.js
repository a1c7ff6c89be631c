"use strict";
// What is drawn with: columns of pixels, colours, hatches, cut texts and ticks.

// Columns of one pixel each, put together as one image: thousands of rectangles would take ten times as long, and the browser copies an
// image whenever it has changed. The strips of all lanes stand below each other in it, without the room between the lanes.
class Columns {
  constructor(width, height) {
    this.width = width;
    this.height = height; // of all strips at most
    this.canvas = new OffscreenCanvas(width, height);
    this.context = this.canvas.getContext("2d");
    this.image = new ImageData(width, height);
    this.data = new Uint32Array(this.image.data.buffer);
    this.strips = [];
    this.used = 0;
  }

  // What is added from here on belongs to a strip that will be drawn at `y`; false where there is no room.
  begin(y, height) {
    if (this.used + height > this.height) return false;
    this.strips.push({ y, height, top: this.used, left: this.width, right: 0 });
    this.strip = this.strips.at(-1);
    this.used += height;
    return true;
  }

  add(column, tall, pixel) {
    if (column >= this.width) return;
    const { data, width, strip } = this;
    const { top, height } = strip;
    const first = top + ((height - tall) >> 1);
    for (let k = first * width + column, end = k + Math.min(tall, height) * width; k < end; k += width) data[k] = pixel;
    if (column < strip.left) strip.left = column;
    if (column >= strip.right) strip.right = column + 1;
  }

  // Draws all strips, their left edge at x, and forgets them.
  drawTo(context, x) {
    const { strips, used, width } = this;
    const left = Math.min(...strips.map((strip) => strip.left));
    const right = Math.max(...strips.map((strip) => strip.right));
    if (right > left) {
      this.context.putImageData(this.image, 0, 0, left, 0, right - left, used);
      context.imageSmoothingEnabled = false;
      for (const { y, height, top, left: a, right: b } of strips) {
        if (b > a) context.drawImage(this.canvas, a, top, b - a, height, x + a, y, b - a, height);
      }
      this.data.fill(0, 0, used * width);
    }
    this.strips = [];
    this.used = 0;
  }
}

// The bytes of a pixel stand in memory as red, green, blue, alpha.
function pixelOf(colour, alpha) {
  const [r, g, b] = [1, 3, 5].map((k) => parseInt(colour.slice(k, k + 2), 16));
  return new Uint32Array(new Uint8Array([r, g, b, alpha]).buffer)[0];
}

const FACE = '"Inter", system-ui, -apple-system, "Segoe UI", "Noto Sans", "DejaVu Sans", sans-serif';
const FONT = `12px ${FACE}`;
const FONT_BOLD = `600 12px ${FACE}`;
const FONT_SMALL = `10.5px ${FACE}`;

function inkOn(colour) {
  const [r, g, b] = [1, 3, 5].map((k) => parseInt(colour.slice(k, k + 2), 16) / 255);
  return 0.299 * r + 0.587 * g + 0.114 * b > 0.58 ? "#12151b" : "#ffffff";
}

function hatch(context, ground, line, size) {
  const tile = document.createElement("canvas");
  tile.width = tile.height = size;
  const c = tile.getContext("2d");
  c.fillStyle = ground;
  c.fillRect(0, 0, size, size);
  c.strokeStyle = line;
  c.lineWidth = 1.5;
  for (const shift of [-size, 0, size]) {
    c.beginPath();
    c.moveTo(shift - 1, size + 1);
    c.lineTo(shift + size + 1, -1);
    c.stroke();
  }
  return context.createPattern(tile, "repeat");
}

function triangle(c, x, y, right) {
  c.beginPath();
  if (right) { c.moveTo(x, y - 4.5); c.lineTo(x + 6, y); c.lineTo(x, y + 4.5); }
  else { c.moveTo(x - 1.5, y - 3); c.lineTo(x + 7.5, y - 3); c.lineTo(x + 3, y + 3); }
  c.fill();
}

const WIDTHS = new Map();

// The text, cut to the room that there is.
function shorten(c, text, room) {
  if (room < 12) return "";
  const key = c.font + text;
  let width = WIDTHS.get(key);
  if (width === undefined) {
    if (WIDTHS.size > 20000) WIDTHS.clear();
    WIDTHS.set(key, (width = c.measureText(text).width));
  }
  if (width <= room) return text;
  const kept = Math.floor((text.length * (room - 8)) / width);
  return kept < 1 ? "" : `${text.slice(0, kept)}…`;
}

// A name without the modules in front of it, where there is no room for them.
function shortenName(c, text, room) {
  const short = shorten(c, text, room);
  return short === text ? text : shorten(c, text.replace(/[\w<>]+\.(?=[\w<])/g, ""), room);
}

function niceStep(least) {
  const power = 10 ** Math.floor(Math.log10(Math.max(1, least)));
  return [1, 2, 5, 10].find((digit) => digit * power >= least) * power;
}

// A tick of the ruler: as many digits as tell it from its neighbours.
function showTick(t, step) {
  const [unit, size] = t >= 1e9 || step >= 1e8 ? ["s", 1e9] : t >= 1e6 || step >= 1e5 ? ["ms", 1e6] : ["µs", 1e3];
  const digits = Math.max(0, Math.ceil(-Math.log10(step / size) - 1e-9));
  return `${(t / size).toFixed(digits)} ${unit}`;
}
