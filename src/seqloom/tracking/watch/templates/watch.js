  // Polls the state of what is watched, and shows it: a row a job, a chart a metric.
  const root = document.documentElement, every = Number(root.dataset.every);
  const get = (id) => document.getElementById(id);
  const make = (name, className = "", text = "") => {
    const element = document.createElement(name);
    if (className) element.className = className;
    if (text) element.textContent = text;
    return element;
  };
  const draw = (name, attributes) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  };
  const say = (element, text) => { if (element.textContent !== text) element.textContent = text; };
  const rows = new Map(), charts = new Map(), series = new Map(), states = new Map();

  function swatch() {
    const svg = draw("svg", { viewBox: "0 0 24 8", "aria-hidden": "true" });
    svg.append(draw("path", { d: "M1 4h22" }));
    return svg;
  }

  // A job keeps its colour while the page is open.
  function colour(number) {
    if (!series.has(number)) series.set(number, series.size % 6);
    return "series-" + series.get(number);
  }

  function heads(objectives) {
    const names = ["job", "state", "settings", objectives[0] || "objective", "best",
      ...objectives.slice(1), "step", "progress", "time left"];
    const line = document.querySelector(".jobs thead tr");
    if (line.children.length === names.length) return;
    line.replaceChildren(...names.map((name) => {
      const isText = ["settings", "state", "progress"].includes(name);
      const cell = make("th", isText ? "is-text" : "", name);
      cell.scope = "col";
      return cell;
    }));
  }

  function newRow(job, numMore) {
    const line = make("tr"), head = make("th"), cells = { number: make("span"), swatch: swatch() };
    head.scope = "row";
    head.append(cells.swatch, cells.number);
    line.append(head);
    const add = (name, className) => {
      cells[name] = make("td", className);
      line.append(cells[name]);
    };
    add("state", "is-text");
    cells.word = make("span", "status");
    cells.state.append(cells.word);
    add("settings", "is-text settings");
    cells.label = make("span");
    cells.note = make("span", "note");
    cells.settings.append(cells.label, cells.note);
    add("latest", "latest");
    add("best", "best");
    cells.more = Array.from({ length: numMore }, () => line.appendChild(make("td")));
    add("step", "");
    add("progress", "is-text");
    cells.gauge = make("span", "gauge");
    cells.gauge.setAttribute("aria-hidden", "true");
    cells.bar = cells.gauge.appendChild(make("i"));
    cells.percent = make("span");
    cells.progress.append(cells.gauge, cells.percent);
    add("left", "");
    return { line, cells };
  }

  function showRow({ line, cells }, job, isBest, isDrawn) {
    line.className = `is-${job.state}${isBest ? " is-best" : ""}`;
    cells.swatch.setAttribute("class", "swatch" + (isDrawn ? " " + colour(job.number) : ""));
    if (job.report && cells.number.tagName !== "A") {
      const link = make("a");
      link.href = "/" + job.report;
      cells.number.replaceWith(link);
      cells.number = link;
    }
    say(cells.number, String(job.number));
    if (job.report) cells.number.setAttribute("aria-label", `report of job ${job.number}`);
    say(cells.label, job.label);
    say(cells.note, job.note + (isBest ? (job.note ? ", " : "") + "the best so far" : ""));
    cells.word.className = `status is-${job.state}`;
    say(cells.word, job.state);
    say(cells.latest, job.latest);
    say(cells.best, job.best);
    cells.more.forEach((cell, place) => say(cell, job.more[place] || ""));
    say(cells.step, job.step);
    const isPart = job.state === "running" && job.fraction !== null;
    cells.gauge.hidden = !isPart;
    cells.gauge.style.display = isPart ? "" : "none";
    if (isPart) cells.bar.style.transform = `scaleX(${job.fraction})`;
    say(cells.percent, isPart ? Math.round(100 * job.fraction) + " %" : job.took && "took " + job.took);
    if (job.state === "running" && !isPart) say(cells.percent, job.took && job.took + " so far");
    say(cells.left, job.left);
  }

  function showJobs(state) {
    const body = document.querySelector(".jobs tbody"), drawn = new Set();
    Object.values(state.curves).forEach((lines) => Object.keys(lines).forEach((key) => drawn.add(Number(key))));
    heads(state.objectives);
    const numMore = Math.max(0, state.objectives.length - 1), seen = new Set();
    state.jobs.forEach((job, place) => {
      if (!rows.has(job.number)) rows.set(job.number, newRow(job, numMore));
      const row = rows.get(job.number);
      seen.add(job.number);
      showRow(row, job, job.number === state.best, drawn.has(job.number));
      if (body.children[place] !== row.line) body.insertBefore(row.line, body.children[place] || null);
    });
    for (const [number, row] of rows) {
      if (seen.has(number)) continue;
      row.line.remove();
      rows.delete(number);
    }
  }

  function newChart(name) {
    const figure = make("figure", "chart"), caption = make("figcaption");
    const legend = make("ul", "legend"), plot = make("div", "plot"), field = make("div", "field");
    const svg = draw("svg", { role: "img", viewBox: "0 0 1000 1000", preserveAspectRatio: "none" });
    const [ticksY, ticksX] = [make("div", "ticks-y"), make("div", "ticks-x")];
    [ticksY, ticksX].forEach((ticks) => ticks.setAttribute("aria-hidden", "true"));
    caption.append(make("h3", "", name), legend);
    field.append(svg);
    plot.append(ticksY, field, ticksX, make("p", "axis-name", "steps"));
    figure.append(caption, plot);
    document.querySelector(".charts").append(figure);
    return { figure, legend, svg, ticksX, ticksY };
  }

  function showChart(name, lines) {
    const points = Object.values(lines).flat();
    if (!charts.has(name)) charts.set(name, newChart(name));
    const { figure, legend, svg, ticksX, ticksY } = charts.get(name);
    figure.hidden = !points.length;
    if (!points.length) return;
    const x = padded(points.map((point) => point[0]), false);
    const y = padded(points.map((point) => point[1]), false);
    const top = (value) => BOX - y.place(value);
    const tick = (axis, side, place, num, parent) => parent.replaceChildren(...axis.ticks(num).map((mark) => {
      const label = make("span", "", short(mark));
      label.style.setProperty(side, place(mark) / 10 + "%");
      return label;
    }));
    tick(y, "top", top, 4, ticksY);
    tick(x, "left", x.place, 5, ticksX);
    const grid = draw("path", { class: "grid", d: y.ticks(4).map((mark) => `M0 ${top(mark).toFixed(1)}h1000`).join("") });
    const numbers = Object.keys(lines).map(Number).filter((number) => lines[number].length);
    svg.replaceChildren(grid, ...numbers.map((number) => {
      const places = lines[number].map(([step, value]) => `${x.place(step).toFixed(1)} ${top(value).toFixed(1)}`);
      const group = draw("g", { class: colour(number) });
      group.append(draw("path", { class: places.length > 1 ? "line" : "dots", d: `M${places.join("L")}` + (places.length > 1 ? "" : "h0") }));
      return group;
    }));
    const last = (number) => short(Number(lines[number].at(-1)[1].toPrecision(4)));
    legend.replaceChildren(...numbers.map((number) => {
      const item = make("li", colour(number));
      item.append(swatch(), ` job ${number} `, make("b", "", last(number)));
      return item;
    }));
    svg.setAttribute("aria-label", `${name} over steps: ` + numbers.map((number) => `job ${number} is at ${last(number)}`).join(", "));
  }

  function tile(name, value, small) {
    const box = make("div"), words = make("dd", "", value);
    if (small) words.append(" ", make("small", "", small));
    box.append(make("dt", "", name), words);
    return box;
  }

  function showWhole(state) {
    const total = state.counts.reduce((sum, [, num]) => sum + num, 0);
    const ended = state.counts.filter(([name]) => !["running", "waiting"].includes(name));
    const done = ended.reduce((sum, [, num]) => sum + num, 0);
    const word = !state.jobs ? "waiting" : state.over ? "over" : "running";
    const whole = get("whole");
    whole.className = "status is-" + (word === "over" ? "finished" : word);
    say(whole, word);
    if (state.name) say(get("name"), state.name);
    document.title = state.jobs ? `${done}/${total} \u00b7 ${state.name}` : "waiting \u00b7 watch";
    const tiles = state.counts.map(([name, num]) => tile(name, String(num), `of ${total}`));
    if (state.left) tiles.push(tile("time left, about", state.left));
    const leader = (state.jobs || []).find((job) => job.number === state.best);
    if (leader) tiles.push(tile("best " + state.objectives[0], leader.best, `job ${leader.number}`));
    const text = tiles.map((box) => box.textContent).join("|");
    if (get("tiles").dataset.text !== text) {
      get("tiles").dataset.text = text;
      get("tiles").replaceChildren(...tiles);
    }
    const link = get("whole-report");
    link.hidden = !state.report || state.jobs.length < 2;
    if (state.report) link.firstElementChild.href = "/" + state.report;
  }

  // Only what has changed is told, and nothing at the first look.
  function announce(state) {
    const isFirst = !states.size, changes = [];
    for (const job of state.jobs) {
      if (states.get(job.number) !== job.state && !isFirst && job.state !== "waiting") {
        const value = job.state === "finished" && job.best ? `, ${state.objectives[0] || "best"} ${job.best}` : "";
        changes.push(`job ${job.number} ${job.state}${value}`);
      }
      states.set(job.number, job.state);
    }
    if (changes.length) say(get("said"), changes.join("; "));
  }

  function show(state) {
    showWhole(state);
    get("nothing").hidden = Boolean(state.jobs);
    get("jobs").hidden = !state.jobs;
    if (!state.jobs) return;
    showJobs(state);
    announce(state);
    get("curves").hidden = !Object.keys(state.curves).length;
    for (const [name, lines] of Object.entries(state.curves)) showChart(name, lines);
  }

  let tag = "", timer = 0, isAsking = false;
  async function poll() {
    if (isAsking) return;
    isAsking = true;
    try {
      const answer = await fetch(root.dataset.state, { cache: "no-store", headers: tag ? { "If-None-Match": tag } : {} });
      if (answer.ok) {
        show(await answer.json());
        tag = answer.headers.get("ETag") || "";
      } else if (answer.status !== 304) {
        throw new Error(answer.statusText);
      }
      get("lost").hidden = true;
    } catch {
      say(get("lost"), "seqloom watch does not answer: it has ended, or this machine sleeps. What is shown is old.");
      get("lost").hidden = false;
    }
    isAsking = false;
    timer = setTimeout(poll, document.hidden ? 10 * every : every);
  }
  document.addEventListener("visibilitychange", () => {
    clearTimeout(timer);
    poll();
  });
  poll();
