  // The table of runs: its rows stand in the page; here they are sorted, hidden and ticked.
  const FIRST_ROWS = 100;
  const body = find("runs-table").tBodies[0], rows = [...body.rows];
  const heads = [...find("runs-table").tHead.rows[0].cells];
  const ticks = rows.map((row) => row.querySelector("input"));
  const tickAll = make("input",
    { type: "checkbox", "aria-label": "Show all filtered runs in charts" });
  let order = [...runs.keys()], sorted = null, showsAll = false;

  const columnOf = (head) => (head.dataset.column in columns ? columns[head.dataset.column]
    : ["field", head.dataset.column, head.dataset.column]);

  function arrange() {
    const matched = new Set(selection.matches);
    let num = 0;
    for (const k of order) {
      const isHidden = !matched.has(k) || (!showsAll && ++num > FIRST_ROWS);
      if (rows[k].hidden !== isHidden) rows[k].hidden = isHidden;
    }
    const ticked = selection.shown.length, left = selection.matches.length;
    find("count").textContent = `${left} of ${runs.length} ${runs.length === 1 ? "run" : "runs"}`
      + (ticked < left ? `, ${ticked} ticked` : "");
    tickAll.checked = ticked === left && left > 0;
    tickAll.indeterminate = ticked > 0 && ticked < left;
    const more = find("more");
    more.hidden = left <= FIRST_ROWS;
    more.textContent = showsAll ? `Show the first ${FIRST_ROWS}` : `Show all ${left} runs`;
    rangeNote();
  }

  function rangeNote() {
    const names = [...selection.ranges.keys()];
    if (names.length) find("count").textContent += `; ranges set: ${names.join(", ")}`;
  }

  function sort(head) {
    const column = columnOf(head);
    const startsHigh = column[0] === "metrics" && modeOf(column[1]) === "max";
    if (sorted && sorted.head === head) sorted.isUp = !sorted.isUp;
    else sorted = { head, isUp: !startsHigh };
    const value = runs.map((run) => at(run, column));
    const isAbsent = value.map((v) => v === undefined || v === null || v === "");
    const collator = new Intl.Collator("en", { numeric: true });
    const sign = sorted.isUp ? 1 : -1;
    order = [...runs.keys()].sort((a, b) => {
      if (isAbsent[a] || isAbsent[b]) return isAbsent[a] - isAbsent[b] || a - b;
      const numbers = isNumber(value[a]) && isNumber(value[b]);
      const by = numbers ? value[a] - value[b] : collator.compare(words(value[a]), words(value[b]));
      return sign * by || a - b;
    });
    const fragment = document.createDocumentFragment();
    fragment.append(...order.map((k) => rows[k]));
    body.append(fragment);
    heads.filter((other) => other.dataset.column).forEach((other) => {
      const state = other !== head ? "none" : sorted.isUp ? "ascending" : "descending";
      other.setAttribute("aria-sort", state);
    });
    arrange();
  }

  function columnMenu() {
    const fieldset = document.querySelector(".menu fieldset");
    heads.forEach((head, place) => {
      if (head.dataset.column === "name") return;
      const column = columnOf(head);
      const box = make("input", { type: "checkbox" });
      box.checked = column[3] !== false;
      const show = () => [head, ...rows.map((row) => row.cells[place])].forEach((cell) => {
        cell.hidden = !box.checked;
      });
      if (!box.checked) show();
      box.addEventListener("change", show);
      fieldset.append(make("label", {}, box, column[2] || "command"));
    });
  }

  function filter() {
    const { tests, unknown } = parse(find("filter").value);
    selection.tests = tests;
    selection.state = find("state").value;
    find("filter-words").textContent = unknown.length
      ? `There is no column ${unknown.join(", ")}.` : "";
    find("filter-words").hidden = !unknown.length;
    select();
  }

  heads.filter((head) => head.dataset.column).forEach((head) => {
    const button = make("button", { type: "button" }, ...head.childNodes);
    button.addEventListener("click", () => sort(head));
    head.setAttribute("aria-sort", "none");
    head.append(button);
  });
  heads[0].prepend(tickAll);
  heads[0].classList.add("has-tick");
  tickAll.addEventListener("change", () => {
    selection.matches.forEach((k) => { ticks[k].checked = selection.ticked[k] = tickAll.checked; });
    select();
  });
  body.addEventListener("change", (event) => {
    const k = ticks.indexOf(event.target);
    if (k < 0) return;
    selection.ticked[k] = event.target.checked;
    select();
  });
  find("filter").addEventListener("input", filter);
  find("state").addEventListener("change", filter);
  find("filters").addEventListener("submit", (event) => event.preventDefault());
  find("reset").addEventListener("click", () => {
    find("filter").value = find("state").value = "";
    selection.ticked.fill(true);
    ticks.forEach((tick) => { tick.checked = true; });
    selection.ranges.clear();
    filter();
  });
  find("more").addEventListener("click", () => { showsAll = !showsAll; arrange(); });
  columnMenu();
  watchers.push(arrange);
  filter();
