// The page's own script: plots in the scheme's colours, the choice of a model, tabs, sorted tables. No requests.
"use strict";
(async () => {
  const root = document.documentElement;
  const byId = (id) => document.getElementById(id);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  root.classList.add("scripted");
  root.setAttribute("data-pending", "");

  // ---- plots -------------------------------------------------------------------------------------------------------
  const stored = JSON.parse(byId("plots").textContent); // {base: layout, plots: [{data, layout}]}
  const NARROW = 460; // CSS pixels of a plot, below which its texts shrink
  const EXTRA_ROW = 14; // CSS pixels that a name above its bar needs

  async function unpacked(id) {
    const bytes = Uint8Array.from(atob(byId(id).textContent.trim()), (one) => one.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).text();
  }

  async function loadPlotly() {
    const script = document.createElement("script");
    script.nonce = byId("own").nonce;
    script.textContent = await unpacked("plotly");
    document.head.append(script);
    byId("plotly").remove();
  }

  // "var(--name)" anywhere in a figure becomes the colour that the present scheme gives it.
  function coloured(value, known) {
    if (typeof value === "string") {
      const name = /^var\((--[\w-]+)\)$/.exec(value);
      if (!name) return value;
      if (!known.has(value)) {
        probe.style.color = value;
        known.set(value, getComputedStyle(probe).color);
      }
      return known.get(value);
    }
    if (Array.isArray(value)) return value.map((one) => coloured(one, known));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, coloured(one, known)]));
    }
    return value;
  }
  const probe = document.body.appendChild(document.createElement("span"));
  probe.hidden = true;

  function merged(base, own) {
    const whole = { ...base };
    for (const [key, value] of Object.entries(own)) {
      const nested = value && typeof value === "object" && !Array.isArray(value) && whole[key];
      whole[key] = nested ? merged(whole[key], value) : value;
    }
    return whole;
  }

  function laidOut(figure, width) {
    const layout = merged(stored.base, figure.layout);
    if (width >= NARROW) return layout;
    layout.font = { ...layout.font, size: 12 };
    for (const name of ["xaxis", "yaxis"]) layout[name].tickfont = { ...layout[name].tickfont, size: 11 };
    if (layout.meta === "rows") labelsAbove(layout);
    return layout;
  }

  // On a phone the names of rows would take half of the width: they move above their bars.
  function labelsAbove(layout) {
    const { tickvals, ticktext } = layout.yaxis;
    layout.height += EXTRA_ROW * tickvals.length;
    layout.yaxis.showticklabels = false;
    layout.bargap = 0.62;
    const lift = (layout.height - 70) / tickvals.length / 2 - 9;
    const font = { ...layout.yaxis.tickfont, color: layout.yaxis.tickfont.color };
    layout.annotations = tickvals.map((y, i) => ({
      xref: "paper", x: 0, xanchor: "left", y, yshift: lift, showarrow: false, font,
      text: ticktext[i].replaceAll("<br>", " "),
    }));
  }

  const drawn = new Set();
  async function draw(canvas, colours) {
    const figure = stored.plots[Number(canvas.dataset.plot)];
    const [data, layout] = coloured([figure.data, laidOut(figure, canvas.clientWidth)], colours);
    const hidden = new Set((canvas.data || []).filter((one) => one.visible === "legendonly").map((one) => one.name));
    for (const trace of data) if (hidden.has(trace.name)) trace.visible = "legendonly";
    canvas.style.height = `${layout.height}px`;
    const config = { responsive: true, displaylogo: false, displayModeBar: false, scrollZoom: false };
    await Plotly.react(canvas, data, layout, config);
    drawLegend(canvas, data);
    drawn.add(canvas);
  }

  // A legend in HTML wraps as text does and takes nothing from the plot. A click hides a curve.
  const SHAPES = {
    circle: "M8 4.5a3.5 3.5 0 1 0 .01 0", diamond: "M8 3.5L12.5 8 8 12.5 3.5 8z", square: "M4.5 4.5h7v7h-7z",
    "triangle-up": "M8 3.5l4.5 8h-9z", cross: "M6.5 4h3v2.5H12v3H9.5V12h-3V9.5H4v-3h2.5z", x: "M4 4l8 8M12 4l-8 8",
  };
  const DASHES = { dot: "2 2", dash: "5 2", dashdot: "5 2 2 2", longdash: "7 2" };
  function swatch(trace) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", "-6 0 28 16");
    const add = (path, attributes) => {
      const one = svg.appendChild(document.createElementNS(svg.namespaceURI, "path"));
      one.setAttribute("d", path);
      for (const [name, value] of Object.entries(attributes)) one.setAttribute(name, value);
    };
    const mode = trace.mode || "";
    if (trace.type === "bar") add("M0 3h16v10H0z", { fill: trace.marker.color });
    if (mode.includes("lines")) {
      const dash = DASHES[trace.line.dash] || "none";
      add("M-6 8H22", { stroke: trace.line.color, "stroke-width": 2, "stroke-dasharray": dash });
    }
    if (mode.includes("markers")) {
      const symbol = Array.isArray(trace.marker.symbol) ? "circle" : trace.marker.symbol || "circle";
      const open = symbol.endsWith("-open") || symbol === "x";
      const paint = { fill: open ? "none" : trace.marker.color, stroke: trace.marker.color, "stroke-width": 1.5 };
      add(SHAPES[symbol.replace("-open", "")] || SHAPES.circle, paint);
    }
    return svg;
  }

  const ENTITIES = { "&lt;": "<", "&gt;": ">", "&amp;": "&", "&#123;": "{" };
  const plain = (name) => name.replace(/&(?:lt|gt|amp|#123);/g, (one) => ENTITIES[one]);
  function drawLegend(canvas, data) {
    const named = data.map((trace, i) => [trace, i]).filter(([one]) => one.name && one.showlegend !== false);
    const legend = canvas.parentElement.querySelector(".legend");
    legend.replaceChildren();
    if (named.length < 2) return;
    for (const [trace, i] of named) {
      const button = legend.appendChild(document.createElement("button"));
      button.type = "button";
      button.append(swatch(trace), plain(trace.name));
      const show = () => button.setAttribute("aria-pressed", String(canvas.data[i].visible !== "legendonly"));
      button.addEventListener("click", async () => {
        const visible = canvas.data[i].visible === "legendonly" ? true : "legendonly";
        await Plotly.restyle(canvas, { visible }, [i]);
        show();
      });
      show();
    }
  }

  const visible = (element) => element.offsetParent !== null && element.clientWidth > 0;
  async function drawVisible({ again = false } = {}) {
    if (!window.Plotly) return;
    const colours = new Map();
    if (again) drawn.clear();
    for (const canvas of all(".canvas")) {
      if (drawn.has(canvas) || !visible(canvas)) continue;
      await draw(canvas, colours);
      await new Promise((next) => setTimeout(next, 0)); // let the reader scroll meanwhile
    }
  }

  // ---- light and dark ----------------------------------------------------------------------------------------------
  const media = matchMedia("(prefers-color-scheme: dark)");
  media.addEventListener("change", () => drawVisible({ again: true }));
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : media.matches);
  byId("theme").addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    drawVisible({ again: true });
  });
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth === width) return; // a phone's address bar comes and goes
    width = innerWidth;
    drawVisible({ again: true });
  });

  // ---- tabs, models, tables ----------------------------------------------------------------------------------------
  for (const tabs of all(".tabs")) {
    tabs.addEventListener("click", (event) => {
      const chosen = event.target.closest("button[data-tab]");
      if (!chosen) return;
      for (const one of all("button[data-tab]", tabs)) one.setAttribute("aria-selected", String(one === chosen));
      for (const one of all(".panel", tabs)) one.classList.toggle("later", one.dataset.panel !== chosen.dataset.tab);
      drawVisible();
    });
  }

  // One model at a time, the first to begin with; the cards of the summary choose too.
  const models = byId("models");
  function chooseModel() {
    for (const one of all("[data-model]")) one.hidden = models.value !== "" && one.dataset.model !== models.value;
    for (const one of all("[data-card]")) one.setAttribute("aria-pressed", String(one.dataset.card === models.value));
  }
  if (models) {
    models.addEventListener("change", () => {
      chooseModel();
      drawVisible();
    });
    for (const card of all("[data-card]")) {
      card.setAttribute("role", "button");
      card.tabIndex = 0;
      const choose = () => {
        models.value = models.value === card.dataset.card ? "" : card.dataset.card;
        chooseModel();
        drawVisible();
      };
      card.addEventListener("click", choose);
      card.addEventListener("keydown", (event) => {
        if (event.key === "Enter" || event.key === " ") {
          event.preventDefault();
          choose();
        }
      });
    }
    chooseModel();
  }

  function key(row, column) {
    const cell = row.cells[column];
    return cell.dataset.value === undefined ? null : Number(cell.dataset.value);
  }
  for (const button of all("button[data-sort]")) {
    button.addEventListener("click", () => {
      const head = button.closest("th");
      const column = head.cellIndex;
      const body = head.closest("table").tBodies[0];
      const up = head.getAttribute("aria-sort") !== "ascending";
      for (const one of head.parentElement.cells) one.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const rows = [...body.rows].sort((first, second) => {
        const [a, b] = [key(first, column), key(second, column)];
        if (a === null && b === null) {
          const texts = [first, second].map((row) => row.cells[column].textContent);
          return (up ? 1 : -1) * texts[0].localeCompare(texts[1], undefined, { numeric: true });
        }
        if (a === null || b === null) return a === null ? 1 : -1; // what was not measured comes last
        return (up ? 1 : -1) * (a - b);
      });
      body.append(...rows);
    });
  }

  try {
    await loadPlotly();
    await drawVisible();
  } catch (error) {
    root.classList.remove("scripted");
    byId("no-plots").hidden = false;
    throw error;
  } finally {
    root.removeAttribute("data-pending");
  }
})();
