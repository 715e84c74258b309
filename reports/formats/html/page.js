"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const make = (name, text, attributes) => {
    const node = document.createElement(name);
    if (text !== undefined && text !== null) node.textContent = text;
    for (const [key, value] of Object.entries(attributes || {})) node.setAttribute(key, value);
    return node;
  };
  const draw = (name, attributes, title) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (title) {
      const said = document.createElementNS("http://www.w3.org/2000/svg", "title");
      said.textContent = title;
      node.append(said);
    }
    return node;
  };
  const shown = (value) => (value === null ? "—" : value.toFixed(1));

  // Light and dark
  const theme = document.getElementById("theme");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const now = () => document.documentElement.dataset.theme || (dark.matches ? "dark" : "light");
  const label = () => {
    theme.setAttribute("aria-pressed", String(now() === "dark"));
  };
  theme.addEventListener("click", () => {
    document.documentElement.dataset.theme = now() === "dark" ? "light" : "dark";
    label();
  });
  dark.addEventListener("change", label);
  label();

  // Copying the command
  const copy = document.getElementById("copy");
  if (copy)
    copy.addEventListener("click", async () => {
      const command = document.getElementById("command");
      try {
        await navigator.clipboard.writeText(command.textContent);
        document.getElementById("copied").textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(command);
        document.getElementById("copied").textContent = "Selected: copy it with the keyboard";
      }
    });

  // Sorting: numbers by their first number, what has none last; numbers begin with the greatest, words with A
  const value = (cell) => {
    const text = cell.textContent.trim();
    const found = text.replace(/,(?=\d{3})/g, "").match(/^[^\d+-]*([+-]?\d+(\.\d+)?)/);
    return { text, number: found && !/^[A-Za-z]/.test(text) ? Number(found[1]) : null };
  };
  const order = (a, b, way) => {
    if (a.number !== null && b.number !== null) return way * (a.number - b.number);
    if (a.number !== null || b.number !== null) return a.number === null ? 1 : -1;
    return way * a.text.localeCompare(b.text);
  };
  for (const button of document.querySelectorAll(".sort"))
    button.addEventListener("click", () => {
      const head = button.closest("th");
      const place = head.cellIndex;
      const body = head.closest("table").tBodies[0];
      const rows = [...body.rows].map((row) => [value(row.cells[place]), row]);
      const first = rows.some(([one]) => one.number !== null) ? "descending" : "ascending";
      const before = head.getAttribute("aria-sort");
      const now = before === "none" ? first : before === "descending" ? "ascending" : "descending";
      const way = now === "ascending" ? 1 : -1;
      for (const other of head.parentNode.querySelectorAll("[aria-sort]")) other.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", now);
      rows.sort((one, other) => order(one[0], other[0], way));
      body.append(...rows.map(([, row]) => row));
    });

  // Filtering
  const boxes = [...document.querySelectorAll("[data-filter]")];
  const filter = () => {
    const hidden = new Set(boxes.filter((box) => !box.checked).map((box) => `${box.dataset.filter}\n${box.value}`));
    for (const kind of ["method", "task", "size"])
      for (const node of document.querySelectorAll(`main [data-${kind}]`)) {
        const out = ["method", "task", "size"].some((one) => hidden.has(`${one}\n${node.dataset[one]}`));
        node.hidden = out;
      }
    const said = [...hidden].map((one) => one.replace("\n", " "));
    if (boxes.length) document.getElementById("hidden").textContent = said.length ? `Not shown: ${said.join("; ")}` : "";
  };
  for (const box of boxes) box.addEventListener("change", filter);
  if (boxes.length)
    document.getElementById("every").addEventListener("click", () => {
      for (const box of boxes) box.checked = true;
      filter();
    });

  // A cell's runs
  const dialog = document.getElementById("runs");
  const body = document.getElementById("runs-body");
  document.getElementById("close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  const WIDTH = 640;
  const scale = (values) => {
    const low = Math.min(...values), high = Math.max(...values), pad = (high - low) * 0.08 || 1;
    return { low: low - pad, high: high + pad, at: (v) => (v - low + pad) / (high - low + 2 * pad) };
  };
  const write = (svg, x, y, words, anchor) => {
    const text = draw("text", { x, y, class: "tick", "text-anchor": anchor });
    text.textContent = words;
    svg.append(text);
  };
  const strip = (cell) => {
    const known = cell.runs.filter((run) => run[3] !== null);
    if (!known.length) return null;
    const ends = cell.low === null ? [] : [Math.max(cell.low, 0), Math.min(cell.high, 100)];
    const by = scale([...known.map((run) => run[3]), ...ends]);
    const x = (score) => 10 + by.at(score) * (WIDTH - 20);
    const svg = draw("svg", { viewBox: `0 0 ${WIDTH} 74`, role: "img" }, "The score of each run, with the mean and its interval");
    svg.append(draw("line", { x1: 10, x2: WIDTH - 10, y1: 54, y2: 54, class: "axis" }));
    if (ends.length) svg.append(draw("line", { x1: x(ends[0]), x2: x(ends[1]), y1: 44, y2: 44, class: "range" }));
    if (cell.mean !== null) svg.append(draw("line", { x1: x(cell.mean), x2: x(cell.mean), y1: 38, y2: 50, class: "range" }));
    known.forEach((run, i) => {
      const lost = run[7] || run[2] !== "done";
      const place = { cx: x(run[3]), cy: 20 - 9 * ((i % 3) - 1), r: 5, class: lost ? "lost" : "dot" };
      svg.append(draw("circle", place, `draw ${run[0]}, seed ${run[1]}: ${shown(run[3])}`));
    });
    write(svg, 10, 70, by.low.toFixed(1), "start");
    write(svg, WIDTH - 10, 70, by.high.toFixed(1), "end");
    return svg;
  };
  const curves = (cell) => {
    const lines = cell.curves.map(([number, seed, line]) => [`draw ${number}, seed ${seed}`, line, "line"]);
    if (cell.middle.length) lines.push([`mean of ${cell.curved} runs`, cell.middle, "mean"]);
    const points = lines.flatMap((line) => line[1]).filter((point) => point[1] !== null);
    if (!points.length) return null;
    const steps = points.map((point) => point[0]), first = Math.min(...steps), last = Math.max(...steps);
    const by = scale(points.map((point) => point[1]));
    const x = (step) => 44 + (last > first ? (step - first) / (last - first) : 0.5) * (WIDTH - 60);
    const y = (score) => 175 - by.at(score) * 165;
    const svg = draw("svg", { viewBox: `0 0 ${WIDTH} 200`, role: "img" }, "Dev scores over the steps");
    svg.append(draw("line", { x1: 40, x2: WIDTH - 10, y1: 175, y2: 175, class: "axis" }));
    svg.append(draw("line", { x1: 40, x2: 40, y1: 10, y2: 175, class: "axis" }));
    for (const [name, line, kind] of lines) {
      const at = line.filter((point) => point[1] !== null);
      const path = at.map((point) => `${x(point[0]).toFixed(1)},${y(point[1]).toFixed(1)}`).join(" ");
      if (at.length > 1) svg.append(draw("polyline", { points: path, class: kind }, name));
      if (kind === "line")
        for (const [step, score] of at)
          svg.append(draw("circle", { cx: x(step), cy: y(score), r: 2.5, class: "dot" }, `${name}, step ${step}: ${shown(score)}`));
    }
    write(svg, 36, 18, by.high.toFixed(1), "end");
    write(svg, 36, 175, by.low.toFixed(1), "end");
    write(svg, last > first ? 44 : x(first), 194, `step ${first}`, last > first ? "start" : "middle");
    if (last > first) write(svg, WIDTH - 16, 194, `step ${last}`, "end");
    return svg;
  };
  const table = (caption, heads, rows) => {
    const box = make("div", null, { class: "scroll", tabindex: "0", role: "group", "aria-label": caption });
    const node = make("table"), top = make("tr"), inside = make("tbody");
    const named = make("caption");
    named.append(make("span", caption));
    node.append(named);
    const kinds = heads.map((_, i) => (rows.every((row) => /^[-\d.—]*$/.test(row[i])) ? "number" : "words"));
    heads.forEach((head, i) => top.append(make("th", head, { scope: "col", class: kinds[i] })));
    const head = make("thead");
    head.append(top);
    for (const row of rows) {
      const line = make("tr");
      row.forEach((content, i) => {
        const cell = make(i ? "td" : "th", null, i ? { class: kinds[i] } : { scope: "row" });
        cell.append(...(Array.isArray(content) ? content.map((text) => make("div", text)) : [content]));
        line.append(cell);
      });
      inside.append(line);
    }
    node.append(head, inside);
    box.append(node);
    return box;
  };
  const answers = (wrong) => {
    if (!wrong.of) return body.append(make("p", "The answers to the single test rows are not in the database.", { class: "legend" }));
    if (!wrong.rows.length) return body.append(make("p", "No test row is answered wrongly.", { class: "legend" }));
    const words = (texts) => (texts === null ? "not at hand" : texts.length ? texts.map((place) => data.texts[place]) : "left out");
    const rows = wrong.rows.map(([name, texts, right, given, off]) => [
      name,
      words(texts),
      right,
      given,
      wrong.error ? `${off}` : `${off} of ${wrong.of}`,
    ]);
    const heads = ["row", "text", "label", wrong.error ? "mean answer" : "answer", wrong.error ? "mean error" : "wrong in"];
    const shownRows = table(wrong.error ? "Test rows furthest off" : "Test rows answered wrongly most often", heads, rows);
    shownRows.classList.add("texts");
    body.append(shownRows);
    const parts = [];
    if (wrong.draw !== null) parts.push(`Rows of draw ${wrong.draw}: every draw has test rows of its own.`);
    if (!wrong.error) parts.push("answer: the commonest wrong one; wrong in: so many of these runs.");
    if (wrong.more) parts.push(`${wrong.more} more rows are not shown.`);
    if (wrong.rows.some((row) => row[1] === null)) parts.push("The texts of this task are not at hand where the report was written.");
    if (wrong.rows.some((row) => row[1] !== null && !row[1].length)) parts.push("Some texts are left out to keep the page small.");
    if (parts.length) body.append(make("p", parts.join(" "), { class: "legend" }));
  };
  const open = (cell) => {
    document.getElementById("runs-title").textContent = cell.title;
    body.replaceChildren();
    const range = cell.low === null ? "" : ` [${shown(cell.low)}, ${shown(cell.high)}]`;
    body.append(make("p", `${shown(cell.mean)} points${range}, ${cell.interval}`));
    const held = cell.curved > cell.curves.length ? `${cell.curves.length} of ${cell.curved} runs are drawn. ` : "";
    const thick = cell.middle.length > 1 ? `Thick: the mean of ${cell.curved} runs, as far as all of them go.` : "";
    for (const [title, svg, words] of [
      ["Scores of the runs", strip(cell), "Line: mean and interval. Rings: runs that broke down or give one answer for every row."],
      ["Dev curves", curves(cell), held + thick],
    ]) {
      if (svg) body.append(make("h3", title), svg);
      if (svg && words) body.append(make("p", words, { class: "legend" }));
    }
    const runs = cell.runs.map((run) => [`${run[0]}`, run[1], run[2] + (run[7] ? ", one answer" : ""), shown(run[3]), shown(run[4]), shown(run[5]), run[6]]);
    body.append(table("Each run", ["draw", "seed", "state", "score", "dev", "seconds", "digest"], runs));
    answers(cell.wrong);
    dialog.showModal();
  };
  for (const button of document.querySelectorAll("[data-cell]")) {
    const cell = data.cells[button.dataset.cell];
    if (cell) button.addEventListener("click", () => open(cell));
    else button.disabled = true;
  }
})();
