  // Points: slices of each setting, cost against quality, the trials of a search.
  const dot = (x, y, p) => `M${x.place(p.x).toFixed(1)} ${(BOX - y.place(p.y)).toFixed(1)}h0`;

  // A model of points [{ x, y, look, words }] that share one path for each look.
  function points(list, more) {
    const [low, high] = extent(list.map((p) => p.y));
    return {
      x: list.map((p) => p.x),
      y: (from, to) => list.filter((p) => p.x >= from && p.x <= to).map((p) => p.y),
      isLogY: low > 0 && high > 50 * low,
      stops: [...list].sort((a, b) => a.x - b.x || a.y - b.y)
        .map((p) => ({ x: p.x, y: p.y, words: () => p.words })),
      ...more,
      paths: (x, y) => {
        const looks = new Map();
        list.filter((p) => p.x >= x.low && p.x <= x.high)
          .forEach((p) => looks.set(p.look, (looks.get(p.look) || "") + dot(x, y, p)));
        const dots = [...looks].reverse().map(([name, d]) => ({ d, look: `dots ${name}` }));
        return [...(more.under ? more.under(x, y) : []), ...dots];
      },
    };
  }

  const join = (list, x, y) => list.filter((p) => p.x >= x.low && p.x <= x.high)
    .map((p, k) => dot(x, y, p).slice(0, -2).replace("M", k ? "L" : "M")).join("");

  function slice(figure, column) {
    const scale = scaleOf(column);
    plot(figure, () => {
      const list = [], byValue = new Map();
      for (const k of selection.shown) {
        const run = runs[k], y = run.metrics[main], value = at(run, column);
        const place = scale.place(value);
        if (!isNumber(y) || place === null) continue;
        const x = scale.isNumeric ? value : place;
        list.push({ x, y, look: look(run.group),
          words: `${run.name}: ${column[1]} ${brief(value)}, ${main} ${brief(y)}` });
        const entry = { x, ys: [], label: brief(value) };
        if (!byValue.has(words(value))) byValue.set(words(value), entry);
        byValue.get(words(value)).ys.push(y);
      }
      const means = [...byValue.values()].sort((a, b) => a.x - b.x)
        .map((entry) => ({ ...entry, y: entry.ys.reduce((a, b) => a + b) / entry.ys.length }));
      const sign = modeOf(main) === "max" ? 1 : -1;
      const best = means.reduce((a, b) => (!a || sign * b.y > sign * a.y ? b : a), null);
      const isFew = !scale.isNumeric;
      const every = Math.ceil(scale.marks.length / 6);
      return points(list, {
        x: isFew ? [0, BOX] : list.map((p) => p.x),
        isLogX: scale.isLog, xName: column[1],
        xTicks: isFew ? scale.marks.filter((_, k) => k % every === 0)
          .map(([place, label]) => [place, shortened(label, 12)]) : null,
        under: means.length > 1 && (isFew || means.length <= MAX_VALUES)
          ? (x, y) => [{ d: join(means, x, y), look: "mean-line" }] : null,
        words: best ? `Best mean at ${best.label}: ${brief(best.y)}.` : "No run has a value.",
        table: () => ({
          head: [column[1], "runs", `mean ${main}`, "lowest", "highest"],
          rows: means.map((m) =>
            [m.label, String(m.ys.length), ...[m.y, ...extent(m.ys)].map(brief)]),
        }),
      });
    });
  }

  // The runs that no other beats in both: cheap first, each better than all before it.
  function front(list, sign) {
    let best = -Infinity;
    return [...list].sort((a, b) => a.x - b.x || sign * (b.y - a.y)).filter((p) => {
      if (sign * p.y <= best) return false;
      best = sign * p.y;
      return true;
    });
  }

  function costSection() {
    const figure = find("cost-chart");
    if (!figure) return;
    const axisBox = find("cost-axis"), quality = find("quality-axis");
    const chart = plot(figure, () => {
      const name = axisBox.value, metric = quality.value;
      const title = axisBox.selectedOptions[0].text;
      const list = selection.shown.map((k) => runs[k])
        .filter((run) => isNumber(run[name]) && isNumber(run.metrics[metric]))
        .map((run) => ({
          x: run[name], y: run.metrics[metric], look: look(run.group), run: run.name }));
      list.forEach((p) => {
        p.words = `${p.run}: ${title} ${brief(p.x)}, ${metric} ${brief(p.y)}`;
      });
      const [low, high] = extent(list.map((p) => p.x));
      const best = front(list, modeOf(metric) === "max" ? 1 : -1);
      const unit = { seconds: "seconds", peak_memory_bytes: "bytes", energy_wh: "Wh" }[name];
      const xName = unit ? `${title} (${unit})` : title;
      figure.querySelector("h3").textContent = `${metric} over ${title}`;
      return points(list, {
        isLogX: low > 0 && high > 50 * low, xName,
        under: (x, y) => [
          { d: join(best, x, y), look: "front-line" },
          { d: join(best, x, y).replaceAll("L", "h0M") + "h0", look: "front-dots" }]
          .filter((each) => each.d.startsWith("M")),
        words: best.length ? `On the front: ${best.slice(0, 5).map((p) => p.run).join(", ")}`
          + (best.length > 5 ? ` and ${best.length - 5} more.` : ".") : "No run has both values.",
        table: () => ({ head: ["run", xName, metric, "on the front"],
          rows: [...list].sort((a, b) => a.x - b.x)
            .map((p) => [p.run, brief(p.x), brief(p.y), best.includes(p) ? "yes" : "no"]) }),
      });
    });
    axisBox.addEventListener("change", chart.reset);
    quality.addEventListener("change", chart.reset);
  }

  function trialSection() {
    const figure = find("trial-chart");
    if (!figure) return;
    const { trials, objectives } = data.search;
    const [objective, mode] = Object.entries(objectives)[0] || [main, data.mode];
    const sign = mode === "max" ? 1 : -1;
    const settingsOf = (trial) => Object.entries(trial.params)
      .map(([key, value]) => `${key}=${brief(value)}`).join(" ");
    const valueOf = (trial) => (isNumber(trial.values[0]) ? trial.values[0] : null);
    plot(figure, () => {
      const values = trials.map(valueOf).filter(isNumber);
      const worst = extent(values)[sign > 0 ? 0 : 1];  // where trials without a value are drawn
      const list = (values.length ? trials : []).map((trial) => ({
        x: trial.number, y: valueOf(trial) ?? worst, isDone: trial.state === "finished",
        look: { finished: "tone-0", failed: "is-broken" }[trial.state] || "is-hollow",
        words: `trial ${trial.number}, ${trial.state}: ${objective} `
          + `${brief(valueOf(trial) ?? "unknown")}; ${settingsOf(trial)}` }));
      let best = -Infinity;
      const record = [];
      for (const p of list.filter((each) => each.isDone)) {
        if (sign * p.y <= best) continue;
        if (record.length) record.push({ x: p.x, y: record[record.length - 1].y });
        best = sign * p.y;
        record.push(p);
      }
      if (record.length) record.push({ x: list[list.length - 1].x, y: sign * best });
      const others = trials.length - values.length;
      return points(list, {
        xName: "trial",
        under: (x, y) => [{ d: join(record, x, y), look: "front-line" }],
        words: (record.length ? `Best so far (line): ${brief(sign * best)}. `
          : "No trial has finished. ")
          + "Coloured dots ran to their end; grey ones were pruned or stopped, red ones failed."
          + (others ? ` ${others} without a value stand at the edge.` : ""),
        table: () => ({ head: ["trial", "state", objective, "steps", "settings"],
          rows: trials.map((trial) => [String(trial.number), trial.state,
            trial.values.map(brief).join(", "), brief(trial.steps), settingsOf(trial)]) }),
      });
    });
  }

  columns.filter((column) => column[0] === "settings").forEach((column, k) => {
    const figure = find(`slice-${k}`);
    if (figure) slice(figure, column);
  });
  costSection();
  trialSection();
