"""The result as Markdown: one table per scenario, the bars, and what was not run."""

KIB = 1024

# `{unit}` is what the scenario counts.
LOAD_COLUMNS = (
    ("cpu_us_per_request", "CPU µs/{unit}", "{:.2f}"),
    ("requests_per_second", "{unit}s/s", "{:,.0f}"),
    ("rate_cpu_us_per_request", "CPU µs/request", "{:.2f}"),
    ("rate_p50_us", "p50 µs", "{:,.0f}"),
    ("rate_p99_us", "p99 µs", "{:,.0f}"),
    ("rate_p999_us", "p99.9 µs", "{:,.0f}"),
    ("pause_p99_us", "p99 of the pause µs", "{:,.0f}"),
    ("pause_max_us", "longest pause µs", "{:,.0f}"),
    ("rss_mib", "RSS MiB", "{:.1f}"),
)
BULK_COLUMNS = (
    ("cpu_s_per_gib", "CPU s/GiB", "{:.3f}"),
    ("requests_per_second", "responses/s", "{:,.0f}"),
    ("rss_mib", "RSS MiB", "{:.1f}"),
)
IDLE_COLUMNS = (
    ("idle_bytes_per_connection", "bytes/connection", "{:,.0f}"),
    ("idle_connections", "held", "{:,.0f}"),
    ("idle_rss_before_mib", "RSS before MiB", "{:.1f}"),
    ("idle_rss_after_mib", "RSS with them MiB", "{:.1f}"),
)
RELOAD_COLUMNS = (
    ("reload_p99_before_us", "p99 before µs", "{:,.0f}"),
    ("reload_p99_swap_us", "p99 of the swap's worst second µs", "{:,.0f}"),
    ("reload_swap_ms", "signal to swap ms", "{:,.0f}"),
    ("requests_per_second", "requests/s", "{:,.0f}"),
)
CORES_COLUMNS = (
    ("requests_per_cpu_second", "requests per CPU second", "{:,.0f}"),
    ("cpu_us_per_request", "CPU µs/request", "{:.2f}"),
    ("requests_per_second", "requests/s", "{:,.0f}"),
    ("busiest_thread_share", "busiest core's share", "{:.0%}"),
)
FOREIGN_SHARE_WORTH_A_WARNING = 0.05


def markdown(result, figures, scenarios, bars):
    """The whole report."""
    parts = [_heading(result)]
    for scenario in scenarios.values():
        if figures.labels(scenario.name):
            parts.append(_section(scenario, figures, result))
    parts += [_bars(bars), _not_run(result), _failures(figures), _noise(figures, scenarios)]
    return "\n".join(part for part in parts if part) + "\n"


def _heading(result):
    machine = result["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    return "\n".join(
        (
            "# Load rig",
            "",
            f"{result['date']}, `{result['command']}`, {result['rounds']} interleaved rounds of "
            f"{result['sizes']['seconds']} s after {result['sizes']['warmup']} s of warm-up.",
            "",
            f"{machine['cpu']}, {machine['cpus']} CPUs, {machine['memory_gib']} GiB, Linux {machine['kernel']} "
            f"{machine['architecture']}. The proxy on CPU {result['layout']['proxy']}, backend and load generator on "
            f"CPU {result['layout']['load']}.",
            "",
            f"Versions: {versions}.",
            "",
            "Every figure is the median over the rounds; a ratio is taken within each round first, then the median.",
            "",
        )
    )


def _columns(scenario, figures):
    if scenario.kind == "load" and scenario.is_bulk:
        return BULK_COLUMNS
    columns = {"load": LOAD_COLUMNS, "idle": IDLE_COLUMNS, "reload": RELOAD_COLUMNS, "cores": CORES_COLUMNS}
    labels = figures.labels(scenario.name)
    return [
        column
        for column in columns[scenario.kind]
        if any(figures.value(scenario.name, label, column[0]) for label in labels)
    ]


def _section(scenario, figures, result):
    columns = _columns(scenario, figures)
    titles = [
        f"{title} at {_rate(scenario, result)}" if column.startswith("rate_") else title.format(unit=scenario.unit)
        for column, title, _ in columns
    ]
    labels = figures.labels(scenario.name)
    form = columns[0][2]
    rows = []
    for label in labels:
        found = [figures.value(scenario.name, label, column) for column, _, _ in columns]
        cells = [shape.format(value.median) if value else "" for value, (_, _, shape) in zip(found, columns)]
        span = f"{form.format(found[0].low)}–{form.format(found[0].high)}" if found[0] else ""
        rows.append([label, *cells, span, str(figures.failed(scenario.name, label))])
    lines = [f"## {scenario.name}: {scenario.title}", ""]
    lines += _table(["", *titles, f"{titles[0]}, min–max", "failed"], rows)
    references = _references(scenario, labels)
    if references:
        lines += ["", f"As ratios to {' · '.join(references)}:", ""]
        lines += _table(["", *titles], [_ratios(scenario, label, columns, references, figures) for label in labels])
    return "\n".join([*lines, ""])


def _references(scenario, labels):
    """The legs that others are compared with."""
    if scenario.kind in {"reload", "cores"}:
        return []
    if scenario.routes:
        return [label for label in (f"nginx {scenario.routes} routes",) if label in labels]
    return [name for name in scenario.references if any(name in (label, label.split()[0]) for label in labels)]


def _in_same_form(label, reference):
    """The leg that `label` is compared with; a reference that is a whole label is one for all."""
    return reference if " " in reference else " ".join([reference, *label.split()[1:]])


def _ratios(scenario, label, columns, references, figures):
    cells = [label]
    for column, _, _ in columns:
        found = [
            figures.ratio(scenario.name, label, _in_same_form(label, reference), column) for reference in references
        ]
        cells.append(" · ".join(f"{ratio.median:.3f}" if ratio else "–" for ratio in found))
    return cells


def _table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|---|" + "---:|" * (len(header) - 1)]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


def _rate(scenario, result):
    return f"{int(scenario.rate * result['sizes']['rate_share']):,}/s"


def _bars(bars):
    if not bars:
        return ""
    lines = ["## bars", "", "| bar | bound | measured | |", "|---|---|---|---|"]
    lines += [f"| {bar.what} | {bar.bound} | {bar.measured} | {bar.verdict} |" for bar in bars]
    return "\n".join([*lines, ""])


def _not_run(result):
    if not result["not_run"]:
        return ""
    lines = ["## not run", ""]
    lines += [f"- {entry['scenario']}, {entry['label']}: not run: {entry['why']}" for entry in result["not_run"]]
    return "\n".join([*lines, ""])


def _failures(figures):
    lines = [
        f"- {leg['scenario']}, {leg['label']}, round {leg['round'] + 1}: {leg['figures']['failures']}"
        for leg in figures.failures()
    ]
    return "\n".join(["## failed requests", "", *lines, ""]) if lines else ""


def _noise(figures, scenarios):
    """Legs in which others used the proxy's CPU."""
    noisy = []
    for scenario in scenarios:
        if scenario == "cores":
            continue
        for label in figures.labels(scenario):
            found = figures.value(scenario, label, "foreign_cpu_share")
            if found and found.high > FOREIGN_SHARE_WORTH_A_WARNING:
                noisy.append(f"- {scenario}, {label}: {found.median:.0%} in the median round, {found.high:.0%} in the worst")
    if not noisy:
        return ""
    return "\n".join(["## noise", "", "Other processes used the proxy's CPU here, so read with care:", "", *noisy, ""])
