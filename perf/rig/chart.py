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
INK = "#212529"
FAINT = "#868e96"
# What a scenario's panel shows, and the text under its title.
PANELS = {
    "load": ("cpu_us_per_request", "CPU µs/request", 1.0),
    "cores": ("cpu_us_per_request", "CPU µs/request", 1.0),
    "idle": ("idle_bytes_per_connection", "KiB per connection", 1 / 1024),
    "reload": ("reload_p99_swap_us", "p99 of the worst second, ms", 1 / 1000),
}


def svg(result, figures, scenarios):
    """The picture as SVG text."""
    panels = [scenario for scenario in scenarios.values() if figures.labels(scenario.name)]
    rows = max(1, -(-len(panels) // PANELS_PER_ROW))
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
            f"median of {result['rounds']} interleaved rounds, line: min to max",
            size=12,
            color=FAINT,
        ),
    ]
    for number, scenario in enumerate(panels):
        left = MARGIN_LEFT + number % PANELS_PER_ROW * (panel_width + COLUMN_GAP)
        top = MARGIN_TOP + number // PANELS_PER_ROW * (PANEL_HEIGHT + PANEL_GAP)
        parts += _panel(scenario, figures, left, top, panel_width)
    return "\n".join([*parts, "</svg>", ""])


def _panel(scenario, figures, left, top, width):
    column, unit, scale = PANELS[scenario.kind]
    if scenario.is_bulk:
        column, unit, scale = "cpu_s_per_gib", "CPU seconds/GiB", 1.0
    bars = [(label, figures.value(scenario.name, label, column)) for label in figures.labels(scenario.name)]
    bars = [(label, found) for label, found in bars if found]
    parts = [
        _text(left, top + 14, f"{scenario.name}: {scenario.title}", size=13, weight="bold"),
        _text(left, top + 30, unit, size=11, color=FAINT),
    ]
    if not bars:
        return parts
    most = max(max(found.high for _, found in bars) * scale, 1e-9)
    plot_top, plot_height = top + 50, PANEL_HEIGHT - 50
    base = plot_top + plot_height
    step = width / len(bars)
    bar_width = min(46.0, step * 0.66)
    parts.append(f'<line x1="{left:.1f}" y1="{base}" x2="{left + width:.1f}" y2="{base}" stroke="{FAINT}"/>')
    for number, (label, found) in enumerate(bars):
        middle = left + step * (number + 0.5)
        parts += _bar(label, found, scale, most, middle, bar_width, base, plot_height)
    return parts


def _bar(label, found, scale, most, middle, bar_width, base, plot_height):
    value = max(0.0, found.median * scale)
    tall = value / most * plot_height
    low = base - max(0.0, found.low * scale) / most * plot_height
    high = base - max(0.0, found.high * scale) / most * plot_height
    name, _, rest = label.partition(" ")
    color = COLORS.get(name, "#495057")
    parts = [
        f'<rect x="{middle - bar_width / 2:.1f}" y="{base - tall:.1f}" width="{bar_width:.1f}" height="{tall:.1f}" '
        f'fill="{color}"><title>{escape(label)}: {value:.3g}</title></rect>',
        f'<line x1="{middle:.1f}" y1="{low:.1f}" x2="{middle:.1f}" y2="{high:.1f}" stroke="{INK}" stroke-width="1"/>',
        _text(middle, min(base - tall, high) - 4, _short(value), size=11, anchor="middle"),
        _text(middle, base + 15, name, size=11, anchor="middle"),
    ]
    if rest:
        parts.append(_text(middle, base + 28, rest, size=9, color=FAINT, anchor="middle"))
    return parts


def _short(value):
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _text(x, y, text, size, color=INK, weight="normal", anchor="start"):
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{color}" font-weight="{weight}" '
        f'text-anchor="{anchor}">{escape(str(text))}</text>'
    )
