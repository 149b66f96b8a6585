  // Parallel coordinates: an axis a setting, and the main metric; ranges on them filter all runs.
  const MAX_AXES = 9, MAX_VALUES = 8, NUM_SHADES = 5;

  // Where the values of a column stand on an axis of 0..BOX: one place a value, or by size.
  function scaleOf(column) {
    const found = runs.map((run) => at(run, column)).filter((value) => value !== undefined
      && (value !== null || column[0] === "settings"));
    const distinct = [...new Map(found.map((value) => [words(value), value])).values()];
    const areNumbers = distinct.length > 0 && distinct.every(isNumber);
    if (areNumbers && (distinct.length > MAX_VALUES || column[0] === "metrics")) {
      const [low, high] = extent(distinct);
      const isLog = low > 0 && high > 50 * low, scale = padded(distinct, isLog);
      return { isNumeric: true, isLog, values: distinct,
        place: (value) => (isNumber(value) ? scale.place(value) : null),
        marks: scale.ticks(4).map((mark) => [scale.place(mark), short(mark)]),
        label: (place) => brief(isLog
          ? scale.low * (scale.high / scale.low) ** (place / BOX)
          : scale.low + (scale.high - scale.low) * (place / BOX)) };
    }
    const collator = new Intl.Collator("en", { numeric: true });
    distinct.sort((a, b) => (areNumbers ? a - b : collator.compare(words(a), words(b))));
    const room = BOX / distinct.length;
    const places = new Map(distinct.map((value, k) => [words(value), room * (k + 0.5)]));
    return { isNumeric: false, values: distinct,
      place: (value) => (value === undefined ? null : places.get(words(value)) ?? null),
      marks: distinct.map((value) => [places.get(words(value)), words(value)]),
      label: (place) => {
        const k = Math.max(0, Math.min(distinct.length - 1, Math.floor(place / room)));
        return words(distinct[k]);
      } };
  }

  function parallelSection() {
    const box = find("coordinates");
    if (!box) return;
    const used = columns.filter((column) => column[0] === "settings").slice(0, MAX_AXES);
    used.push(["metrics", main, main]);
    const axes = used.map((column, k) => ({ column, scale: scaleOf(column), name: column[2],
      left: (100 * (k + 0.5)) / used.length, range: null }));
    const svg = box.querySelector("svg"), note = find("parallel-words");
    box.style.setProperty("--axes", axes.length);
    const sign = modeOf(main) === "max" ? 1 : -1;

    function setRange(line, low, high) {
      line.range = low <= 0 && high >= BOX ? null : [low, high];
      if (!line.range) selection.ranges.delete(line.name);
      else {
        selection.ranges.set(line.name, (run) => {
          const place = line.scale.place(at(run, line.column));
          return place !== null && place >= low && place <= high;
        });
      }
      showRange(line);
      select();
    }

    function showRange(line) {
      const [low, high] = line.range || [0, BOX];
      line.brush.hidden = !line.range;
      line.brush.style.bottom = low / 10 + "%";
      line.brush.style.height = (high - low) / 10 + "%";
      [low, high].forEach((place, k) => {
        line.inputs[k].value = place;
        line.inputs[k].setAttribute("aria-valuetext", line.scale.label(place));
      });
      line.words.textContent = line.range
        ? `${line.scale.label(low)} to ${line.scale.label(high)}` : "all";
    }

    function build(line) {
      const strip = make("div", { class: "strip-axis" });
      strip.style.left = line.left + "%";
      line.brush = make("div", { class: "brush" });
      const every = Math.ceil(line.scale.marks.length / 14);
      const marks = line.scale.marks.filter((_, k) => k % every === 0).map(([place, label]) => {
        const span = make("span", { title: label }, shortened(label, 14));
        span.style.bottom = place / 10 + "%";
        return span;
      });
      strip.append(line.brush, ...marks);
      const name = make("b", { title: line.name }, line.name);
      name.style.left = line.left + "%";
      box.append(strip, name);
      drag(strip, line);
      line.words = make("span", { class: "hint" });
      const step = line.scale.isNumeric ? 10 : BOX / Math.max(1, line.scale.values.length);
      line.inputs = ["from", "to"].map((end) => make("input",
        { type: "range", min: 0, max: BOX, step, "aria-label": `${line.name} ${end}` }));
      line.inputs.forEach((input) => input.addEventListener("input", () => {
        const [low, high] = line.inputs.map((each) => Number(each.value)).sort((a, b) => a - b);
        setRange(line, low, high);
      }));
      const legend = make("legend", {}, line.name);
      find("ranges").append(make("fieldset", {}, legend, ...line.inputs, line.words));
      showRange(line);
    }

    function drag(strip, line) {
      let start = null;
      const placeAt = (event) => {
        const area = strip.getBoundingClientRect();
        return Math.max(0, Math.min(BOX, BOX * (1 - (event.clientY - area.top) / area.height)));
      };
      strip.addEventListener("pointerdown", (event) => {
        start = placeAt(event);
        strip.setPointerCapture(event.pointerId);
      });
      strip.addEventListener("pointermove", (event) => {
        if (start === null) return;
        const [low, high] = [start, placeAt(event)].sort((a, b) => a - b);
        line.range = [low, high];
        showRange(line);
      });
      strip.addEventListener("pointerup", (event) => {
        if (start === null) return;
        const [low, high] = [start, placeAt(event)].sort((a, b) => a - b);
        start = null;
        if (high - low < 15) setRange(line, 0, BOX);
        else setRange(line, low, high);
      });
      strip.addEventListener("pointercancel", () => { start = null; });
    }

    function draw() {
      const scored = selection.shown.filter((k) => isNumber(runs[k].metrics[main]))
        .sort((a, b) => sign * (runs[a].metrics[main] - runs[b].metrics[main]));
      const isShown = new Set(selection.shown);
      const shades = new Map();
      const add = (name, k) => {
        let isDown = false, d = "";
        for (const line of axes) {
          const place = line.scale.place(at(runs[k], line.column));
          if (place === null) { isDown = false; continue; }
          d += `${isDown ? "L" : "M"}${(line.left * 10).toFixed(1)} ${(BOX - place).toFixed(1)}`;
          isDown = true;
        }
        shades.set(name, (shades.get(name) || "") + d);
      };
      runs.forEach((_, k) => { if (!isShown.has(k)) add("shade-off", k); });
      const unscored = selection.shown.filter((k) => !isNumber(runs[k].metrics[main]));
      unscored.forEach((k) => add("shade-none", k));
      const shade = (place) => Math.floor((NUM_SHADES * place) / scored.length);
      scored.forEach((k, place) => add(`shade-${shade(place)}`, k));
      const threads = [...shades].map(([name, d]) => svgPath({ d, look: `thread ${name}` }));
      svg.replaceChildren(...threads);
      const best = scored.length ? runs[scored[scored.length - 1]] : null;
      note.textContent = `${scored.length} runs with ${main}`
        + (unscored.length ? `, ${unscored.length} without` : "")
        + (best ? `; the best of them is ${best.name} with ${brief(best.metrics[main])}` : "")
        + (keys.length > MAX_AXES ? `; the first ${MAX_AXES} of ${keys.length} settings` : "")
        + ".";
      find("free-ranges").disabled = !selection.ranges.size;
      axes.filter((line) => line.range && !selection.ranges.has(line.name)).forEach((line) => {
        line.range = null;
        showRange(line);
      });
    }

    axes.forEach(build);
    find("free-ranges").addEventListener("click", () => {
      selection.ranges.clear();
      select();
    });
    whenSeen(box, draw);
  }
  parallelSection();
