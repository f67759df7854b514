"""A review as one self-contained HTML page: pictures are data URIs."""

import base64

import jinja2

from usd.diff.layout import BAD, GOOD, NONE, Review

MOST = 5000  # rows of a table


def html(review: Review) -> str:
    """The page."""
    return PAGE.render(review=review, most=MOST)


def _uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()


TONES = dict.fromkeys(BAD, "bad") | dict.fromkeys(GOOD, "good")
ENVIRONMENT = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
ENVIRONMENT.filters |= {"uri": _uri}
ENVIRONMENT.globals |= {"tones": TONES, "absent": NONE}
PAGE = ENVIRONMENT.from_string(
    """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>usd diff: {{ review.base }} → {{ review.head }}</title>
<style>
:root{color-scheme:light dark;--ink:#1c2024;--soft:#60666d;--line:#e3e6e9;--page:#fff;--card:#f7f8f9;
 --good:#0f7038;--bad:#b42318;--bad-page:#fef3f2}
@media (prefers-color-scheme:dark){:root{--ink:#e8eaed;--soft:#9aa1a9;--line:#34393f;--page:#15181b;--card:#1e2226;
 --good:#5cc98a;--bad:#ff8a7d;--bad-page:#2c1a19}}
body{font:15px/1.55 system-ui,sans-serif;color:var(--ink);background:var(--page);max-width:1080px;
 margin:2.5rem auto;padding:0 1.25rem}
h1{font-size:1.5rem;line-height:1.25;margin:0 0 .25rem}
h2{font-size:1.15rem;margin:2.5rem 0 .5rem;padding-top:1rem;border-top:1px solid var(--line)}
h2 span{color:var(--soft);font-weight:400}
h3{font-size:.95rem;margin:1.25rem 0 .25rem}
p{margin:.5rem 0}.soft,figcaption,.more{color:var(--soft)}
.parts{display:flex;flex-wrap:wrap;gap:.5rem;margin:1.25rem 0;padding:0;list-style:none}
.parts li{background:var(--card);border:1px solid var(--line);border-radius:.5rem;padding:.35rem .75rem}
.parts b{display:block;font-size:.8rem;color:var(--soft);font-weight:500}
.bad-box{background:var(--bad-page);border-left:3px solid var(--bad);border-radius:.25rem;
 padding:.6rem 1rem;margin:1.25rem 0}
.bad-box ul{margin:.25rem 0 0;padding-left:1.2rem}
.scroll{overflow-x:auto}
table{border-collapse:collapse;margin:.5rem 0 1rem;font-variant-numeric:tabular-nums}
th,td{padding:.3rem 1rem .3rem 0;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}
th{font-weight:500;font-size:.85rem;color:var(--soft);white-space:nowrap}
code{font:.88em ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;overflow-wrap:anywhere}
.good{color:var(--good)}.bad{color:var(--bad);font-weight:600}
details{margin:.5rem 0}summary{cursor:pointer;color:var(--soft)}
.pairs{display:flex;flex-wrap:wrap;gap:1.25rem 1.5rem;margin:.75rem 0}
.pair{margin:0}.pair.wide{flex-basis:100%}
.sides{display:flex;gap:.5rem;align-items:flex-start}
.sides>div{flex:0 1 auto;min-width:0}
.sides small{display:block;color:var(--soft)}
img{display:block;image-rendering:pixelated;max-width:100%;border-radius:.25rem}
.pair:not(.wide) img{width:128px}.pair.wide img{image-rendering:auto}
.none{width:128px;height:128px;border:1px dashed var(--line);border-radius:.25rem}
</style>
</head>
<body>
<h1>{{ "What changed" if review.changed else "No change" }}</h1>
<p class="soft">{{ review.base }} → {{ review.head }}</p>
{% if review.changed %}
<ul class="parts">
{% for part, words in review.changed.items() %}
<li><b>{{ part }}</b>{{ words }}</li>
{% endfor %}
</ul>
{% if review.unchanged %}
<p class="soft">Unchanged: {{ review.unchanged | join(", ") }}.</p>
{% endif %}
{% else %}
<p>{{ review.headline }}</p>
{% endif %}
{% if review.regressions %}
<div class="bad-box"><b class="bad">Regressions: {{ review.regressions | length }}</b>
<ul>
{% for each in review.regressions[:most] %}
<li>{{ each }}</li>
{% endfor %}
</ul></div>
{% endif %}
{% macro show(table) %}
<div class="scroll"><table>
<thead><tr>{% for cell in table.head %}<th>{{ cell }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in table.rows[:most] %}
<tr>{% for cell in row %}<td{% if loop.index > table.code and cell in tones %} class="{{ tones[cell] }}"{% endif %}>
{%- if loop.index <= table.code and cell != absent %}<code>{{ cell }}</code>{% else %}{{ cell }}{% endif %}</td>
{%- endfor %}</tr>
{% endfor %}
</tbody>
</table></div>
{% if table.rows | length > most %}
<p class="more">… and {{ table.rows | length - most }} more</p>
{% endif %}
{% endmacro %}
{% for section in review.sections %}
<section>
<h2>{{ section.title }} <span>{{ section.summary }}</span></h2>
{% for note in section.notes %}
<p class="soft">{{ note }}</p>
{% endfor %}
{% for table in section.tables %}
{% if table.folded %}
<details><summary>{{ table.title }}</summary>
{{ show(table) }}
</details>
{% else %}
{% if table.title %}
<h3>{{ table.title }}</h3>
{% endif %}
{{ show(table) }}
{% endif %}
{% endfor %}
{% if section.pictures %}
<h3>{{ section.gallery }}</h3>
<div class="pairs">
{% for picture in section.pictures %}
<figure class="pair{{ ' wide' if section.title == 'Figures' }}">
<figcaption><code>{{ picture.title }}</code> {{ picture.state }}</figcaption>
<div class="sides">
{% for side, png in (("before", picture.before), ("after", picture.after)) %}
<div><small>{{ side }}</small>
{% if png %}
<img alt="{{ picture.title }}, {{ side }}" src="{{ png | uri }}">
{% else %}
<div class="none"></div>
{% endif %}
</div>
{% endfor %}
</div>
</figure>
{% endfor %}
</div>
{% endif %}
</section>
{% endfor %}
</body>
</html>
"""
)
