"""The page's CSS: one column of text, charts side by side where there is room, light and dark."""

STYLE = """
:root {
  color-scheme: light dark;
  --ground: #ffffff; --ink: #1c2126; --soft: #59636d; --line: #d9dee3; --panel: #f5f7f9;
  --bad: #b3261e; --good: #1e7a37;
  --c0: #1f6fb4; --c1: #c8560a; --c2: #23843a; --c3: #7d49c0; --c4: #c22f56;
  --c5: #0b8585; --c6: #86581f; --c7: #59636d;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #14181c; --ink: #e6eaee; --soft: #a3adb7; --line: #343c44; --panel: #1d2328;
    --bad: #ff8a80; --good: #7fd694;
    --c0: #6cb2f2; --c1: #f29b5c; --c2: #6fd083; --c3: #b99af5; --c4: #f2839a;
    --c5: #55cfcf; --c6: #d3a26e; --c7: #aab4bf;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 1.2rem 1rem 4rem; max-width: 88rem; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; overflow-wrap: break-word;
}
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0.4rem 0; }
h2 {
  font-size: 1.2rem; margin: 2.2rem 0 0.6rem; border-bottom: 1px solid var(--line); padding-bottom: 0.2rem;
}
h3 { font-size: 1rem; margin: 0 0 0.2rem; }
p, li { max-width: 46rem; }
.soft, figcaption { color: var(--soft); font-size: 0.88rem; }
.states { display: flex; flex-wrap: wrap; gap: 0.4rem 1.2rem; padding: 0; list-style: none; }
.states b { font-size: 1.15rem; }
.failed b, .lost b { color: var(--bad); }
.finished b { color: var(--good); }
.scroll { overflow-x: auto; max-width: 100%; }
pre {
  background: var(--panel); padding: 0.6rem 0.8rem; font-size: 0.82rem; line-height: 1.4; margin: 0.6rem 0;
}
table { border-collapse: collapse; font-size: 0.92rem; font-variant-numeric: tabular-nums; }
th, td {
  padding: 0.3rem 0.8rem 0.3rem 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--line);
}
th { color: var(--soft); font-weight: 600; vertical-align: bottom; }
td { min-width: 3.5rem; }
th.number, td.number { text-align: right; padding-left: 0.8rem; white-space: nowrap; }
td.text { max-width: 36rem; min-width: 6.5rem; }
td.text:first-child { min-width: min(13rem, 42vw); }
td.text:last-child { min-width: 14rem; }
.paper { color: var(--soft); }
.charts {
  display: grid; grid-template-columns: repeat(auto-fill, minmax(min(21rem, 100%), 1fr)); gap: 2rem 1.6rem;
}
figure { margin: 0; min-width: 0; max-width: 34rem; }
svg { display: block; width: 100%; height: auto; overflow: visible; }
svg text.axis { fill: var(--soft); font-size: 12px; }
svg .grid { stroke: var(--line); stroke-width: 1; }
svg .tick { stroke: var(--soft); }
svg g > path { fill: none; stroke: var(--color); stroke-width: 2; stroke-linejoin: round; }
svg .faint > path { stroke-width: 1; opacity: 0.35; }
svg .again > path { stroke-dasharray: 7 2; }
svg .paper > path { stroke-width: 1.2; stroke-dasharray: 5 4; }
svg .mark { fill: var(--color); stroke: none; }
svg .paper .mark { fill: var(--ground); stroke: var(--color); stroke-width: 1.5; }
svg .bar { stroke-width: 1.4; }
.legend {
  display: flex; flex-wrap: wrap; gap: 0.1rem 1rem; margin: 0.3rem 0 0; padding: 0; list-style: none;
  font-size: 0.85rem;
}
.legend li { display: flex; align-items: center; gap: 0.4rem; min-width: 0; }
.legend svg { width: 26px; flex: none; }
""" + "\n".join(f".c{number} {{ --color: var(--c{number}); }}" for number in range(8))

COLORS = 8  # that the style has; further series use them again
