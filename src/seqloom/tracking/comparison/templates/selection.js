  // Which runs are seen: the filter, the ranges of the parallel coordinates, the ticks.
  const read = (id) => JSON.parse(document.getElementById(id).text);
  const data = read("comparison"), columns = read("columns");
  const { runs, groups, keys, main } = data;
  const NUM_TONES = 10;
  const NUM_LOOKS = groups.length > 40 ? 10 : 40;  // of very many groups only the best stand out
  const find = (id) => document.getElementById(id);

  const modeOf = (name) => (data.metrics.find((entry) => entry.name === name) || data).mode;
  const at = (run, [kind, name]) => (kind === "field" ? run[name] : run[kind][name]);
  const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
  const words = (value) => (value === undefined ? ""
    : typeof value === "string" ? value : JSON.stringify(value));
  const shortened = (text, limit) => (
    text.length > limit ? text.slice(0, limit - 1) + "\u2026" : text);
  const brief = (value) => (isNumber(value) ? short(Number(value.toPrecision(4))) : words(value));

  // How a run is drawn: a colour and a dash by its group, of which the best come first.
  function look(group) {
    if (group === null || group === undefined || group >= NUM_LOOKS) return "tone-none";
    return `tone-${group % NUM_TONES} dash-${Math.floor(group / NUM_TONES)}`;
  }

  function make(tag, attributes, ...inside) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...inside);
    return element;
  }

  const selection = {
    tests: [],                               // of the words in the filter
    state: "",
    ranges: new Map(),                       // key: test of a run
    ticked: runs.map(() => true),
    matches: runs.map((_, k) => k),          // runs that the filter leaves
    shown: runs.map((_, k) => k),            // those of them that are ticked
  };
  const watchers = [];

  function select() {
    const tests = [...selection.tests, ...selection.ranges.values()];
    const passes = (run) => (!selection.state || run.status === selection.state)
      && tests.every((test) => test(run));
    selection.matches = [...runs.keys()].filter((k) => passes(runs[k]));
    selection.shown = selection.matches.filter((k) => selection.ticked[k]);
    watchers.forEach((watch) => watch());
  }

  // Draws when the element is seen, and again on every change that happens while it is seen.
  // A page that is printed, or pictured as a whole, shows more than was seen: `drawers` has all.
  const drawers = [];
  function whenSeen(element, draw) {
    let isSeen = false, isStale = true;
    const drawStale = () => {
      if (isStale) { isStale = false; draw(); }
    };
    const update = () => { if (isSeen) drawStale(); };
    drawers.push(drawStale);
    watchers.push(() => { isStale = true; requestAnimationFrame(update); });
    new IntersectionObserver((entries) => {
      isSeen = entries[entries.length - 1].isIntersecting;
      update();
    }, { rootMargin: "300px" }).observe(element);
    let width = 0;
    new ResizeObserver(() => {
      if (element.clientWidth === width) return;
      width = element.clientWidth;
      isStale = true;
      requestAnimationFrame(update);
    }).observe(element);
  }

  addEventListener("beforeprint", () => drawers.forEach((drawStale) => drawStale()));
  // One chart at a time, so that the page answers in between. Not every browser tells when it rests.
  const whenIdle = window.requestIdleCallback || ((act) => setTimeout(act, 50));
  function drawFrom(place) {
    if (place === drawers.length) return;
    whenIdle(() => { drawers[place](); drawFrom(place + 1); });
  }
  addEventListener("load", () => drawFrom(0));

  // The filter's language: words, and comparisons of a column with a value.
  const RELATIONS = {
    "=": (a, b) => a === b, "!=": (a, b) => a !== b, "<": (a, b) => a < b, ">": (a, b) => a > b,
    "<=": (a, b) => a <= b, ">=": (a, b) => a >= b,
  };
  const places = [["field", "name", "run"], ["field", "status", "state"], ...columns];

  function columnNamed(name) {
    const wanted = name.toLowerCase();
    const ends = (column) => [column[1], column[2]].some((text) => {
      const lower = text.toLowerCase();
      return lower.endsWith("/" + wanted) || lower.endsWith("." + wanted);
    });
    return places.find((column) => [column[1], column[2]].some((t) => t.toLowerCase() === wanted))
      || places.find(ends);
  }

  function relation(column, sign, wanted) {
    const number = wanted === "" ? NaN : Number(wanted);
    return (run) => {
      const value = at(run, column);
      if (value === undefined || (value === null && column[0] !== "settings")) return false;
      if (isNumber(value) && !Number.isNaN(number)) return RELATIONS[sign](value, number);
      if (sign !== "=" && sign !== "!=") return false;
      return RELATIONS[sign](words(value).toLowerCase(), wanted.toLowerCase());
    };
  }

  const haystacks = runs.map((run) => [run.name, run.status, run.error || "", run.command || "",
    ...Object.entries(run.settings).map(([key, value]) => `${key}=${words(value)}`),
  ].join("\n").toLowerCase());
  const haystackOf = new Map(runs.map((run, k) => [run, haystacks[k]]));

  // The tests of a filter, and what in it names no column.
  function parse(text) {
    const tests = [], unknown = [];
    for (const token of text.match(/(?:"[^"]*"?|[^\s"])+/g) || []) {
      const parts = token.match(/^([^=<>!"]+)(!=|<=|>=|=|<|>)(.*)$/);
      const plain = token.replaceAll('"', "").toLowerCase();
      const column = parts && columnNamed(parts[1]);
      if (column) tests.push(relation(column, parts[2], parts[3].replaceAll('"', "")));
      else if (parts && !haystacks.some((all) => all.includes(plain))) unknown.push(parts[1]);
      else tests.push((run) => haystackOf.get(run).includes(plain));
    }
    return { tests, unknown };
  }
