  // Curves of the shown runs: each its own line, or the mean of a group in a band of its runs.
  const MAX_BANDS = 12, MAX_STOPS = 200, MAX_WORDS = 6;
  const LESS_IS_BETTER = /loss|nll|perplexity|mse|mae|wer|cer/;

  function interpolate(line, x) {
    let low = 0, high = line.xs.length - 1;
    if (high < 0 || x < line.xs[0] || x > line.xs[high]) return null;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (line.xs[middle] <= x) low = middle; else high = middle;
    }
    const [a, b, p, q] = [line.xs[low], line.xs[high], line.ys[low], line.ys[high]];
    if (p === null || q === null) return x === a ? p : x === b ? q : null;
    return a === b ? q : p + ((q - p) * (x - a)) / (b - a);
  }

  const sparse = (xs) => {
    const every = Math.ceil(xs.length / MAX_STOPS);
    return xs.filter((_, k) => k % every === 0 || k === xs.length - 1);
  };
  const union = (lines) => [...new Set(lines.flatMap((line) => line.xs))].sort((a, b) => a - b);

  function meanLine(label, look_, members) {
    const line = { label, look: look_, xs: [], ys: [], lows: [], highs: [], num: members.length };
    for (const x of sparse(union(members))) {
      const ys = members.map((member) => interpolate(member, x)).filter((y) => y !== null);
      if (!ys.length) continue;
      line.xs.push(x);
      line.ys.push(ys.reduce((a, b) => a + b) / ys.length);
      line.lows.push(Math.min(...ys));
      line.highs.push(Math.max(...ys));
    }
    return line;
  }

  function curveSection() {
    const figure = find("curve-chart");
    if (!figure) return;
    const names = [...new Set(runs.flatMap((run) => Object.keys(run.curves)))].sort();
    const base = main ? main.split("/").pop() : "";
    const first = [`val/${base}`, "val/loss", "train/loss"].find((name) => names.includes(name));
    const metric = find("curve-metric");
    metric.append(...names.map((name) => make("option", {}, name)));
    metric.value = first || names[0];
    const state = {
      lines: groups.some((group) => group.num_runs > 1) ? "groups" : "runs",
      axis: "step", hidden: new Set(),
    };

    function lineOf(run) {
      const curve = run.curves[metric.value];
      const xs = curve && curve[state.axis];
      if (!xs) return null;
      const kept = [...xs.keys()].filter((k) => isNumber(xs[k]));
      return { label: run.name, look: look(run.group), group: run.group, status: run.status,
        xs: kept.map((k) => xs[k]),
        ys: kept.map((k) => (isNumber(curve.value[k]) ? curve.value[k] : null)) };
    }

    function linesNow() {
      const shown = selection.shown.map((k) => runs[k])
        .filter((run) => !state.hidden.has(run.group)).map(lineOf)
        .filter((line) => line && line.xs.length);
      if (state.lines === "runs") return shown;
      const alive = shown.filter((line) => line.status !== "failed");
      return groups.map((group, k) => [group, k, alive.filter((line) => line.group === k)])
        .filter(([, , members]) => members.length)
        .map(([group, k, members]) => meanLine(group.label, look(k), members));
    }

    function inUnits(lines) {
      if (state.axis === "step") return "steps";
      let longest = 0;
      lines.forEach((line) => line.xs.forEach((x) => { longest = Math.max(longest, x); }));
      const [unit, name] = longest > 10800 ? [3600, "hours"]
        : longest > 180 ? [60, "minutes"] : [1, "seconds"];
      lines.forEach((line) => { line.xs = line.xs.map((x) => x / unit); });
      return name;
    }

    function trace(line, ys, x, y) {
      let isDown = false, d = "";
      line.xs.forEach((value, k) => {
        // Lines go on one point beyond the window, so that they reach its edge.
        const isOut = line.xs[k + 1] < x.low || line.xs[k - 1] > x.high;
        if (ys[k] === null || isOut) { isDown = false; return; }
        const spot = `${x.place(value).toFixed(1)} ${(BOX - y.place(ys[k])).toFixed(1)}`;
        d += isDown ? "L" + spot : `M${spot}h0`;
        isDown = true;
      });
      return d;
    }

    function paths(lines, x, y) {
      const isBanded = state.lines === "groups" && lines.length <= MAX_BANDS;
      const everywhere = { low: -Infinity, high: Infinity, place: x.place };
      const bands = lines.filter((line) => isBanded && line.num > 1).map((line) => {
        const back = { xs: [...line.xs].reverse() };
        const below = trace(back, [...line.lows].reverse(), everywhere, y);
        const above = trace(line, line.highs, everywhere, y);
        const d = above + below.replace("M", "L").replace("h0", "") + "Z";
        return { d, look: "band " + line.look };
      });
      // One path for all runs that look the same: 500 runs are a few dozen elements.
      const byLook = new Map();
      lines.forEach((line) => {
        byLook.set(line.look, (byLook.get(line.look) || "") + trace(line, line.ys, x, y));
      });
      const size = lines.length > 60 ? " is-thin" : "";
      const strokes = [...byLook].reverse()
        .map(([name, d]) => ({ d, look: `line ${name}${size}` }));
      return [...bands, ...strokes];
    }

    function stopWords(lines, x, unit) {
      const isLess = modeOf(metric.value) === "min" || LESS_IS_BETTER.test(metric.value);
      const found = lines.map((line) => [line, interpolate(line, x)]).filter(([, y]) => y !== null)
        .sort((a, b) => (isLess ? a[1] - b[1] : b[1] - a[1]));
      const left = found.length - MAX_WORDS;
      const where = state.axis === "step"
        ? `step ${Math.round(x).toLocaleString("en")}` : `${brief(x)} ${unit}`;
      return `${where}: ` + found.slice(0, MAX_WORDS).map(([line, y]) => {
        if (!(line.num > 1)) return `${line.label} ${brief(y)}`;
        const [low, high] = [line.lows, line.highs]
          .map((ys) => brief(interpolate({ ...line, ys }, x)));
        return `${line.label} ${brief(y)} (${low} to ${high})`;
      }).join("; ") + (left > 0 ? `; and ${left} more` : "");
    }

    function model() {
      const lines = linesNow();
      const unit = inUnits(lines);
      const isMany = state.lines === "groups" && lines.length > MAX_BANDS;
      const levels = (line) => (line.lows && !isMany
        ? [line.ys, line.lows, line.highs] : [line.ys]);
      const drawn = lines.flatMap((line) => levels(line).flat().filter(isNumber));
      const [lowest, highest] = extent(drawn);
      const isLogY = lowest > 0 && highest > 50 * lowest;
      figure.querySelector("h3").textContent = metric.value;
      legend();
      const what = state.lines === "groups" ? "groups (means of their runs)" : "runs";
      return {
        x: union(lines), isLogY, xName: unit,
        y: (low, high) => lines.flatMap((line) => levels(line).flatMap((ys) => ys.filter(
          (y, k) => isNumber(y) && line.xs[k] >= low && line.xs[k] <= high))),
        paths: (x, y) => paths(lines, x, y),
        stops: sparse(union(lines)).map((x) => ({ x, words: () => stopWords(lines, x, unit) })),
        words: `${lines.length} ${what} over ${unit}.`
          + (isMany ? ` Bands are drawn for at most ${MAX_BANDS} groups.` : ""),
        table: () => ({
          head: [state.lines === "groups" ? "group" : "run",
            "first", "lowest", "highest", "last", `until (${unit})`],
          rows: lines.map((line) => {
            const ys = line.ys.filter(isNumber), until = line.xs[line.xs.length - 1];
            return [line.label, ...[ys[0], ...extent(ys), ys[ys.length - 1], until].map(brief)];
          }),
        }),
      };
    }

    function legend() {
      const drawn = selection.shown.map((k) => runs[k])
        .filter((run) => state.lines === "runs" || run.status !== "failed");
      const present = [...new Set(drawn.map((run) => run.group))].filter((k) => k !== null);
      present.sort((a, b) => a - b);
      const items = present.slice(0, Math.min(NUM_LOOKS, 2 * NUM_TONES)).map((k) => {
        const svg = document.createElementNS(SVG, "svg");
        svg.setAttribute("viewBox", "0 0 24 8");
        svg.setAttribute("aria-hidden", "true");
        svg.append(svgPath({ d: "M1 4h22", look: look(k) }));
        const isPressed = String(!state.hidden.has(k));
        return make("li", {}, make("button",
          { type: "button", "aria-pressed": isPressed, "data-group": k }, svg, groups[k].label));
      });
      const left = present.length - items.length;
      if (left > 0) items.push(make("li", {}, `and ${left} more, the best ones first`));
      const box = find("curve-legend"), active = document.activeElement?.dataset.group;
      box.replaceChildren(...items);
      if (active !== undefined) box.querySelector(`[data-group="${active}"]`)?.focus();
    }

    const chart = plot(figure, model);
    find("curve-legend").addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (!button) return;
      const group = Number(button.dataset.group);
      if (!state.hidden.delete(group)) state.hidden.add(group);
      chart.update();
    });
    function choose(attribute, set) {
      document.querySelectorAll(`[${attribute}]`).forEach((button, _, all) => {
        button.addEventListener("click", () => {
          all.forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
          set(button.getAttribute(attribute));
          chart.reset();
        });
      });
    }
    choose("data-lines", (value) => { state.lines = value; });
    choose("data-curve-axis", (value) => { state.axis = value; });
    document.querySelectorAll("[data-lines]").forEach((button) => {
      button.setAttribute("aria-pressed", String(button.dataset.lines === state.lines));
    });
    metric.addEventListener("change", chart.reset);
  }
  curveSection();
