  // The words of a cell of the matrix of differences, where it is pointed at or focused.
  document.querySelectorAll(".matrix").forEach((table) => {
    const readout = table.closest(".scroll").nextElementSibling;
    const show = (event) => {
      const cell = event.target.closest("[data-words]");
      if (cell) readout.textContent = cell.dataset.words;
    };
    ["pointerover", "focusin", "click"].forEach((name) => table.addEventListener(name, show));
    table.addEventListener("keydown", (event) => {
      const move = {
        ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0],
      }[event.key];
      const cell = event.target.closest("td");
      if (!move || !cell || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      let [row, column] = [cell.parentElement.rowIndex, cell.cellIndex], next;
      do {  // over the diagonal
        row += move[0];
        column += move[1];
        next = table.rows[row]?.cells[column];
      } while (next && !next.querySelector("button"));
      next?.querySelector("button").focus();
    });
  });
