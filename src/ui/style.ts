/** The style of the page and of the report: one sheet, no fonts or pictures from elsewhere. */
export const STYLE = `
:root {
  color-scheme: light dark;
  --paper: #fbfbfa; --card: #fff; --ink: #1b1d21; --dim: #5b616b; --rule: #e2e4e8; --link: #1f5fbf;
  --bad: #b3261e; --warn: #8a5a00; --busy: #1f5fbf; --well: #1b7a43; --idle: #5b616b;
  --bad-soft: #fdeceb; --warn-soft: #fdf3dc; --plot: #3b78c9; --area: #3b78c922;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #15171a; --card: #1c1f23; --ink: #e8eaed; --dim: #a3aab5; --rule: #30343a; --link: #8ab4f8;
    --bad: #ff8a80; --warn: #f2c063; --busy: #8ab4f8; --well: #6fce97; --idle: #a3aab5;
    --bad-soft: #3a1f1d; --warn-soft: #352a13; --plot: #6ea3ea; --area: #6ea3ea26;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "Liberation Sans", sans-serif; }
header, main, footer { max-width: 1160px; margin: 0 auto; padding: 0 20px; }
header { display: flex; flex-wrap: wrap; gap: 4px 16px; align-items: baseline; padding-top: 18px; padding-bottom: 10px; }
header .brand { font-weight: 650; font-size: 18px; color: var(--ink); text-decoration: none; }
header .where { color: var(--dim); font-size: 13px; overflow-wrap: anywhere; }
header .asof { margin-left: auto; color: var(--dim); font-size: 13px; }
footer { color: var(--dim); font-size: 13px; padding-top: 24px; padding-bottom: 32px; }
h1 { font-size: 22px; line-height: 1.3; margin: 4px 0 8px; overflow-wrap: anywhere; }
h2 { font-size: 15px; margin: 0 0 8px; }
h3 { font-size: 13px; font-weight: 600; color: var(--dim); margin: 0 0 6px; }
a { color: var(--link); }
:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; border-radius: 3px; }
code { font: 13px/1.45 ui-monospace, "SF Mono", Menlo, "Liberation Mono", monospace; overflow-wrap: anywhere; }
.card { background: var(--card); border: 1px solid var(--rule); border-radius: 8px; padding: 14px 16px; margin: 0 0 14px; }
.card > p { margin: 0 0 4px; }
.problem { border-left: 4px solid var(--bad); background: var(--bad-soft); white-space: pre-line; overflow-wrap: anywhere; }
.said { border-left: 4px solid var(--busy); }
.tally { display: flex; flex-wrap: wrap; gap: 6px 8px; align-items: center; margin: 2px 0 14px; }
.tally a, .tally .all { border: 1px solid var(--rule); border-radius: 999px; padding: 3px 12px; text-decoration: none; color: var(--ink); background: var(--card); font-size: 14px; }
.tally a[aria-current] { border-color: var(--ink); font-weight: 600; }
.tally form { margin-left: auto; }
input[type=search] { font: inherit; font-size: 14px; color: var(--ink); background: var(--card); border: 1px solid var(--rule); border-radius: 6px; padding: 4px 10px; width: 220px; max-width: 100%; }
.dot { display: inline-block; width: 10px; height: 10px; border-radius: 50%; background: var(--idle); margin-right: 7px; }
.bad > .dot, .dot.bad { background: var(--bad); border-radius: 2px; } .warn > .dot, .dot.warn { background: var(--warn); clip-path: polygon(50% 0, 100% 100%, 0 100%); border-radius: 0; }
.busy > .dot, .dot.busy { background: var(--busy); } .well > .dot, .dot.well { background: var(--well); }
.idle > .dot, .dot.idle { background: transparent; border: 2px solid var(--idle); }
.state { font-weight: 600; white-space: nowrap; } .state.bad { color: var(--bad); } .state.warn { color: var(--warn); } .state.busy { color: var(--busy); } .state.well { color: var(--well); } .state.idle { color: var(--idle); }
.dim { color: var(--dim); } .small { font-size: 13px; }
.list { list-style: none; margin: 0; padding: 0; background: var(--card); border: 1px solid var(--rule); border-radius: 8px; }
.sync { display: grid; grid-template-columns: 154px minmax(0, 1fr) 76px 100px 64px 84px 84px; gap: 0 14px; padding: 10px 16px; align-items: start; }
.list > li + li { border-top: 1px solid var(--rule); }
.sync .name { font-weight: 600; color: var(--ink); text-decoration: none; overflow-wrap: anywhere; } .sync .name:hover { text-decoration: underline; }
.sync p { margin: 1px 0 0; overflow-wrap: anywhere; }
.sync .number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.sync .number b { display: none; font-weight: 400; color: var(--dim); }
.sync.head { color: var(--dim); font-size: 13px; padding-top: 6px; padding-bottom: 6px; border-bottom: 1px solid var(--rule); }
.sync.child { padding: 5px 16px; font-size: 14px; } .sync.child .name { font-weight: 400; }
.todo { color: var(--ink); } .todo code { background: var(--paper); border: 1px solid var(--rule); border-radius: 4px; padding: 0 5px; }
details > summary { cursor: pointer; color: var(--dim); font-size: 13px; }
.children { padding: 0 0 6px; } .children > summary { padding: 0 16px 8px 184px; }
.children ul { list-style: none; margin: 0; padding: 0; }
.spark { width: 60px; height: 16px; display: block; margin: 3px 0 0 auto; }
.bar { fill: var(--plot); } .axis { stroke: var(--rule); } .line { fill: none; stroke: var(--plot); stroke-width: 2; vector-effect: non-scaling-stroke; } .area { fill: var(--area); }
.plot { width: 100%; height: auto; display: block; } .plot text { fill: var(--dim); font-size: 10.5px; } .plot text.end { text-anchor: end; }
.plots { display: grid; grid-template-columns: 1fr 1fr; gap: 14px; } .plots .card { margin: 0; } .plots { margin-bottom: 14px; }
.standing { border-left: 4px solid var(--idle); } .standing.bad { border-color: var(--bad); background: var(--bad-soft); } .standing.warn { border-color: var(--warn); background: var(--warn-soft); } .standing.busy { border-color: var(--busy); } .standing.well { border-color: var(--well); }
.standing p { margin: 0 0 4px; overflow-wrap: anywhere; } .standing .headline { font-size: 17px; font-weight: 600; white-space: pre-line; }
dl { display: grid; grid-template-columns: 110px minmax(0, 1fr); gap: 3px 14px; margin: 0; } dt { color: var(--dim); } dd { margin: 0; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14px; } th { text-align: left; font-weight: 500; color: var(--dim); font-size: 13px; }
th, td { padding: 4px 14px 4px 0; vertical-align: top; border-bottom: 1px solid var(--rule); } tr:last-child td { border-bottom: 0; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; } td.time { white-space: nowrap; font-variant-numeric: tabular-nums; }
td.text { overflow-wrap: anywhere; min-width: 180px; }
.actions { display: flex; flex-wrap: wrap; gap: 8px; margin: 10px 0 2px; } .actions form { margin: 0; }
button { font: inherit; font-size: 14px; color: var(--ink); background: var(--card); border: 1px solid var(--dim); border-radius: 6px; padding: 4px 14px; cursor: pointer; } button:hover { border-color: var(--link); color: var(--link); }
.links { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 10px 0 0; }
.level-error { color: var(--bad); } .level-warn { color: var(--warn); }
.visually-hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
@media (max-width: 860px) {
  .sync { grid-template-columns: 150px minmax(0, 1fr); } .sync.head { display: none; } .sync .spark-cell { display: none; }
  .sync .numbers { grid-column: 2; display: flex; flex-wrap: wrap; gap: 0 14px; font-size: 13px; } .sync .number { text-align: left; } .sync .number b { display: inline; } .sync .number:empty { display: none; }
  .children > summary { padding-left: 180px; } .plots { grid-template-columns: 1fr; }
}
@media (min-width: 861px) { .sync .numbers { display: contents; } }
@media (max-width: 520px) {
  header, main, footer { padding-left: 12px; padding-right: 12px; } .sync { grid-template-columns: minmax(0, 1fr); padding: 10px 12px; } .sync .numbers { grid-column: 1; } .children > summary { padding-left: 12px; }
  dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: 6px; } header .asof { margin-left: 0; } .tally form { margin-left: 0; width: 100%; } input[type=search] { width: 100%; }
}
@media (prefers-reduced-motion: no-preference) { .changed { animation: changed 1.2s ease-out; } @keyframes changed { from { background: var(--area); } } }
@media print { .actions, .links, header .asof { display: none; } }
`.trim();
