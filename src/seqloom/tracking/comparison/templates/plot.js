  // A chart: axes, a reader for mouse and keys, zoom along x. What is drawn is a model:
  // { x: [values], y(low, high): [values], isLogX, isLogY, xName, xTicks: [[value, label]],
  //   paths(x, y): [{ d, look }], stops: [{ x, y, words }], words, table: { head, rows } }
  const SVG = "http://www.w3.org/2000/svg";

  function labels(box, marks, side, place) {
    box.replaceChildren(...marks.map(([mark, label]) => {
      const span = make("span", {}, label);
      span.style[side] = place(mark) + "%";
      return span;
    }));
  }

  function svgPath({ d, look: classes }) {
    const element = document.createElementNS(SVG, "path");
    element.setAttribute("d", d);
    element.setAttribute("class", classes);
    return element;
  }

  function fillTable(figure, model) {
    const details = figure.querySelector("details.table");
    const cells = (tag, row) => row.map((cell, k) => (k
      ? make(tag, tag === "th" ? { scope: "col" } : {}, cell)
      : make("th", { scope: tag === "th" ? "col" : "row" }, cell)));
    const fill = () => {
      const { head, rows: lines } = model.table();
      details.querySelector("table").replaceChildren(
        make("thead", {}, make("tr", {}, ...cells("th", head))),
        make("tbody", {}, ...lines.map((line) => make("tr", {}, ...cells("td", line)))));
    };
    details.ontoggle = () => { if (details.open) fill(); };
    if (details.open) fill();
  }

  function plot(figure, modelNow) {
    const part = (selector) => figure.querySelector(selector);
    const reader = part(".reader"), readout = part(".readout"), field = part(".field");
    let model, x, y, stops = [], cursor = -1, window_ = null, all;

    function draw() {
      all = model.x.length ? padded(model.x, model.isLogX) : axis(0, 1, false);
      x = window_ ? axis(window_[0], window_[1], model.isLogX) : all;
      const seen = model.y(x.low, x.high);
      y = seen.length ? padded(seen, model.isLogY) : axis(0, 1, false);
      part("svg g").replaceChildren(...model.paths(x, y).map(svgPath));
      const marks = seen.length ? y.ticks(5).map((mark) => [mark, short(mark)]) : [];
      part(".grid").setAttribute("d", marks.map(([m]) => `M0 ${BOX - y.place(m)}h${BOX}`).join(""));
      labels(part(".ticks-y"), marks, "top", (m) => 100 - y.place(m) / 10);
      const num = Math.max(3, Math.floor(field.clientWidth / 100));
      let across = model.xTicks || (model.x.length ? x.ticks(num).map((m) => [m, short(m)]) : []);
      const every = Math.ceil(across.length / (model.xTicks ? 99 : Math.max(2, num + 2)));
      across = across.filter((_, k) => k % every === 0);
      labels(part(".ticks-x"), across, "left", (m) => x.place(m) / 10);
      part(".axis-name").textContent = model.xName;
      stops = model.stops.filter((stop) => stop.x >= x.low && stop.x <= x.high);
      part("[data-words]").textContent = model.words;
      if (part("[data-zoom]")) {
        part('[data-zoom="all"]').disabled = part('[data-zoom="out"]').disabled = !window_;
      }
      fillTable(figure, model);
    }

    function show(place) {
      if (!stops.length) { readout.textContent = "Nothing to read."; return; }
      cursor = Math.max(0, Math.min(stops.length - 1, place));
      const stop = stops[cursor], text = stop.words();
      readout.textContent = text;
      reader.setAttribute("aria-valuemax", stops.length - 1);
      reader.setAttribute("aria-valuenow", cursor);
      reader.setAttribute("aria-valuetext", text);
      reader.style.setProperty("--at", x.place(stop.x) / 10 + "%");
      if (stop.y !== undefined) {
        reader.style.setProperty("--up", 100 - y.place(stop.y) / 10 + "%");
      }
      reader.classList.toggle("is-ring", stop.y !== undefined);
      reader.classList.add("is-reading");
    }

    function hide() {
      cursor = -1;
      reader.classList.remove("is-reading");
    }

    function zoom(low, high) {
      window_ = low <= all.low && high >= all.high ? null
        : [Math.max(low, all.low), Math.min(high, all.high)];
      hide();
      draw();
    }

    const valueAt = (share) => (model.isLogX
      ? x.low * (x.high / x.low) ** share : x.low + share * (x.high - x.low));
    function zoomBy(factor) {
      const centre = cursor >= 0 ? x.place(stops[cursor].x) / BOX : 0.5;
      zoom(valueAt(centre - factor / 2), valueAt(centre + factor / 2));
    }
    const acts = zoomButtons(figure, zoomBy, zoom);

    reader.addEventListener("keydown", (event) => {
      const last = stops.length - 1, page = Math.max(1, Math.round(last / 10));
      const moves = {
        ArrowRight: () => show(cursor + 1), ArrowUp: () => show(cursor + 1),
        ArrowLeft: () => show(cursor - 1), ArrowDown: () => show(cursor - 1),
        PageUp: () => show(cursor + page), PageDown: () => show(cursor - page),
        Home: () => show(0), End: () => show(last),
      };
      const zooms = { "+": acts.in, "=": acts.in, "-": acts.out, 0: acts.all, Escape: acts.all };
      const act = moves[event.key] || (part("[data-zoom]") && zooms[event.key]);
      if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      act();
    });
    const shareAt = (event) => {
      const box = reader.getBoundingClientRect();
      return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height]
        .map((share) => Math.max(0, Math.min(1, share)));
    };
    const far = (stop, [across, down]) => Math.hypot(
      x.place(stop.x) / BOX - across,
      stop.y === undefined ? 0 : (1 - y.place(stop.y) / BOX - down) / 2);
    let start = null;
    reader.addEventListener("pointerdown", (event) => {
      if (!part("[data-zoom]")) return;
      start = shareAt(event)[0];
      reader.setPointerCapture(event.pointerId);
    });
    reader.addEventListener("pointermove", (event) => {
      const share = shareAt(event);
      let best = 0;
      stops.forEach((stop, k) => { if (far(stop, share) < far(stops[best], share)) best = k; });
      show(best);
      const [a, b] = start === null ? [0, 0] : [start, share[0]].sort((m, n) => m - n);
      reader.style.setProperty("--from", a * 100 + "%");
      reader.style.setProperty("--wide", (b - a) * 100 + "%");
      reader.classList.toggle("is-dragging", start !== null);
    });
    const drop = () => { start = null; reader.classList.remove("is-dragging"); };
    reader.addEventListener("pointerup", (event) => {
      if (start === null) return;
      const [low, high] = [start, shareAt(event)[0]].sort((m, n) => m - n);
      drop();
      if (high - low > 0.02) zoom(valueAt(low), valueAt(high));
    });
    reader.addEventListener("pointercancel", drop);
    reader.addEventListener("pointerleave", () => {
      if (document.activeElement !== reader) hide();
    });
    reader.addEventListener("focus", () => { if (cursor < 0) show(stops.length - 1); });
    reader.addEventListener("blur", hide);

    const update = () => { model = modelNow(); draw(); };
    whenSeen(figure, update);
    return { update, reset: () => { window_ = null; hide(); update(); } };
  }
