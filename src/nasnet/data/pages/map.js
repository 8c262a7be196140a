"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const { ids, group, groups, images, examples, words } = data;
  const span = (all) => all.reduce((most, one) => Math.max(most, one), 0);
  // The longer side lies along the longer side of the screen.
  const upright = innerHeight > innerWidth && span(data.x) > span(data.y);
  const [x, y] = upright ? [data.y, data.x] : [data.x, data.y];
  const canvas = document.getElementById("map");
  const pen = canvas.getContext("2d");
  const card = document.getElementById("card");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const shown = groups.map(() => true);
  const view = { scale: 1, left: 0, top: 0 };
  const fingers = new Map();
  const picked = new Set();
  let picking = false;
  let frame = null; // where the pointer went down and where it is, while it picks
  let chosen = -1;
  let size = { width: 1, height: 1 };
  let cells = new Map();
  const CELLS = 64; // to a side of the map, in which points are looked up

  // Eight hues that eyes keep apart, then the same ones light or deep, then any, a golden angle on.
  const HUES = [4, 212, 130, 38, 276, 180, 326, 64];
  const colour = (n) => {
    if (groups.length < 2)
      return getComputedStyle(document.documentElement).getPropertyValue("--accent");
    const hue = n < 2 * HUES.length ? HUES[n % HUES.length] : n * 137.508;
    const light = [dark.matches ? 68 : 46, dark.matches ? 46 : 28][n < HUES.length ? 0 : 1];
    return `hsl(${hue % 360} 68% ${light}%)`;
  };

  const place = (n) => [view.left + x[n] * view.scale, view.top + y[n] * view.scale];
  const visible = (n) => shown[group[n]];

  function whole() {
    const [wide, high] = [span(x) || 1, span(y) || 1];
    const edge = SIDE + 16; // room for the pictures at the borders
    view.scale = Math.min((size.width - edge) / wide, (size.height - edge) / high);
    view.left = (size.width - view.scale * wide) / 2;
    view.top = (size.height - view.scale * high) / 2;
    draw();
  }

  function index() {
    cells = new Map();
    for (let n = 0; n < ids.length; n++) {
      const key = `${Math.floor(x[n] * CELLS)},${Math.floor(y[n] * CELLS)}`;
      if (!cells.has(key)) cells.set(key, []);
      cells.get(key).push(n);
    }
  }

  let asked = false;
  function draw() {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      paint();
    });
  }

  function paint() {
    const ratio = devicePixelRatio || 1;
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, size.width, size.height);
    const zoom = view.scale / Math.min(size.width, size.height);
    const radius = Math.max(2, Math.min(8, 2.2 * Math.sqrt(zoom) + (ids.length < 500 ? 2 : 0)));
    for (let g = 0; g < groups.length; g++) {
      if (!shown[g]) continue;
      pen.fillStyle = colour(g);
      pen.globalAlpha = ids.length > 5000 ? 0.6 : 0.85;
      pen.beginPath();
      for (let n = 0; n < ids.length; n++) {
        if (group[n] !== g) continue;
        const [px, py] = place(n);
        if (px < -9 || py < -9 || px > size.width + 9 || py > size.height + 9) continue;
        pen.moveTo(px + radius, py);
        pen.arc(px, py, radius, 0, 2 * Math.PI);
      }
      pen.fill();
    }
    pen.globalAlpha = 1;
    paintPictures();
    pen.strokeStyle = getComputedStyle(document.documentElement).getPropertyValue("--ink");
    pen.lineWidth = 1.5;
    pen.beginPath();
    for (const n of picked) {
      const [px, py] = place(n);
      pen.moveTo(px + radius + 2, py);
      pen.arc(px, py, radius + 2, 0, 2 * Math.PI);
    }
    pen.stroke();
    if (frame) {
      const [[ax, ay], [bx, by]] = frame;
      pen.setLineDash([6, 4]);
      pen.strokeRect(ax, ay, bx - ax, by - ay);
      pen.setLineDash([]);
    }
    if (chosen >= 0 && visible(chosen)) {
      const [px, py] = place(chosen);
      pen.lineWidth = 3;
      pen.strokeStyle = getComputedStyle(document.documentElement).getPropertyValue("--ink");
      pen.beginPath();
      pen.arc(px, py, radius + 4, 0, 2 * Math.PI);
      pen.stroke();
    }
  }

  // Small pictures over the points, as many as have room: one of each group; nearer in, or where
  // there are few, of others too.
  const loaded = new Map();
  const SIDE = 40;
  const FEW = 100;
  function paintPictures() {
    const taken = new Set();
    const near = ids.length <= FEW || view.scale > 1.4 * Math.min(size.width / span(x), size.height / span(y));
    const one = (n) => {
      const [px, py] = place(n);
      if (!images[n] || !visible(n)) return;
      if (px < 0 || py < 0 || px > size.width || py > size.height) return;
      const [i, j] = [Math.floor(px / SIDE), Math.floor(py / SIDE)];
      for (let a = i - 1; a <= i + 1; a++)
        for (let b = j - 1; b <= j + 1; b++) if (taken.has(`${a},${b}`)) return;
      taken.add(`${i},${j}`);
      if (!loaded.has(n)) {
        const made = new Image();
        made.src = images[n];
        made.onload = draw;
        loaded.set(n, made);
      }
      const image = loaded.get(n);
      if (!image.naturalWidth) return;
      const part = Math.min(image.naturalWidth, image.naturalHeight);
      const [left, top] = [(image.naturalWidth - part) / 2, (image.naturalHeight - part) / 2];
      pen.fillStyle = colour(group[n]);
      pen.fillRect(px - SIDE / 2 - 2, py - SIDE / 2 - 2, SIDE + 4, SIDE + 4);
      pen.drawImage(image, left, top, part, part, px - SIDE / 2, py - SIDE / 2, SIDE, SIDE);
    };
    examples.forEach(one);
    if (near) for (let n = 0; n < ids.length; n++) one(n);
  }

  function resize() {
    const box = canvas.getBoundingClientRect();
    const ratio = devicePixelRatio || 1;
    size = { width: box.width, height: box.height };
    canvas.width = Math.round(box.width * ratio);
    canvas.height = Math.round(box.height * ratio);
    whole();
    if (chosen >= 0) choose(chosen);
  }

  function nearest(px, py, reach) {
    const mx = (px - view.left) / view.scale;
    const my = (py - view.top) / view.scale;
    const far = reach / view.scale;
    let best = -1;
    let least = far * far;
    // However far it reaches, there are no cells beyond the map's own.
    const cell = (at) => Math.floor(Math.max(0, Math.min(1, at)) * CELLS);
    for (let i = cell(mx - far); i <= cell(mx + far); i++) {
      for (let j = cell(my - far); j <= cell(my + far); j++) {
        for (const n of cells.get(`${i},${j}`) || []) {
          const d = (x[n] - mx) ** 2 + (y[n] - my) ** 2;
          if (visible(n) && d < least) [best, least] = [n, d];
        }
      }
    }
    return best;
  }

  function choose(n, aloud = false) {
    chosen = n;
    card.hidden = n < 0;
    draw();
    if (n < 0) return;
    const picture = document.getElementById("picture");
    picture.hidden = !images[n];
    if (images[n]) picture.src = images[n];
    const of = groups.length > 1 ? ` (${groups[group[n]]})` : "";
    const text = ids[n] + of + (words[n] ? `: ${words[n]}` : "");
    document.getElementById("caption").textContent = text;
    if (aloud) document.getElementById("told").textContent = text;
    const [px, py] = place(n);
    const { offsetWidth: w, offsetHeight: h } = card;
    card.style.left = `${Math.max(4, px + 16 + w > size.width ? px - w - 16 : px + 16)}px`;
    card.style.top = `${Math.max(4, Math.min(py - h / 2, size.height - h - 4))}px`;
  }

  function zoom(factor, px = size.width / 2, py = size.height / 2) {
    const least = Math.min(size.width, size.height) / 2;
    const next = Math.max(least, Math.min(view.scale * factor, least * 400));
    view.left = px - ((px - view.left) * next) / view.scale;
    view.top = py - ((py - view.top) * next) / view.scale;
    view.scale = next;
    draw();
    if (chosen >= 0) choose(chosen);
  }

  function bringIn(n) {
    const [px, py] = place(n);
    if (px < 40 || px > size.width - 40) view.left += size.width / 2 - px;
    if (py < 40 || py > size.height - 40) view.top += size.height / 2 - py;
  }

  function go(dx, dy) {
    if (chosen < 0) {
      choose(nearest(size.width / 2, size.height / 2, 1e9), true);
      return;
    }
    let best = -1;
    let least = Infinity;
    for (let n = 0; n < ids.length; n++) {
      if (n === chosen || !visible(n)) continue;
      const ax = x[n] - x[chosen];
      const ay = y[n] - y[chosen];
      const along = ax * dx + ay * dy;
      const across = Math.abs(ax * dy) + Math.abs(ay * dx);
      if (along <= 0 || across > 2 * along) continue;
      const far = along + 2 * across;
      if (far < least) [best, least] = [n, far];
    }
    if (best < 0) return;
    bringIn(best);
    choose(best, true);
  }

  // What lies in the frame is picked, or given back if all of it was picked already.
  function pick() {
    const [[ax, ay], [bx, by]] = frame;
    frame = null;
    const inside = [];
    for (let n = 0; n < ids.length; n++) {
      const [px, py] = place(n);
      const within = (px - ax) * (px - bx) <= 0 && (py - ay) * (py - by) <= 0;
      if (within && visible(n)) inside.push(n);
    }
    const all = inside.every((n) => picked.has(n));
    for (const n of inside) all ? picked.delete(n) : picked.add(n);
    tell();
  }

  function tell() {
    const count = picked.size;
    for (const id of ["save", "none"]) document.getElementById(id).hidden = !count;
    document.getElementById("save").textContent = `Save ${count} ${count === 1 ? "id" : "ids"}`;
    document.getElementById("told").textContent = `${count} picked`;
    draw();
  }

  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  let moved = false;
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, at(event));
    moved = false;
    frame = picking || event.shiftKey ? [at(event), at(event)] : null;
    if (frame) choose(-1);
  });
  canvas.addEventListener("pointermove", (event) => {
    const now = at(event);
    const before = fingers.get(event.pointerId);
    if (!before) {
      choose(nearest(...now, 24));
      return;
    }
    if (frame) {
      frame[1] = now;
      moved = true;
      draw();
      return;
    }
    if (fingers.size === 2) {
      const other = [...fingers].find(([id]) => id !== event.pointerId)[1];
      const was = Math.hypot(before[0] - other[0], before[1] - other[1]);
      const is = Math.hypot(now[0] - other[0], now[1] - other[1]);
      if (was > 0) zoom(is / was, other[0], other[1]);
      moved = true;
    } else if (moved || Math.hypot(now[0] - before[0], now[1] - before[1]) > 3) {
      view.left += now[0] - before[0];
      view.top += now[1] - before[1];
      moved = true;
      choose(-1);
    } else return;
    fingers.set(event.pointerId, now);
  });
  const up = (event) => {
    if (frame && moved) pick();
    frame = null;
    if (!moved && fingers.has(event.pointerId)) choose(nearest(...at(event), 28), true);
    fingers.delete(event.pointerId);
  };
  canvas.addEventListener("pointerup", up);
  canvas.addEventListener("pointercancel", (event) => {
    frame = null;
    fingers.delete(event.pointerId);
    draw();
  });
  canvas.addEventListener("pointerleave", () => fingers.size || choose(-1));
  canvas.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      zoom(Math.exp(-event.deltaY * 0.0015), ...at(event));
    },
    { passive: false },
  );
  const keys = {
    ArrowLeft: () => go(-1, 0),
    ArrowRight: () => go(1, 0),
    ArrowUp: () => go(0, -1),
    ArrowDown: () => go(0, 1),
    "+": () => zoom(1.5),
    "=": () => zoom(1.5),
    "-": () => zoom(1 / 1.5),
    Home: whole,
    Escape: () => choose(-1),
    " ": () => {
      if (chosen < 0) return;
      picked.delete(chosen) || picked.add(chosen);
      tell();
    },
  };
  canvas.addEventListener("keydown", (event) => {
    if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    keys[event.key]();
  });
  document.getElementById("nearer").addEventListener("click", () => zoom(1.5));
  document.getElementById("farther").addEventListener("click", () => zoom(1 / 1.5));
  document.getElementById("whole").addEventListener("click", whole);
  document.getElementById("pick").addEventListener("click", (event) => {
    picking = !picking;
    event.currentTarget.setAttribute("aria-pressed", String(picking));
    canvas.classList.toggle("picking", picking);
  });
  document.getElementById("none").addEventListener("click", () => {
    picked.clear();
    tell();
  });
  document.getElementById("save").addEventListener("click", () => {
    const text = [...picked].sort((a, b) => a - b).map((n) => `${ids[n]}\n`);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob(text, { type: "text/plain" }));
    link.download = "ids.txt";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });

  const find = document.getElementById("find");
  let turn = 0;
  function seek(next) {
    const text = find.value.trim().toLowerCase();
    turn = next ? turn + 1 : 0;
    const hits = [];
    if (text) ids.forEach((id, n) => visible(n) &&
      `${id} ${words[n] || ""}`.toLowerCase().includes(text) && hits.push(n));
    const told = hits.length ? `${(turn % hits.length) + 1} of ${hits.length}` : "none";
    document.getElementById("found").textContent = text ? told : "";
    if (!hits.length) return choose(-1);
    const hit = hits[turn % hits.length];
    bringIn(hit);
    choose(hit, true);
  }
  find.addEventListener("input", () => seek(false));
  find.form.addEventListener("submit", (event) => {
    event.preventDefault();
    seek(true);
  });

  const legend = document.getElementById("legend");
  function write() {
    legend.replaceChildren(
      ...(groups.length < 2 ? [] : groups).map((name, g) => {
        const button = document.createElement("button");
        const dot = document.createElement("span");
        button.type = "button";
        dot.className = "dot";
        dot.style.background = colour(g);
        button.append(dot);
        if (images[examples[g]]) {
          const example = document.createElement("img");
          example.src = images[examples[g]];
          example.alt = "";
          button.append(example);
        }
        button.append(name);
        button.setAttribute("aria-pressed", String(shown[g]));
        button.addEventListener("click", () => {
          shown[g] = !shown[g];
          button.setAttribute("aria-pressed", String(shown[g]));
          if (chosen >= 0 && !visible(chosen)) choose(-1);
          draw();
        });
        return button;
      }),
    );
  }
  dark.addEventListener("change", () => {
    write();
    draw();
  });
  document.documentElement.classList.toggle("framed", self !== top);
  index();
  write();
  new ResizeObserver(resize).observe(canvas);
})();
