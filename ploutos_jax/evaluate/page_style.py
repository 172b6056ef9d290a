"""The style sheet of the report page."""

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #ffffff; --panel: #f6f7f9; --ink: #1b2430; --faint: #66717f; --line: #e2e6eb; --accent: #1f5fe0;
  --gain: 18 147 107; --loss: 212 61 61;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #12161c; --panel: #1a2028; --ink: #e8ebf0; --faint: #96a1b0; --line: #2b333e; --accent: #6ea1ff;
    --gain: 60 207 160; --loss: 255 123 123;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--paper); color: var(--ink); -webkit-text-size-adjust: 100%;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
main { max-width: 1180px; margin: 0 auto; padding: 40px 28px 64px; }
h1 { font-size: 30px; line-height: 1.2; margin: 0 0 4px; letter-spacing: -0.01em; overflow-wrap: anywhere; }
h2 { font-size: 19px; margin: 0 0 12px; letter-spacing: -0.005em; }
section { margin-top: 40px; }
p { margin: 0 0 10px; max-width: 76ch; }
.span, .note { color: var(--faint); }
.note { font-size: 14px; margin-top: 10px; }
.tiles { display: grid; grid-template-columns: repeat(6, 1fr); gap: 12px; margin-top: 24px; }
.tiles div { background: var(--panel); border-radius: 10px; padding: 14px 16px; }
.tiles span { display: block; color: var(--faint); font-size: 13px; }
.tiles b { font-size: 23px; font-weight: 650; font-variant-numeric: tabular-nums; white-space: nowrap; }
.scroll { overflow-x: auto; -webkit-overflow-scrolling: touch; }
table {
  border-collapse: separate; border-spacing: 0; min-width: 100%; font-size: 14px; font-variant-numeric: tabular-nums;
}
th, td { padding: 7px 9px; text-align: left; border-bottom: 1px solid var(--line); font-weight: 400; }
.numbers th, .numbers td { text-align: right; white-space: nowrap; }
th:first-child { padding-left: 0; }
.numbers th:first-child { text-align: left; position: sticky; left: 0; background: var(--paper); }
thead th { color: var(--faint); font-size: 12.5px; vertical-align: bottom; }
.numbers thead th { white-space: normal; line-height: 1.25; }
.strong, .total { font-weight: 650; }
th.strong { color: var(--accent); }
.words th { color: var(--faint); white-space: nowrap; vertical-align: top; }
.words td { overflow-wrap: anywhere; }
picture { display: block; margin-top: 20px; }
img { display: block; width: 100%; height: auto; border-radius: 8px; }
@media (max-width: 640px) {
  main { padding: 24px 16px 48px; }
  h1 { font-size: 24px; }
  section { margin-top: 32px; }
  .tiles { grid-template-columns: repeat(2, 1fr); gap: 8px; }
  .tiles b { font-size: 20px; }
  .words th { white-space: normal; }
}
@media (min-width: 641px) and (max-width: 960px) { .tiles { grid-template-columns: repeat(3, 1fr); } }
"""
