"""How does the page look on which a row is typed, and predicted meanwhile?

It needs no network but its own server. The form is made by the script from the schema of the model, as text nodes and
never as HTML.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlptrain.report.style import STYLE
from mlptrain.report.text import escaped
from mlptrain.serving.lines import compact

_STYLE = """
form{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,210px),1fr));gap:14px 18px}
label{display:block;font-weight:550;font-size:.9rem;overflow-wrap:anywhere}
input,select{width:100%;min-height:38px;margin-top:4px;padding:6px 9px;font:inherit;color:var(--text);
background:var(--page);border:1px solid var(--faint);border-radius:7px}
input:focus-visible,select:focus-visible{outline:3px solid var(--c1);outline-offset:1px}
small{display:block;color:var(--faint);font-size:.78rem;margin-top:3px;overflow-wrap:anywhere}
small.far{color:var(--c2);font-weight:600}
main{display:grid;grid-template-columns:minmax(0,3fr) minmax(0,2fr);gap:18px;align-items:start;margin-top:18px}
main h2{margin:0 0 .8rem}
.said{position:sticky;top:12px}
#label{font-size:1.5rem;font-weight:650;overflow-wrap:anywhere}
#outputs td{vertical-align:middle}
meter{width:100%;min-width:70px;height:14px}
#error{color:var(--c2);overflow-wrap:anywhere}
.old{opacity:.45}
@media (max-width:760px){main{grid-template-columns:minmax(0,1fr)}.said{order:-1;max-height:45vh;overflow:auto}}
"""

SCRIPT = """
"use strict";
const schema = JSON.parse(document.getElementById("schema").textContent);
const form = document.getElementById("form"), outputs = document.getElementById("outputs");
const label = document.getElementById("label"), error = document.getElementById("error");
const answer = document.getElementById("answer"), kinds = new Map(schema.outputs.map(o => [o.name, o.kind]));
const fields = [];

function element(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function options(column) {
  return [element("option", {value: ""}, "(missing)"),
          ...column.levels.map((level, i) => element("option", {value: String(i)}, level))];
}

function field(column, i) {
  const id = "c" + i, listed = column.levels && column.levels.length <= 60 && !column.more_levels;
  const input = listed ? element("select", {id}, ...options(column))
    : element("input", {id, autocomplete: "off", placeholder: "missing"});
  const note = element("small", {id: id + "n"});
  input.setAttribute("aria-describedby", note.id);
  const value = () => listed ? (input.value === "" ? null : column.levels[Number(input.value)])
    : (input.value.trim() === "" ? null : column.form === "block" ? JSON.parse(input.value) : input.value);
  if (!listed) {
    if (column.form === "number") input.setAttribute("inputmode", "decimal");
    if (column.levels) {
      input.setAttribute("list", id + "l");
      form.append(element("datalist", {id: id + "l"}, ...column.levels.map(v => element("option", {value: v}))));
    }
  }
  if (column.typical !== undefined && column.form !== "block")
    input.value = listed ? String(column.levels.indexOf(column.typical)) : String(column.typical);
  const said = column.low !== undefined ? "in training " + short(column.low) + " to " + short(column.high)
    : column.written ? "as " + column.written : column.width ? "a list of " + column.width + " numbers" : "";
  note.textContent = said;
  const check = () => {
    const x = Number(input.value);
    const far = column.low !== undefined && input.value.trim() !== "" && (x < column.low || x > column.high);
    note.textContent = far ? "outside of training: " + short(column.low) + " to " + short(column.high) : said;
    note.className = far ? "far" : "";
  };
  input.addEventListener("input", check);
  fields.push([column.name, value]);
  form.append(element("div", {}, element("label", {for: id}, column.name), input, note));
}

function short(x) { return String(Number(x.toPrecision(5))); }

function row() {
  const found = Object.create(null);
  for (const [name, value] of fields) found[name] = value();
  return found;
}

function show(prediction) {
  const rows = Object.entries(prediction), labels = rows.filter(([name]) => kinds.get(name) === "label");
  const values = rows.filter(([name]) => kinds.get(name) !== "label");
  if (values.length > 12) values.sort((a, b) => b[1] - a[1]);
  label.textContent = (labels.length ? labels : values.slice(0, 1)).map(([, value]) => String(value)).join(", ");
  outputs.replaceChildren(...values.map(([name, value]) => {
    const cells = [element("th", {scope: "row"}, name.replace(/^probability_/, "")),
                   element("td", {class: "n"}, kinds.get(name) === "probability" ? value.toFixed(4) : String(value))];
    if (kinds.get(name) === "probability") {
      const bar = element("meter", {min: 0, max: 1, value, "aria-hidden": "true"});
      cells.push(element("td", {}, bar));
    }
    return element("tr", {}, ...cells);
  }));
}

let asked = 0, timer;
async function predict() {
  const number = ++asked;
  let problem = "";
  try {
    const response = await fetch("predict", {method: "POST", headers: {"Content-Type": "application/json"},
                                             body: JSON.stringify({rows: [row()]})});
    const found = await response.json();
    if (number !== asked) return;
    if (response.ok) show(found.predictions[0]);
    else problem = found.rows ? found.rows[0].error : found.error;
  } catch (failure) {
    problem = failure instanceof SyntaxError ? "a list of numbers is not complete" : "the server does not answer";
  }
  if (number !== asked) return;
  error.textContent = problem;
  answer.classList.toggle("old", problem !== "");
}

schema.columns.forEach(field);
form.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(predict, 120); });
form.addEventListener("submit", event => { event.preventDefault(); predict(); });
predict();
"""


def page(schema: Mapping[str, Any]) -> str:
    """The page of a model with this `schema`."""
    targets = ", ".join(schema["target"])
    data = compact(schema).replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">
<title>{escaped(schema["name"])}: predict {escaped(targets)}</title><style>{STYLE}{_STYLE}</style></head>
<body><header><h1>{escaped(schema["name"])}</h1>
<p>Predicts {escaped(targets)} from {len(schema["columns"])} columns, as you type. For programs: POST /predict,
described by <a href="schema">/schema</a>.</p></header>
<main><section class="card" aria-labelledby="row"><h2 id="row">The row</h2><form id="form" autocomplete="off"></form>
</section><section class="card said" aria-labelledby="said"><h2 id="said">{escaped(targets)}</h2>
<div id="answer" aria-live="polite" aria-atomic="true"><p id="label"></p>
<div class="scroll"><table><tbody id="outputs"></tbody></table></div></div><p id="error" role="alert"></p>
<noscript><p>The form needs JavaScript.</p></noscript></section></main>
<script type="application/json" id="schema">{data}</script><script>{SCRIPT}</script></body></html>
"""
