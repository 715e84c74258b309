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
    theme.textContent = now() === "dark" ? "Light" : "Dark";
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
        copy.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(command);
      }
    });

  // Sorting: numbers by their first number, what has none last
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
      const way = head.getAttribute("aria-sort") === "descending" ? 1 : -1;
      for (const other of head.parentNode.querySelectorAll("[aria-sort]")) other.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", way === 1 ? "ascending" : "descending");
      const body = head.closest("table").tBodies[0];
      const rows = [...body.rows].map((row) => [value(row.cells[place]), row]);
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
  };
  for (const box of boxes) box.addEventListener("change", filter);

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
  const strip = (runs) => {
    const known = runs.filter((run) => run[3] !== null);
    if (!known.length) return null;
    const by = scale(known.map((run) => run[3]));
    const svg = draw("svg", { viewBox: `0 0 ${WIDTH} 70`, role: "img" }, "The score of each run");
    svg.append(draw("line", { x1: 10, x2: WIDTH - 10, y1: 45, y2: 45, class: "axis" }));
    known.forEach((run, i) => {
      const place = { cx: 10 + by.at(run[3]) * (WIDTH - 20), cy: 30 - 9 * ((i % 3) - 1), r: 5 };
      const lost = run[7] || run[2] !== "done";
      svg.append(draw("circle", { ...place, class: lost ? "lost" : "dot" }, `draw ${run[0]}, seed ${run[1]}: ${shown(run[3])}`));
    });
    for (const [x, v, anchor] of [[10, by.low, "start"], [WIDTH - 10, by.high, "end"]]) {
      const text = draw("text", { x, y: 62, class: "tick", "text-anchor": anchor });
      text.textContent = v.toFixed(1);
      svg.append(text);
    }
    return svg;
  };
  const curves = (found) => {
    const points = found.flatMap((curve) => curve[2]).filter((point) => point[1] !== null);
    if (points.length < 2) return null;
    const x = scale(points.map((point) => point[0])), y = scale(points.map((point) => point[1]));
    const svg = draw("svg", { viewBox: `0 0 ${WIDTH} 200`, role: "img" }, "Dev scores over the steps");
    svg.append(draw("line", { x1: 40, x2: WIDTH - 10, y1: 175, y2: 175, class: "axis" }));
    svg.append(draw("line", { x1: 40, x2: 40, y1: 10, y2: 175, class: "axis" }));
    for (const [draw_, seed, line] of found) {
      const at = line.filter((point) => point[1] !== null);
      const path = at.map((point) => `${40 + x.at(point[0]) * (WIDTH - 50)},${175 - y.at(point[1]) * 165}`).join(" ");
      svg.append(draw("polyline", { points: path, class: "line" }, `draw ${draw_}, seed ${seed}`));
    }
    const texts = [[4, 18, y.high.toFixed(1)], [4, 172, y.low.toFixed(1)], [44, 194, `step ${Math.ceil(x.low)}`], [WIDTH - 80, 194, `step ${Math.floor(x.high)}`]];
    for (const [left, top, words] of texts) {
      const text = draw("text", { x: left, y: top, class: "tick" });
      text.textContent = words;
      svg.append(text);
    }
    return svg;
  };
  const table = (caption, heads, rows) => {
    const box = make("div", null, { class: "scroll", tabindex: "0", role: "group", "aria-label": caption });
    const node = make("table"), top = make("tr"), inside = make("tbody");
    node.append(make("caption", caption));
    for (const head of heads) top.append(make("th", head, { scope: "col" }));
    const head = make("thead");
    head.append(top);
    for (const row of rows) {
      const line = make("tr");
      row.forEach((text, i) => line.append(i ? make("td", text) : make("th", text, { scope: "row" })));
      inside.append(line);
    }
    node.append(head, inside);
    box.append(node);
    return box;
  };
  const open = (cell) => {
    document.getElementById("runs-title").textContent = cell.title;
    body.replaceChildren();
    const range = cell.low === null ? "" : ` [${shown(cell.low)}, ${shown(cell.high)}]`;
    body.append(make("p", `${shown(cell.mean)} points${range}, ${cell.interval}`));
    for (const [title, svg] of [["Runs", strip(cell.runs)], ["Dev curves", curves(cell.curves)]])
      if (svg) body.append(make("h3", title), svg);
    const runs = cell.runs.map((run) => [`${run[0]}`, run[1], run[2] + (run[7] ? ", one answer" : ""), shown(run[3]), shown(run[4]), run[5], run[6]]);
    body.append(table("Each run", ["draw", "seed", "state", "score", "dev", "seconds", "digest"], runs));
    if (cell.wrong.length) {
      const rows = cell.wrong.map(([row, texts, right, given, share]) => [
        `${row + 1}`,
        right,
        given,
        share.toString(),
        texts ? texts.map((place) => data.texts[place]).join(" ⏎ ") : "(text not at hand)",
      ]);
      body.append(table("Test rows answered wrongly most often", ["row", "label", "answer", "wrong", "text"], rows));
      body.append(make("p", "wrong: the share of these runs; for numbers, the mean error", { class: "legend" }));
    }
    dialog.showModal();
  };
  for (const button of document.querySelectorAll("[data-cell]")) {
    const cell = data.cells[button.dataset.cell];
    if (cell) button.addEventListener("click", () => open(cell));
    else button.disabled = true;
  }
})();
