"""How does the page of a report look, in light and dark, narrow and wide, and on paper?"""

from __future__ import annotations

from mlptrain.report.drawing import DARK, LIGHT, VARIABLES


def variables(colours: tuple[str, ...], page: str, code: str, warm: str) -> str:
    """The colours as variables of a style sheet."""
    pairs = [*zip(VARIABLES, colours, strict=True), ("page", page), ("code", code), ("warm", warm)]
    return "".join(f"--{name}:{colour};" for name, colour in pairs)


_LIGHT = variables(LIGHT, "#f5f7fa", "#eef1f6", "#fff4e5")
_DARK = variables(DARK, "#0d121b", "#1e2635", "#33270f")

COLOURS = (
    f":root{{color-scheme:light dark;{_LIGHT}}}"
    f"@media (prefers-color-scheme:dark){{:root{{{_DARK}}}}}"
    f"@media print{{:root{{{_LIGHT}color-scheme:light}}}}"
)
"""Of a page, light and dark."""
STYLE = (
    COLOURS
    + """
*{box-sizing:border-box}
html{scroll-behavior:smooth;-webkit-text-size-adjust:100%}
body{margin:0;background:var(--page);color:var(--text);font:15px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue",sans-serif}
header,main,footer{max-width:1180px;margin:0 auto;padding:0 20px}
header{padding-top:28px}
h1{font-size:1.7rem;margin:0;letter-spacing:-.02em;overflow-wrap:anywhere}
header p{margin:.2rem 0 .9rem;color:var(--faint);overflow-wrap:anywhere}
nav{display:flex;flex-wrap:wrap;gap:6px 18px;border-bottom:1px solid var(--grid);padding-bottom:12px}
nav a{color:var(--c1);text-decoration:none}
nav a:hover,nav a:focus-visible{text-decoration:underline}
h2{font-size:1.2rem;margin:2rem 0 .8rem;letter-spacing:-.01em}
h3{font-size:.98rem;margin:0 0 .5rem}
p{margin:.35rem 0}
.grid{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,430px),1fr));gap:16px;align-items:start}
.card{background:var(--paper);border:1px solid var(--grid);border-radius:10px;padding:16px 18px;margin:0;min-width:0}
.wide{grid-column:1/-1}
.scroll{overflow:auto;max-height:440px}
.verdict{font-size:1.02rem;border-left:4px solid var(--c1)}
.verdict h3{margin-top:1rem}
.state{font-weight:650;font-size:1.1rem;color:var(--c2)}
.warning,.gap{background:var(--warm);border-radius:7px;padding:8px 12px;font-size:.93rem;overflow-wrap:anywhere}
.advice{margin:.5rem 0;font-size:.93rem}
code{font:.86em/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;background:var(--code);border-radius:5px;
padding:2px 6px;overflow-wrap:anywhere}
.advice code{display:inline-block;margin-top:3px}
figure svg{display:block;width:100%;height:auto;overflow:visible}
figure.wide{overflow-x:auto}
.wide>svg{min-width:640px}
.drawing{min-width:0}
.drawing figure{overflow-x:auto}
.drawing svg{min-width:var(--least)}
svg *{stroke-linejoin:round;stroke-linecap:butt}
svg text{font-family:system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",sans-serif}
figcaption{color:var(--text);opacity:.78;font-size:.85rem;margin-top:8px;overflow-wrap:anywhere}
details{margin-top:8px;font-size:.85rem}
summary{cursor:pointer;color:var(--c1)}
table{border-collapse:collapse;font-size:.86rem;font-variant-numeric:tabular-nums;width:100%}
th,td{padding:4px 20px 4px 0;text-align:left;border-bottom:1px solid var(--grid);vertical-align:top}
td{overflow-wrap:break-word}
.n{text-align:right}
td.n{white-space:nowrap}
tbody th.n,thead th.n:first-child{text-align:left}
thead th{color:var(--faint);font-weight:600}
tbody th{font-weight:500}
tr:last-child th,tr:last-child td{border-bottom:0}
pre{margin:0;white-space:pre-wrap;overflow-wrap:anywhere;font:.82rem/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,
monospace}
footer{color:var(--faint);font-size:.82rem;padding-top:28px;padding-bottom:32px}
@media (max-width:520px){header,main,footer{padding-left:12px;padding-right:12px}.card{padding:12px 13px}
h1{font-size:1.4rem}}
@media print{body{background:#fff;font-size:11px}nav,details{display:none}.card{break-inside:avoid;border-color:#ccc}
.scroll{max-height:none;overflow:visible;break-inside:auto}p.wide{break-after:avoid}tr{break-inside:avoid}
.grid{grid-template-columns:1fr 1fr}.grid>.scroll{grid-column:1/-1}h2{break-after:avoid}
header,main,footer{max-width:none;padding:0}.wide>svg,.drawing svg{min-width:0}
table{font-size:10px}th,td{padding-right:10px}h3{break-after:avoid}}
"""
)
