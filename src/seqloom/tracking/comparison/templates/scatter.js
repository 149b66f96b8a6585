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
    .map((p, k) => `${k ? "L" : "M"}${x.place(p.x).toFixed(1)} ${(BOX - y.place(p.y)).toFixed(1)}`).join("");

  function slice(figure, column) {
    const scale = scaleOf(column);
    plot(figure, () => {
      const list = [], byValue = new Map();
      for (const k of selection.shown) {
        const run = runs[k], y = run.metrics[main], value = at(run, column);
        const place = scale.place(value);
        if (!isNumber(y) || place === null) continue;
        const x = scale.isNumeric ? value : place;
        list.push({ x, y, look: look(run.group), words: `${run.name}: ${column[1]} ${brief(value)}, ${main} ${brief(y)}` });
        if (!byValue.has(words(value))) byValue.set(words(value), { x, ys: [], label: brief(value) });
        byValue.get(words(value)).ys.push(y);
      }
      const means = [...byValue.values()].sort((a, b) => a.x - b.x)
        .map((entry) => ({ ...entry, y: entry.ys.reduce((a, b) => a + b) / entry.ys.length }));
      const sign = modeOf(main) === "max" ? 1 : -1;
      const best = means.reduce((a, b) => (!a || sign * b.y > sign * a.y ? b : a), null);
      const isFew = !scale.isNumeric;
      const trim = (label) => (label.length > 12 ? label.slice(0, 11) + "\u2026" : label);
      return points(list, {
        x: isFew ? [0, BOX] : list.map((p) => p.x),
        isLogX: scale.isLog, xName: column[1],
        xTicks: isFew ? scale.marks.filter((_, k) => k % Math.ceil(scale.marks.length / 6) === 0)
          .map(([place, label]) => [place, trim(label)]) : null,
        under: means.length > 1 && (isFew || means.length <= MAX_VALUES)
          ? (x, y) => [{ d: join(means, x, y), look: "mean-line" }] : null,
        words: best ? `Highest mean at ${best.label}: ${brief(best.y)}.`.replace("Highest", sign > 0 ? "Highest" : "Lowest") : "No run has a value.",
        table: () => ({ head: [column[1], "runs", `mean ${main}`, "lowest", "highest"],
          rows: means.map((m) => [m.label, String(m.ys.length), brief(m.y), ...extent(m.ys).map(brief)]) }),
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
      const name = axisBox.value, metric = quality.value, title = axisBox.selectedOptions[0].text;
      const list = selection.shown.map((k) => runs[k])
        .filter((run) => isNumber(run[name]) && isNumber(run.metrics[metric]))
        .map((run) => ({ x: run[name], y: run.metrics[metric], look: look(run.group), run: run.name,
          words: `${run.name}: ${title} ${brief(run[name])}, ${metric} ${brief(run.metrics[metric])}` }));
      const [low, high] = extent(list.map((p) => p.x));
      const best = front(list, modeOf(metric) === "max" ? 1 : -1);
      const units = { seconds: " (seconds)", peak_memory_bytes: " (bytes)", energy_wh: " (Wh)" }[name] || "";
      figure.querySelector("h3").textContent = `${metric} over ${title}`;
      return points(list, {
        isLogX: low > 0 && high > 50 * low, xName: title + units,
        under: (x, y) => [
          { d: join(best, x, y), look: "front-line" },
          { d: best.filter((p) => p.x >= x.low && p.x <= x.high).map((p) => dot(x, y, p)).join(""), look: "front-dots" }],
        words: best.length ? `On the front: ${best.slice(0, 5).map((p) => p.run).join(", ")}${best.length > 5 ? ` and ${best.length - 5} more` : ""}.` : "No run has both values.",
        table: () => ({ head: ["run", title + units, metric, "on the front"],
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
    const objective = objectives[0] && objectives[0].name ? objectives[0].name : objectives[0] || main;
    const sign = modeOf(objective) === "max" ? 1 : -1;
    plot(figure, () => {
      const list = trials.filter((trial) => trial.values && isNumber(trial.values[0])).map((trial) => ({
        x: trial.number, y: trial.values[0], state: trial.state,
        look: /^(complete|finished)/i.test(trial.state) ? "tone-0" : "is-hollow",
        words: `trial ${trial.number}, ${trial.state}: ${objective} ${brief(trial.values[0])}; `
          + Object.entries(trial.params).map(([key, value]) => `${key}=${brief(value)}`).join(" ") }));
      let best = -Infinity;
      const record = [];
      for (const p of list.filter((each) => each.look === "tone-0")) {
        if (sign * p.y > best) {
          if (record.length) record.push({ x: p.x, y: record[record.length - 1].y });
          best = sign * p.y;
          record.push(p);
        }
      }
      if (record.length) record.push({ x: Math.max(...list.map((p) => p.x)), y: sign * best });
      const others = trials.length - list.length;
      return points(list, {
        xName: "trial",
        under: (x, y) => [{ d: join(record, x, y), look: "front-line" }],
        words: (record.length ? `Best so far (line): ${brief(sign * best)}. ` : "No trial has finished. ")
          + "Full dots ran to their end, hollow ones did not." + (others ? ` ${others} without a value.` : ""),
        table: () => ({ head: ["trial", "state", objective, "steps", "settings"],
          rows: trials.map((trial) => [String(trial.number), trial.state, trial.values ? trial.values.map(brief).join(", ") : "",
            brief(trial.steps), Object.entries(trial.params).map(([key, value]) => `${key}=${brief(value)}`).join(" ")]) }),
      });
    });
  }

  columns.filter((column) => column[0] === "settings").forEach((column, k) => {
    const figure = find(`slice-${k}`);
    if (figure) slice(figure, column);
  });
  costSection();
  trialSection();
