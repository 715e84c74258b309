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
      const tooltip = document.createElementNS("http://www.w3.org/2000/svg", "title");
      tooltip.textContent = title;
      node.append(tooltip);
    }
    return node;
  };
  const oneDecimal = (value) => (value === null ? "—" : value.toFixed(1));

  // Light and dark theme
  const theme = document.getElementById("theme");
  const prefersDark = matchMedia("(prefers-color-scheme: dark)");
  const currentTheme = () => document.documentElement.dataset.theme || (prefersDark.matches ? "dark" : "light");
  const updateButton = () => {
    theme.setAttribute("aria-pressed", String(currentTheme() === "dark"));
  };
  theme.addEventListener("click", () => {
    document.documentElement.dataset.theme = currentTheme() === "dark" ? "light" : "dark";
    updateButton();
  });
  prefersDark.addEventListener("change", updateButton);
  updateButton();

  // Copy the command
  const copy = document.getElementById("copy");
  if (copy)
    copy.addEventListener("click", async () => {
      const command = document.getElementById("command");
      try {
        await navigator.clipboard.writeText(command.textContent);
        document.getElementById("copied").textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(command);
        document.getElementById("copied").textContent = "Selected; copy it with the keyboard";
      }
    });

  // Sort a table by a column. A cell counts as its first number; cells without a number come last.
  // The first click sorts numbers in descending order and words in ascending order.
  const sortKey = (cell) => {
    const text = cell.textContent.trim();
    const match = text.replace(/,(?=\d{3})/g, "").match(/^[^\d+-]*([+-]?\d+(\.\d+)?)/);
    return { text, number: match && !/^[A-Za-z]/.test(text) ? Number(match[1]) : null };
  };
  const compare = (a, b, sign) => {
    if (a.number !== null && b.number !== null) return sign * (a.number - b.number);
    if (a.number !== null || b.number !== null) return a.number === null ? 1 : -1;
    return sign * a.text.localeCompare(b.text);
  };
  for (const button of document.querySelectorAll(".sort"))
    button.addEventListener("click", () => {
      const head = button.closest("th");
      const column = head.cellIndex;
      const body = head.closest("table").tBodies[0];
      const rows = [...body.rows].map((row) => [sortKey(row.cells[column]), row]);
      const initial = rows.some(([key]) => key.number !== null) ? "descending" : "ascending";
      const before = head.getAttribute("aria-sort");
      const direction = before === "none" ? initial : before === "descending" ? "ascending" : "descending";
      const sign = direction === "ascending" ? 1 : -1;
      for (const other of head.parentNode.querySelectorAll("[aria-sort]")) other.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", direction);
      rows.sort((a, b) => compare(a[0], b[0], sign));
      body.append(...rows.map(([, row]) => row));
    });

  // Hide methods, tasks and sizes in the tables
  const boxes = [...document.querySelectorAll("[data-filter]")];
  const filter = () => {
    const hidden = new Set(boxes.filter((box) => !box.checked).map((box) => `${box.dataset.filter}\n${box.value}`));
    for (const kind of ["method", "task", "size"])
      for (const node of document.querySelectorAll(`main [data-${kind}]`)) {
        node.hidden = ["method", "task", "size"].some((name) => hidden.has(`${name}\n${node.dataset[name]}`));
      }
    const names = [...hidden].map((key) => key.replace("\n", " "));
    document.getElementById("hidden").textContent = names.length ? `Not shown: ${names.join("; ")}` : "";
  };
  for (const box of boxes) box.addEventListener("change", filter);
  if (boxes.length)
    document.getElementById("every").addEventListener("click", () => {
      for (const box of boxes) box.checked = true;
      filter();
    });

  // Paper shows what is folded on the screen
  addEventListener("beforeprint", () => {
    for (const folded of document.querySelectorAll("main details")) folded.open = true;
  });

  // Show the runs of a cell in a dialog
  const dialog = document.getElementById("runs");
  const body = document.getElementById("runs-body");
  document.getElementById("close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  const WIDTH = 640;
  // The scale ends at the range of the score, which is open where the metric has no bound
  const scaleOf = (values, [lowest, highest]) => {
    const least = Math.min(...values), most = Math.max(...values), pad = (most - least) * 0.08 || 1;
    const low = Math.max(least - pad, lowest ?? -Infinity), high = Math.min(most + pad, highest ?? Infinity);
    return { low, high, fraction: (v) => (v - low) / (high - low) };
  };
  const write = (svg, x, y, label, anchor) => {
    const text = draw("text", { x, y, class: "tick", "text-anchor": anchor });
    text.textContent = label;
    svg.append(text);
  };
  const scoreStrip = (cell) => {
    const scored = cell.runs.filter((run) => run[3] !== null);
    if (!scored.length) return null;
    const ends = cell.low === null ? [] : [cell.low, cell.high];
    const scale = scaleOf([...scored.map((run) => run[3]), ...ends], cell.range);
    const x = (score) => 10 + scale.fraction(score) * (WIDTH - 20);
    const svg = draw("svg", { viewBox: `0 0 ${WIDTH} 74`, role: "img" }, "The score of each run, and the mean with its interval");
    svg.append(draw("line", { x1: 10, x2: WIDTH - 10, y1: 54, y2: 54, class: "axis" }));
    if (ends.length) svg.append(draw("line", { x1: x(ends[0]), x2: x(ends[1]), y1: 44, y2: 44, class: "range" }));
    if (cell.mean !== null) svg.append(draw("line", { x1: x(cell.mean), x2: x(cell.mean), y1: 38, y2: 50, class: "range" }));
    scored.forEach((run, i) => {
      const failed = run[7] || run[2] !== "done";
      const attributes = { cx: x(run[3]), cy: 20 - 9 * ((i % 3) - 1), r: 5, class: failed ? "failed" : "dot" };
      svg.append(draw("circle", attributes, `draw ${run[0]}, seed ${run[1]}: ${oneDecimal(run[3])}`));
    });
    write(svg, 10, 70, scale.low.toFixed(1), "start");
    write(svg, WIDTH - 10, 70, scale.high.toFixed(1), "end");
    return svg;
  };
  const devCurves = (cell) => {
    const lines = cell.curves.map(([number, seed, line]) => [`draw ${number}, seed ${seed}`, line, "line"]);
    if (cell.mean_curve.length) lines.push([`mean of ${cell.curve_count} runs`, cell.mean_curve, "mean"]);
    const points = lines.flatMap((line) => line[1]).filter((point) => point[1] !== null);
    if (!points.length) return null;
    const steps = points.map((point) => point[0]), first = Math.min(...steps), last = Math.max(...steps);
    const scale = scaleOf(points.map((point) => point[1]), cell.range);
    const x = (step) => 44 + (last > first ? (step - first) / (last - first) : 0.5) * (WIDTH - 60);
    const y = (score) => 175 - scale.fraction(score) * 165;
    const svg = draw("svg", { viewBox: `0 0 ${WIDTH} 200`, role: "img" }, "Dev scores over training steps");
    svg.append(draw("line", { x1: 40, x2: WIDTH - 10, y1: 175, y2: 175, class: "axis" }));
    svg.append(draw("line", { x1: 40, x2: 40, y1: 10, y2: 175, class: "axis" }));
    for (const [name, line, kind] of lines) {
      const scored = line.filter((point) => point[1] !== null);
      const path = scored.map((point) => `${x(point[0]).toFixed(1)},${y(point[1]).toFixed(1)}`).join(" ");
      if (scored.length > 1) svg.append(draw("polyline", { points: path, class: kind }, name));
      if (kind === "line")
        for (const [step, score] of scored) {
          const attributes = { cx: x(step), cy: y(score), r: 2.5, class: "dot" };
          svg.append(draw("circle", attributes, `${name}, step ${step}: ${oneDecimal(score)}`));
        }
    }
    write(svg, 36, 18, scale.high.toFixed(1), "end");
    write(svg, 36, 175, scale.low.toFixed(1), "end");
    write(svg, last > first ? 44 : x(first), 194, `step ${first}`, last > first ? "start" : "middle");
    if (last > first) write(svg, WIDTH - 16, 194, `step ${last}`, "end");
    return svg;
  };
  const makeTable = (title, heads, rows) => {
    const box = make("div", null, { class: "scroll", tabindex: "0", role: "group", "aria-label": title });
    const table = make("table"), top = make("tr"), tbody = make("tbody");
    const caption = make("caption");
    caption.append(make("span", title));
    table.append(caption);
    const kinds = heads.map((_, i) => (rows.every((row) => /^[-\d.—]*$/.test(row[i])) ? "number" : "words"));
    heads.forEach((head, i) => top.append(make("th", head, { scope: "col", class: kinds[i] })));
    const thead = make("thead");
    thead.append(top);
    for (const row of rows) {
      const line = make("tr");
      row.forEach((content, i) => {
        const cell = make(i ? "td" : "th", null, i ? { class: kinds[i] } : { scope: "row" });
        cell.append(...(Array.isArray(content) ? content.map((text) => make("div", text)) : [content]));
        line.append(cell);
      });
      tbody.append(line);
    }
    table.append(thead, tbody);
    box.append(table);
    return box;
  };
  const legend = (text) => make("p", text, { class: "legend" });
  const appendMisanswered = (wrong) => {
    if (!wrong.runs) return body.append(legend("The database does not hold the predictions of these runs."));
    if (!wrong.rows.length) return body.append(legend("No test example is predicted wrongly."));
    const textsOf = (indices) =>
      indices === null ? "not available" : indices.length ? indices.map((index) => data.texts[index]) : "left out";
    const rows = wrong.rows.map(([name, texts, label, prediction, error]) => [
      name,
      textsOf(texts),
      label,
      prediction,
      wrong.regression ? `${error}` : `${error} of ${wrong.runs}`,
    ]);
    const [title, ...lastHeads] = wrong.regression
      ? ["Test examples with the largest errors", "mean prediction", "mean error"]
      : ["Test examples with the most wrong predictions", "prediction", "wrong in"];
    const table = makeTable(title, ["example", "text", "label", ...lastHeads], rows);
    table.classList.add("texts");
    body.append(table);
    const parts = [];
    if (wrong.draw !== null) parts.push(`These are examples of draw ${wrong.draw}; every draw has its own test examples.`);
    if (!wrong.regression) parts.push("prediction: the most frequent wrong prediction; wrong in: the number of these runs that are wrong.");
    if (wrong.hidden) parts.push(`Not shown: ${wrong.hidden} more example${wrong.hidden === 1 ? "" : "s"}.`);
    if (wrong.rows.some((row) => row[1] === null))
      parts.push("The texts of this task were not available when the report was written.");
    if (wrong.rows.some((row) => row[1] !== null && !row[1].length)) parts.push("Some texts are left out to keep the page small.");
    if (parts.length) body.append(legend(parts.join(" ")));
  };
  const open = (cell) => {
    document.getElementById("runs-title").textContent = cell.title;
    body.replaceChildren();
    const range = cell.low === null ? "" : ` [${oneDecimal(cell.low)}, ${oneDecimal(cell.high)}]`;
    body.append(make("p", `${oneDecimal(cell.mean)} points${range}, ${cell.interval}`));
    const drawn = cell.curve_count > cell.curves.length ? `${cell.curves.length} of ${cell.curve_count} runs are drawn. ` : "";
    const thick = cell.mean_curve.length > 1 ? `Thick line: the mean of ${cell.curve_count} runs at the steps that all of them share.` : "";
    const marks = "Line: mean and interval. Rings: runs that diverged or predict the same class for every example.";
    for (const [title, svg, text] of [
      ["Scores of the runs", scoreStrip(cell), marks],
      ["Dev curves", devCurves(cell), drawn + thick],
    ]) {
      if (svg) body.append(make("h3", title), svg);
      if (svg && text) body.append(legend(text));
    }
    const runs = cell.runs.map(([number, seed, status, score, devScore, seconds, digest, collapsed]) => [
      `${number}`,
      seed,
      status + (collapsed ? ", collapsed" : ""),
      oneDecimal(score),
      oneDecimal(devScore),
      oneDecimal(seconds),
      digest,
    ]);
    body.append(makeTable("Runs", ["draw", "seed", "status", "score", "dev", "seconds", "digest"], runs));
    appendMisanswered(cell.wrong);
    dialog.showModal();
  };
  for (const button of document.querySelectorAll("[data-cell]")) {
    const cell = data.cells[button.dataset.cell];
    if (cell) button.addEventListener("click", () => open(cell));
    else button.disabled = true;
  }
})();
