  // Charts: hover, keys, zoom and the switch of the axis; attention: cell by cell; videos.
  function chart(figure) {
    const { log, series } = JSON.parse(figure.querySelector('script[type="application/json"]').text);
    const find = (selector) => figure.querySelector(selector);
    const reader = find(".reader"), readout = find(".readout"), field = find(".field");
    const groups = [...figure.querySelectorAll(".field g")];
    let column = 0;             // 0 steps, 1 seconds: the place in a row [step, seconds, epoch, value]
    let unit = 1, unitName = "steps";
    let window_ = null;         // the zoomed range of x, or null for all
    let cursor = -1;            // the place in `stops`
    let x, y;

    const known = (rows) => rows.filter((row) => row && row[column] !== null);
    const at = (row) => row[column] / unit;
    const stops = () => {
      const all = new Set(series.flatMap((line) => known(line.points).map(at)));
      return [...all].filter((v) => v >= x.low && v <= x.high).sort((a, b) => a - b);
    };

    function path(rows) {
      let isDown = false, parts = "";
      for (const row of rows) {
        if (!row || row[column] === null) { isDown = false; continue; }
        const spot = x.place(at(row)).toFixed(1) + " " + (BOX - y.place(row[3])).toFixed(1);
        parts += isDown ? "L" + spot : "M" + spot + "h0";
        isDown = true;
      }
      return parts;
    }

    function labels(box, marks, side, flip) {
      box.replaceChildren(...marks.map((mark, k) => {
        const span = document.createElement("span");
        span.textContent = short(mark);
        span.style[side] = flip(mark) + "%";
        return span;
      }));
    }

    function draw() {
      const rows = series.flatMap((line) => known(line.points));
      x = window_ ? axis(window_[0], window_[1], false) : padded(rows.map(at), false);
      const seen = rows.filter((row) => at(row) >= x.low && at(row) <= x.high);
      y = padded((seen.length ? seen : rows).map((row) => row[3]), log);
      series.forEach((line, k) => {
        const set = (name, d) => {
          const target = groups[k].querySelector(name);
          if (target) target.setAttribute("d", d);
        };
        set(".line", path(line.points));
        set(".mean", path(line.mean));
        set(".dots", known(line.points).map((row) => path([row])).join(""));
      });
      const marks = y.ticks(5);
      find(".grid").setAttribute("d", marks.map((m) => `M0 ${BOX - y.place(m)}h${BOX}`).join(""));
      labels(find(".ticks-y"), marks, "top", (m) => 100 - y.place(m) / 10);
      labels(find(".ticks-x"), x.ticks(field.clientWidth < 400 ? 4 : 6), "left", (m) => x.place(m) / 10);
      find(".axis-name").textContent = unitName;
      find('[data-zoom="all"]').disabled = find('[data-zoom="out"]').disabled = !window_;
    }

    function read(place) {
      const places = stops();
      if (!places.length) return;
      cursor = Math.max(0, Math.min(places.length - 1, place));
      const value = places[cursor];
      let nearest = null;
      const parts = series.map((line) => {
        const rows = known(line.points);
        if (!rows.length) return "";
        const row = rows.reduce((a, b) => (Math.abs(at(b) - value) < Math.abs(at(a) - value) ? b : a));
        if (!nearest || at(row) === value) nearest = row;
        return `${line.name} ${Number(row[3].toPrecision(4))}`;
      });
      const [step, seconds, epoch] = nearest;
      const where = [`step ${Math.round(step).toLocaleString("en")}`];
      if (epoch !== null) where.push(`epoch ${Number(epoch.toFixed(2))}`);
      if (seconds !== null) where.push(clock(seconds));
      const text = where.join(", ") + ": " + parts.filter(Boolean).join(", ");
      readout.textContent = text;
      reader.setAttribute("aria-valuemax", places.length - 1);
      reader.setAttribute("aria-valuenow", cursor);
      reader.setAttribute("aria-valuetext", text);
      reader.style.setProperty("--at", x.place(value) / 10 + "%");
      reader.classList.add("is-reading");
    }

    function zoom(low, high) {
      const all = known(series.flatMap((line) => line.points)).map(at);
      const first = Math.min(...all), last = Math.max(...all);
      window_ = low <= first && high >= last ? null : [low, high];
      reader.classList.remove("is-reading");
      cursor = -1;
      draw();
    }

    function zoomBy(factor) {
      const places = stops();
      const centre = cursor >= 0 ? places[cursor] : (x.low + x.high) / 2;
      const half = ((x.high - x.low) * factor) / 2;
      zoom(centre - half, centre + half);
    }

    const acts = zoomButtons(figure, zoomBy, zoom);
    reader.addEventListener("keydown", (event) => {
      const last = stops().length - 1;
      const page = Math.max(1, Math.round(last / 10));
      const keys = {
        ArrowRight: () => read(cursor + 1), ArrowUp: () => read(cursor + 1),
        ArrowLeft: () => read(cursor - 1), ArrowDown: () => read(cursor - 1),
        PageUp: () => read(cursor + page), PageDown: () => read(cursor - page),
        Home: () => read(0), End: () => read(last),
        "+": acts.in, "=": acts.in, "-": acts.out, 0: acts.all, Escape: acts.all,
      };
      if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      keys[event.key]();
    });

    const valueAt = (event) => {
      const box = reader.getBoundingClientRect();
      const part = Math.max(0, Math.min(1, (event.clientX - box.left) / box.width));
      return x.low + part * (x.high - x.low);
    };
    let start = null;
    reader.addEventListener("pointerdown", (event) => {
      start = valueAt(event);
      reader.setPointerCapture(event.pointerId);
    });
    reader.addEventListener("pointermove", (event) => {
      const value = valueAt(event), places = stops();
      if (!places.length) return;
      read(places.reduce((best, p, k) =>
        (Math.abs(p - value) < Math.abs(places[best] - value) ? k : best), 0));
      const [a, b] = start === null ? [0, 0] : [start, value].sort((m, n) => m - n);
      reader.style.setProperty("--from", x.place(a) / 10 + "%");
      reader.style.setProperty("--wide", (x.place(b) - x.place(a)) / 10 + "%");
      reader.classList.toggle("is-dragging", start !== null);
    });
    reader.addEventListener("pointerup", (event) => {
      if (start === null) return;
      const [low, high] = [start, valueAt(event)].sort((m, n) => m - n);
      start = null;
      reader.classList.remove("is-dragging");
      if (high - low > 0.02 * (x.high - x.low)) zoom(low, high);
    });
    reader.addEventListener("pointercancel", () => {
      start = null;
      reader.classList.remove("is-dragging");
    });
    reader.addEventListener("pointerleave", () => {
      if (document.activeElement !== reader) reader.classList.remove("is-reading");
    });
    reader.addEventListener("focus", () => { if (cursor < 0) read(stops().length - 1); });
    reader.addEventListener("blur", () => reader.classList.remove("is-reading"));

    draw();
    return (axisName) => {
      const times = series.flatMap((line) => line.points).filter((row) => row && row[1] !== null);
      column = axisName === "seconds" && times.length ? 1 : 0;
      [unit, unitName] = [1, "steps"];
      if (column) {
        const longest = Math.max(...times.map((row) => row[1]));
        [unit, unitName] = longest > 10800 ? [3600, "hours"] : longest > 180 ? [60, "minutes"] : [1, "seconds"];
      }
      zoom(-Infinity, Infinity);
    };
  }

  function heat(figure) {
    const { inputs, outputs, weights, cell } = JSON.parse(
      figure.querySelector('script[type="application/json"]').text);
    const reader = figure.querySelector(".reader"), readout = figure.querySelector(".readout");
    const mark = figure.querySelector(".mark");
    let row = 0, column = 0;

    function read(t, s) {
      row = Math.max(0, Math.min(outputs.length - 1, t));
      column = Math.max(0, Math.min(inputs.length - 1, s));
      mark.setAttribute("x", column);
      mark.setAttribute("y", row);
      mark.setAttribute("visibility", "visible");
      const weight = (weights[row][column] / 1000).toFixed(3);
      readout.textContent = `${outputs[row]} \u2190 ${inputs[column]}: ${weight}`;
    }
    reader.addEventListener("pointermove", (event) => {
      const box = reader.getBoundingClientRect();
      read(Math.floor((event.clientY - box.top) / cell), Math.floor((event.clientX - box.left) / cell));
    });
    reader.addEventListener("pointerleave", () => {
      if (document.activeElement !== reader) mark.setAttribute("visibility", "hidden");
    });
    reader.addEventListener("focus", () => read(row, column));
    reader.addEventListener("blur", () => mark.setAttribute("visibility", "hidden"));
    reader.addEventListener("keydown", (event) => {
      const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1],
        Home: [0, -inputs.length], End: [0, inputs.length] };
      const move = moves[event.key];
      if (!move || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      read(row + move[0], column + move[1]);
    });
  }

  // A line in the chart of a clip's evidence, where its video is.
  function follow(card) {
    const video = card.querySelector("video"), figure = card.querySelector(".evidence");
    if (!video || !figure) return;
    const now = figure.querySelector(".now");
    const low = Number(figure.dataset.low), high = Number(figure.dataset.high);
    const draw = () => {
      now.hidden = false;
      const part = (video.currentTime - low) / (high - low);
      now.style.setProperty("--at", 100 * Math.max(0, Math.min(1, part)) + "%");
      if (!video.paused) requestAnimationFrame(draw);
    };
    ["play", "pause", "seeked"].forEach((name) => video.addEventListener(name, draw));
  }

  const setAxis = [...document.querySelectorAll(".chart")]
    .filter((figure) => figure.querySelector(".plot")).map(chart);
  document.querySelectorAll("[data-axis]").forEach((button, _, all) => {
    button.addEventListener("click", () => {
      all.forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
      setAxis.forEach((set) => set(button.dataset.axis));
    });
  });
  document.querySelectorAll(".heat").forEach(heat);
  document.querySelectorAll(".clips > li").forEach(follow);
  document.querySelectorAll("[data-open]").forEach((button) => {
    button.addEventListener("click", () => {
      const items = [...document.getElementById(button.dataset.open).querySelectorAll("details.example")];
      const isOpening = items.some((item) => !item.open);
      items.forEach((item) => { item.open = isOpening; });
      button.textContent = isOpening ? "Close all" : "Open all";
    });
  });
