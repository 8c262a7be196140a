"""How a report looks: one table of colours for light and for dark, and the page's style sheet."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Theme:
    """Colours as #rrggbb.

    Attributes:
        paper: background.
        panel: background of what stands out.
        ink: text.
        muted: text of less weight.
        line: rules and grids.
        right: what is right, and links; a blue.
        wrong: what is wrong; an orange that the colour-blind tell from the blue.
    """

    paper: str
    panel: str
    ink: str
    muted: str
    line: str
    right: str
    wrong: str


LIGHT = Theme(
    paper="#ffffff",
    panel="#f3f5f8",
    ink="#1a212c",
    muted="#525d6b",
    line="#d3d9e1",
    right="#0a63ad",
    wrong="#b5470a",
)
DARK = Theme(
    paper="#14181e",
    panel="#1e242d",
    ink="#e7ebf0",
    muted="#a6b0bc",
    line="#3a4450",
    right="#64b5f2",
    wrong="#f29a55",
)

_RULES = """
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);line-height:1.5;
 font-family:system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif}
header,main,footer{max-width:64rem;margin:0 auto;padding:0 1rem}
header{padding-top:1.5rem}
h1{font-size:clamp(1.5rem,5vw,2.1rem);line-height:1.2;margin:0 0 .75rem;overflow-wrap:anywhere}
h2{font-size:1.3rem;margin:0 0 .75rem}
h3{font-size:1.05rem;margin:1.5rem 0 .5rem}
section{margin:2.5rem 0}
p,ul{max-width:46rem}
a{color:var(--right)}
nav ul{list-style:none;max-width:none;margin:0;padding:0;
 display:flex;flex-wrap:wrap;gap:.25rem 1.1rem}
nav a{display:inline-block;padding:.3rem 0}
:focus-visible{outline:3px solid var(--right);outline-offset:2px}
.tiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(9.5rem,1fr));gap:.75rem;margin:0}
.tiles>div{background:var(--panel);border-radius:.5rem;padding:.75rem .9rem}
.tiles dt{color:var(--muted);font-size:.9rem}
.tiles dd{margin:0;font-size:1.55rem;font-weight:650;font-variant-numeric:tabular-nums}
.tiles small{display:block;color:var(--muted);font-size:.8rem;font-weight:400;line-height:1.35}
.notes{border-left:4px solid var(--wrong);background:var(--panel);border-radius:.25rem;
 padding:.9rem 1rem .9rem 2.2rem;margin:0}
.notes li{overflow-wrap:anywhere}
.scroll{overflow:auto;max-width:100%}
.tall{max-height:36rem;border:1px solid var(--line);border-radius:.4rem}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
caption{text-align:left;color:var(--muted);padding:0 0 .5rem}
.tall caption{padding:.5rem .6rem}
th,td{text-align:left;padding:.35rem .6rem;border-bottom:1px solid var(--line);vertical-align:top}
th{font-weight:600}
thead th{background:var(--panel);position:sticky;top:0;z-index:1;white-space:nowrap}
tbody th{font-weight:500;overflow-wrap:anywhere;min-width:8rem}
td{overflow-wrap:anywhere}
.number{text-align:right;white-space:nowrap}
.facts th{color:var(--muted);min-width:0;white-space:nowrap;padding-left:0}
.bar{display:inline-block;width:5rem;height:.6rem;margin-right:.5rem;background:var(--line);
 border-radius:.3rem;overflow:hidden}
.bar>i{display:block;height:100%;background:var(--right)}
figure{margin:0}
figcaption{color:var(--muted);font-size:.92rem;max-width:46rem;margin-top:.4rem}
.chart img{display:block;max-width:none;width:100%;height:auto}
.wall{display:grid;grid-template-columns:repeat(auto-fill,minmax(12rem,1fr));gap:1rem;
 list-style:none;margin:0;padding:0;max-width:none}
.wall figure{background:var(--panel);border-radius:.5rem;overflow:hidden;height:100%}
.wall img,.blank{display:block;width:100%;height:auto;aspect-ratio:1;object-fit:contain;
 background:var(--line)}
.blank{display:flex;align-items:center;justify-content:center;color:var(--ink);font-size:.9rem}
.wall figcaption{padding:.6rem .75rem .75rem;margin:0;line-height:1.35;font-size:.9rem;
 overflow-wrap:anywhere}
.wall dl{margin:0;display:grid;grid-template-columns:auto 1fr;gap:0 .5rem}
.wall dt{color:var(--muted)}
.wall dd{margin:0;color:var(--ink);font-weight:600;min-width:0}
.wall .wrong{color:var(--wrong)}
.wall p{margin:0}
.wall .id{margin:.35rem 0 0;font-size:.8rem}
details{margin:1rem 0}
summary{cursor:pointer;padding:.3rem 0;color:var(--right)}
footer{color:var(--muted);font-size:.9rem;border-top:1px solid var(--line);padding:1rem;
 margin-top:3rem}
@media (max-width:36rem){.facts th,.facts td{display:block;padding-left:0}
 .facts th{border:0;padding-bottom:0;white-space:normal}
 .facts tr{display:block}
 .bar{display:none}
 th,td{padding:.3rem .4rem}
 tbody th{min-width:6rem}
 .wall{grid-template-columns:repeat(2,minmax(0,1fr));gap:.6rem}
 .wall figcaption{padding:.5rem}
 .wall dl{grid-template-columns:1fr}}
@media print{.scroll,.tall{overflow:visible;max-height:none;border:0}
 nav{display:none}
 section,figure,tr{break-inside:avoid}
 thead th{position:static}}
"""


def style_sheet() -> str:
    """The page's rules, with both sets of colours."""
    return (
        f":root{{color-scheme:light dark;{_variables(LIGHT)}}}\n"
        f"@media (prefers-color-scheme:dark){{:root{{{_variables(DARK)}}}}}{_RULES}"
    )


def _variables(theme: Theme) -> str:
    return "".join(f"--{field.name}:{getattr(theme, field.name)};" for field in fields(theme))
