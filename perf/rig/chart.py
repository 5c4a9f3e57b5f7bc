"""The result as a picture: CPU time per request, grouped by scenario, one bar per peer."""

from html import escape

WIDTH = 1080
MARGIN_LEFT = 70
MARGIN_RIGHT = 30
MARGIN_TOP = 84
PANEL_HEIGHT = 220
PANEL_GAP = 74
PANELS_PER_ROW = 3
COLUMN_GAP = 46
# A panel with more bars than this is two columns wide.
BARS_PER_COLUMN = 7
COLORS = {
    "floor": "#9aa5b1",
    "gateway": "#d9480f",
    "nginx": "#2b8a3e",
    "haproxy": "#1971c2",
    "envoy": "#862e9c",
    "caddy": "#0b7285",
    "monoio": "#e8590c",
    "tokio": "#5c7cfa",
    "glommio": "#b08900",
}
CUT_AT_TIMES_NGINX = 2.5
INK = "#212529"
FAINT = "#868e96"
# What a scenario's panel shows, and the text under its title.
PANELS = {
    "load": ("cpu_us_per_request", "CPU µs/{unit}", 1.0),
    "cores": ("cpu_us_per_request", "CPU µs/request", 1.0),
    "idle": ("idle_bytes_per_connection", "KiB per connection", 1 / 1024),
    "reload": ("reload_p99_swap_us", "p99 of the worst second, ms", 1 / 1000),
}


def svg(result, figures, scenarios):
    """The picture as SVG text."""
    panels = [scenario for scenario in scenarios.values() if figures.labels(scenario.name)]
    places, rows = _places([2 if len(figures.labels(scenario.name)) > BARS_PER_COLUMN else 1 for scenario in panels])
    height = MARGIN_TOP + rows * (PANEL_HEIGHT + PANEL_GAP) + 20
    panel_width = (WIDTH - MARGIN_LEFT - MARGIN_RIGHT - (PANELS_PER_ROW - 1) * COLUMN_GAP) / PANELS_PER_ROW
    machine = result["machine"]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'font-family="Helvetica, Arial, sans-serif">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        _text(MARGIN_LEFT, 34, "What a proxied request costs (lower is better)", size=20, weight="bold"),
        _text(
            MARGIN_LEFT,
            56,
            f"{machine['cpu']}, {machine['cpus']} CPUs, Linux {machine['kernel']}; {result['date'][:10]}; "
            f"median of {result['rounds']} interleaved rounds, line: min to max, notched: bar is cut",
            size=12,
            color=FAINT,
        ),
    ]
    for scenario, (row, column, columns) in zip(panels, places):
        left = MARGIN_LEFT + column * (panel_width + COLUMN_GAP)
        top = MARGIN_TOP + row * (PANEL_HEIGHT + PANEL_GAP)
        parts += _panel(scenario, figures, left, top, columns * panel_width + (columns - 1) * COLUMN_GAP)
    return "\n".join([*parts, "</svg>", ""])


def _places(widths):
    """Row, column and width in columns of each panel, and the count of rows."""
    places, row, column = [], 0, 0
    for width in widths:
        if column + width > PANELS_PER_ROW:
            row, column = row + 1, 0
        places.append((row, column, width))
        column += width
    return places, row + 1


def _panel(scenario, figures, left, top, width):
    column, unit, scale = PANELS[scenario.kind]
    if scenario.is_bulk:
        column, unit, scale = "cpu_s_per_gib", "CPU seconds/GiB", 1.0
    bars = [(label, figures.value(scenario.name, label, column)) for label in figures.labels(scenario.name)]
    bars = [(label, found) for label, found in bars if found]
    parts = [
        _text(left, top + 14, f"{scenario.name}: {scenario.title}", size=13, weight="bold"),
        _text(left, top + 30, unit.format(unit=scenario.unit), size=11, color=FAINT),
    ]
    if not bars:
        return parts
    most = max(min(max(found.high for _, found in bars), _ceiling(bars)) * scale, 1e-9)
    plot_top, plot_height = top + 50, PANEL_HEIGHT - 50
    base = plot_top + plot_height
    step = width / len(bars)
    bar_width = min(46.0, step * 0.66)
    parts.append(f'<line x1="{left:.1f}" y1="{base}" x2="{left + width:.1f}" y2="{base}" stroke="{FAINT}"/>')
    for number, (label, found) in enumerate(bars):
        middle = left + step * (number + 0.5)
        parts += _bar(label, found, scale, most, middle, bar_width, base, plot_height)
    return parts


def _ceiling(bars):
    """Where the axis ends: a bar far above nginx's is cut, so that those near it can be told apart."""
    references = [found.high for label, found in bars if label.startswith("nginx") and found.median > 0]
    return CUT_AT_TIMES_NGINX * max(references) if references else float("inf")


def _bar(label, found, scale, most, middle, bar_width, base, plot_height):
    value = max(0.0, found.median * scale)
    is_cut = value > most
    tall = min(1.0, value / most) * plot_height
    low = base - min(1.0, max(0.0, found.low * scale) / most) * plot_height
    high = base - min(1.0, max(0.0, found.high * scale) / most) * plot_height
    name, _, rest = label.partition(" ")
    color = COLORS.get(name, "#495057")
    parts = [
        f'<rect x="{middle - bar_width / 2:.1f}" y="{base - tall:.1f}" width="{bar_width:.1f}" height="{tall:.1f}" '
        f'fill="{color}"><title>{escape(label)}: {value:.3g}</title></rect>',
        _cut_mark(middle, base - tall + 24, bar_width)
        if is_cut
        else f'<line x1="{middle:.1f}" y1="{low:.1f}" x2="{middle:.1f}" y2="{high:.1f}" stroke="{INK}" stroke-width="1"/>',
        _text(middle, min(base - tall, high) - 4, _short(value), size=11, anchor="middle"),
        _text(middle, base + 15, name, size=11, anchor="middle"),
    ]
    if rest:
        parts.append(_text(middle, base + 28, rest, size=9, color=FAINT, anchor="middle"))
    return parts


def _cut_mark(middle, y, bar_width):
    left, right = middle - bar_width / 2 - 3, middle + bar_width / 2 + 3
    return (
        f'<path d="M{left:.1f} {y:.1f} L{right:.1f} {y - 8:.1f} L{right:.1f} {y - 3:.1f} L{left:.1f} {y + 5:.1f} Z" '
        'fill="#ffffff"/>'
    )


def _short(value):
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _text(x, y, text, size, color=INK, weight="normal", anchor="start"):
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{color}" font-weight="{weight}" '
        f'text-anchor="{anchor}">{escape(str(text))}</text>'
    )
