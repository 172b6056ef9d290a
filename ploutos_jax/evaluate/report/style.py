"""The style sheet of the report page, and the symbols of its charts."""

_LIGHT = """
  color-scheme: light;
  --paper: #ffffff; --panel: #f6f7f9; --ink: #1b2430; --faint: #66717f; --line: #e2e6eb; --accent: #1f5fe0;
  --gain: 18 147 107; --loss: 212 61 61; --open: 184 124 8;
  --gain-line: #12936b; --loss-line: #d43d3d;
  --c0: #1f5fe0; --c1: #d97706; --c2: #0f9d76; --c3: #c2408f; --c4: #7a5af0; --c5: #8a6d3b; --c6: #0c8fb3;
  --c7: #c0392b; --c8: #6b8e23;
  --c9: #7c1d1d; --c10: #1d7c5c; --c11: #7c1d5c; --c12: #1d7c1d; --c13: #5c1d7c; --c14: #5c7c1d; --c15: #1d1d7c;
  --c16: #7c5c1d; --c17: #1d5c7c; --c18: #d05a39; --c19: #39d0bf; --c20: #d0397d; --c21: #39d05a; --c22: #bf39d0;
  --c23: #7dd039; --c24: #5a39d0; --c25: #d0bf39; --c26: #397dd0; --c27: #ae6329; --c28: #299fae; --c29: #ae2947;
  --c30: #29ae63; --c31: #ae299f; --c32: #47ae29; --c33: #6329ae; --c34: #9fae29; --c35: #2947ae;
"""
_DARK = """
  color-scheme: dark;
  --paper: #12161c; --panel: #1a2028; --ink: #e8ebf0; --faint: #96a1b0; --line: #2b333e; --accent: #6ea1ff;
  --gain: 60 207 160; --loss: 255 123 123; --open: 240 178 72;
  --gain-line: #3ccfa0; --loss-line: #ff7b7b;
  --c0: #6ea1ff; --c1: #f5a742; --c2: #3ccfa0; --c3: #ee7fc0; --c4: #a994ff; --c5: #c9a96a; --c6: #48c4e8;
  --c7: #ff8a7a; --c8: #a9cc5c;
  --c9: #ecacac; --c10: #acecd7; --c11: #ecacd7; --c12: #acecac; --c13: #d7acec; --c14: #d7ecac; --c15: #acacec;
  --c16: #ecd7ac; --c17: #acd7ec; --c18: #d66f51; --c19: #51d6c7; --c20: #d6518d; --c21: #51d66f; --c22: #c751d6;
  --c23: #8dd651; --c24: #6f51d6; --c25: #d6c751; --c26: #518dd6; --c27: #e2ad83; --c28: #83d8e2; --c29: #e28399;
  --c30: #83e2ad; --c31: #e283d8; --c32: #99e283; --c33: #ad83e2; --c34: #d8e283; --c35: #8399e2;
"""

STYLE = (
    f"""
:root {{{_LIGHT}}}
@media (prefers-color-scheme: dark) {{ :root:not([data-theme=light]) {{{_DARK}}} }}
:root[data-theme=dark] {{{_DARK}}}
"""
    + """
* { box-sizing: border-box; }
[hidden] { display: none !important; }
html { scroll-behavior: smooth; scroll-padding-top: 56px; }
body {
  margin: 0; background: var(--paper); color: var(--ink); -webkit-text-size-adjust: 100%;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
main { max-width: 1180px; margin: 0 auto; padding: 32px 28px 64px; }
h1 { font-size: 30px; line-height: 1.2; margin: 0 0 4px; letter-spacing: -0.01em; overflow-wrap: anywhere; }
h2 { font-size: 19px; margin: 0 0 12px; letter-spacing: -0.005em; }
section { margin-top: 44px; }
p { margin: 0 0 10px; max-width: 78ch; }
.span, .note { color: var(--faint); }
p.note { font-size: 14px; margin-top: 10px; }
nav {
  position: sticky; top: 0; z-index: 5; background: var(--paper); border-bottom: 1px solid var(--line); display: flex;
  gap: 4px 18px; overflow-x: auto; padding: 10px 0; margin-top: 28px; font-size: 14px; scrollbar-width: none;
}
nav a { color: var(--faint); text-decoration: none; white-space: nowrap; }
nav a:hover { color: var(--accent); }
#theme {
  float: right; font: inherit; font-size: 13px; color: var(--faint); background: none; border: 1px solid var(--line);
  border-radius: 8px; padding: 4px 10px; margin: 4px 0 0 12px; cursor: pointer;
}
.verdict {
  margin-top: 24px; background: var(--panel); border-radius: 12px; padding: 20px 24px 12px;
  border-left: 5px solid rgb(var(--open));
}
.verdict.good { border-color: rgb(var(--gain)); }
.verdict.bad { border-color: rgb(var(--loss)); }
.verdict h2 { font-size: 22px; line-height: 1.3; margin-bottom: 14px; }
.verdict dl { display: grid; grid-template-columns: 11em 1fr; gap: 10px 20px; margin: 0 0 10px; }
.verdict dt { color: var(--faint); }
.verdict dd { margin: 0; max-width: 80ch; }
.tiles { display: grid; grid-template-columns: repeat(6, 1fr); gap: 12px; margin-top: 16px; }
.tiles div { background: var(--panel); border-radius: 10px; padding: 14px 16px; }
.tiles span { display: block; color: var(--faint); font-size: 13px; }
.tiles b { font-size: 23px; font-weight: 650; font-variant-numeric: tabular-nums; white-space: nowrap; }
figure + .scroll, .scroll + .scroll { margin-top: 24px; }
.scroll { overflow-x: auto; -webkit-overflow-scrolling: touch; }
.scroll:has(.tall) { max-height: 520px; overflow-y: auto; }
table {
  border-collapse: separate; border-spacing: 0; min-width: 100%; font-size: 14px; font-variant-numeric: tabular-nums;
}
th, td { padding: 7px 9px; text-align: left; border-bottom: 1px solid var(--line); font-weight: 400; }
.numbers th, .numbers td { text-align: right; white-space: nowrap; }
th:first-child { padding-left: 0; }
.numbers th:first-child { text-align: left; position: sticky; left: 0; background: var(--paper); z-index: 1; }
thead th { color: var(--faint); font-size: 12.5px; vertical-align: bottom; }
.numbers thead th { white-space: normal; line-height: 1.25; }
.tall thead th { position: sticky; top: 0; background: var(--paper); z-index: 2; }
.tall thead th:first-child { z-index: 3; }
.sortable thead th { cursor: pointer; white-space: nowrap; }
.sortable thead th[aria-sort]::after { content: " ↑"; }
.sortable thead th[aria-sort=descending]::after { content: " ↓"; }
.strong, .total { font-weight: 650; }
th.strong { color: var(--accent); }
.won { color: var(--gain-line); }
.lost { color: var(--loss-line); }
.words th { color: var(--faint); white-space: nowrap; vertical-align: top; }
.words td { overflow-wrap: anywhere; }
.heat td:not(:first-child), .heat thead th:not(:first-child) { text-align: center; }
.tools {
  display: flex; flex-wrap: wrap; gap: 8px 20px; align-items: center; justify-content: space-between;
  margin: 20px 0 8px;
}
.tools .note { margin: 0; }
details { margin-top: 12px; }
summary { color: var(--accent); font-size: 14px; cursor: pointer; }
input[type=search] {
  font: inherit; font-size: 14px; color: var(--ink); background: var(--panel); border: 1px solid var(--line);
  border-radius: 8px; padding: 6px 10px; width: 260px; max-width: 100%;
}
figure { margin: 20px 0 0; min-width: 0; }
figcaption { font-size: 14px; margin-bottom: 6px; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 12px 36px; }
.plot {
  position: relative; height: calc(var(--h) + 26px); padding: 0 10px 0 58px; margin-bottom: 8px; touch-action: pan-y;
}
.plot.joined { height: calc(var(--h) + 14px); }
.plot.ends { padding-right: 196px; }
.plot > svg { display: block; width: 100%; height: var(--h); overflow: visible; }
.plot text { font-size: 12px; fill: var(--faint); font-variant-numeric: tabular-nums; }
.plot text.strong { font-weight: 650; }
.plot line { stroke: var(--line); }
.plot line.zero { stroke: var(--faint); }
.plot line.mark { stroke-dasharray: 4 3; }
.plot .leader { overflow: visible; }
.line { fill: none; stroke-width: 1.4; vector-effect: non-scaling-stroke; stroke-linejoin: round; }
.line.strong { stroke-width: 2.6; }
.line.thin { stroke-width: 1; }
.line.dashed { stroke-dasharray: 5 4; }
.band { fill-opacity: 0.12; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 16px; font-size: 13px; color: var(--faint); margin-bottom: 8px; }
.legend i, .tip i {
  display: inline-block; width: 12px; height: 4px; border-radius: 2px; margin-right: 6px; vertical-align: middle;
}
.legend.phone { display: none; }
.tip {
  position: absolute; top: 0; z-index: 4; background: var(--paper); border: 1px solid var(--line); border-radius: 8px;
  padding: 6px 10px; font-size: 12.5px; line-height: 1.5; pointer-events: none;
  box-shadow: 0 2px 10px rgb(0 0 0 / 0.15);
}
.tip div { white-space: nowrap; display: flex; align-items: center; }
.tip b { margin-left: auto; padding-left: 14px; font-variant-numeric: tabular-nums; }
.hair { position: absolute; top: 0; height: var(--h); width: 1px; background: var(--faint); pointer-events: none; }
@media (max-width: 640px) {
  main { padding: 20px 16px 48px; }
  h1 { font-size: 24px; }
  section { margin-top: 36px; }
  .verdict { padding: 16px 16px 8px; }
  .verdict h2 { font-size: 19px; }
  .verdict dl { display: block; }
  .verdict dd { margin-bottom: 12px; }
  .tiles { grid-template-columns: repeat(2, 1fr); gap: 8px; }
  .tiles b { font-size: 20px; }
  .words th { white-space: normal; }
  .pair { display: block; }
  .plot, .plot.ends { padding: 0 4px 0 50px; }
  .plot .end, .plot .leader, .plot .few { display: none; }
  .legend.phone { display: flex; }
  .plot.tallest { --h: 260px; }
}
@media (min-width: 641px) and (max-width: 960px) {
  .tiles { grid-template-columns: repeat(3, 1fr); }
  .pair { display: block; }
}
@media (min-width: 800px) { nav { flex-wrap: wrap; } }
@media print { nav, #theme { display: none; } .scroll:has(.tall) { max-height: none; } }
"""
)

SYMBOLS = """<svg width='0' height='0' style='position:absolute' aria-hidden='true'><defs>
<path id='buy' d='M0 0l4.5 8h-9z' fill='var(--paper)' stroke='currentColor' stroke-width='1.2'/>
<path id='sell' d='M0 0l4.5 -8h-9z' fill='currentColor' stroke='var(--paper)' stroke-width='0.6'/>
<path id='buys' d='M0 0l2.2 4h-4.4z' fill='var(--paper)' stroke='currentColor' stroke-width='0.8'/>
<path id='sells' d='M0 0l2.2 -4h-4.4z' fill='currentColor'/>
</defs></svg>"""
