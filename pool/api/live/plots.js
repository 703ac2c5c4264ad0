// Plots of the last hours, drawn as SVG. What is not known is a gap, not a zero.

import { draw, make } from "./dom.js";
import { hour, span } from "./words.js";

const [WIDTH, HEIGHT, LEFT, BOTTOM, TOP] = [400, 122, 40, 18, 8];

//: As short as an axis wants it.
const brief = (s) => (s >= 120 ? `${+(s / 60).toFixed(1)} min` : s >= 10 ? `${Math.round(s)} s` : span(s));

const PLOTS = [
  { title: "Wait for a container", unit: span, lines: [["p50", "wait_p50_s"], ["p95", "wait_p95_s"]] },
  { title: "Use of a container", unit: span, lines: [["p50", "use_p50_s"], ["p95", "use_p95_s"]] },
  { title: "Reset", unit: span, lines: [["p50", "reset_p50_s"], ["p95", "reset_p95_s"]] },
  { title: "Share in use", unit: (share) => `${Math.round(share * 100)} %`, most: 1, bars: "utilisation" },
];

/** Draw all plots of a pool's hours into a place, in the place of what was there. */
export function plot(place, hours) {
  place.replaceChildren(...PLOTS.map((plot) => figure(plot, hours)), table(hours));
}

/** Whether there is anything to draw. */
export function isTelling(hours) {
  return hours.some((each) => PLOTS.some((plot) => keys(plot).some((key) => each[key] != null && each[key] > 0)));
}

const keys = ({ lines = [], bars }) => [...lines.map(([, key]) => key), ...(bars ? [bars] : [])];

function figure(plot, hours) {
  const values = keys(plot).flatMap((key) => hours.map((each) => each[key]).filter((value) => value != null));
  const most = plot.most ?? nice(Math.max(...values, 0));
  const svg = draw("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": summary(plot, hours, values) });
  const x = (index) => LEFT + ((index + 0.5) * (WIDTH - LEFT - 4)) / hours.length;
  const y = (value) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - Math.min(value / most, 1));
  for (const value of [0, most / 2, most]) {
    svg.append(draw("path", { class: "grid", d: `M${LEFT} ${y(value).toFixed(1)}H${WIDTH - 4}` }));
    svg.append(draw("text", { class: "tick", x: LEFT - 5, y: (y(value) + 3).toFixed(1), "text-anchor": "end" }, value === 0 ? "0" : (plot.bars ? plot.unit : brief)(value)));
  }
  hours.forEach((each, index) => {
    const start = Date.parse(each.start);
    if (index % 6 === hours.length % 6) svg.append(draw("text", { class: "tick", x: x(index).toFixed(1), y: HEIGHT - 4, "text-anchor": "middle" }, hour(start)));
  });
  if (plot.bars) svg.append(bars(hours.map((each) => each[plot.bars]), x, y, (WIDTH - LEFT - 4) / hours.length));
  (plot.lines ?? []).forEach(([name, key]) => svg.append(...line(name, hours.map((each) => each[key]), x, y)));
  const legend = (plot.lines ?? []).map(([name]) => make("span", { class: `legend ${name}` }, name));
  return make("figure", {}, make("figcaption", {}, plot.title, ...legend), svg);
}

function line(name, values, x, y) {
  let path = "";
  values.forEach((value, index) => {
    if (value == null) return;
    const begins = values[index - 1] == null;
    path += `${begins ? "M" : "L"}${x(index).toFixed(1)} ${y(value).toFixed(1)}`;
    if (begins && values[index + 1] == null) path += "h0.1"; // alone: a dot
  });
  return [draw("path", { class: `line ${name}`, d: path })];
}

function bars(values, x, y, width) {
  const path = values.map((value, index) => (value == null ? "" : `M${(x(index) - width * 0.36).toFixed(1)} ${y(0)}V${y(value).toFixed(1)}h${(width * 0.72).toFixed(1)}V${y(0)}z`));
  return draw("path", { class: "bars", d: path.join("") });
}

/** The next round number above, so that the axis has figures that are easy to read. */
function nice(value) {
  if (!(value > 0)) return 1;
  const unit = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 3, 5, 10].map((step) => step * unit).find((step) => step >= value * 0.999);
}

function summary(plot, hours, values) {
  if (!values.length) return `${plot.title}: nothing known`;
  const of = (key) => hours.map((each) => each[key]).filter((value) => value != null);
  const parts = (plot.lines ?? [["share", plot.bars]]).map(([name, key]) => {
    const known = of(key);
    return known.length ? `${name} ${plot.unit(Math.min(...known))} to ${plot.unit(Math.max(...known))}` : `${name} not known`;
  });
  return `${plot.title}, last ${hours.length} hours: ${parts.join(", ")}`;
}

/** The same as figures, for who reads them rather. */
function table(hours) {
  const columns = PLOTS.flatMap((plot) => (plot.lines ?? [["", plot.bars]]).map(([name, key]) => ({ head: `${plot.title} ${name}`.trim(), key, unit: plot.unit })));
  const head = make("tr", {}, make("th", { scope: "col" }, "Hour"), ...columns.map(({ head }) => make("th", { scope: "col" }, head)));
  const rows = hours.map((each) => make("tr", {}, make("th", { scope: "row" }, hour(Date.parse(each.start))),
    ...columns.map(({ key, unit }) => make("td", {}, each[key] == null ? "–" : unit(each[key])))));
  return make("details", {}, make("summary", {}, "As figures"),
    make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Figures of the last hours" }, make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows))));
}
