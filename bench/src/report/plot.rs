//! The report as pictures: one bar chart for each figure that decides something, with a bar for
//! every peer, and a line from the smallest to the largest round.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::{
    backend::SVGBackend,
    chart::{ChartBuilder, ChartContext},
    coord::{Shift, cartesian::Cartesian2d, types::RangedCoordf64},
    drawing::{DrawingArea, IntoDrawingArea as _},
    element::{PathElement, Rectangle, Text},
    style::{
        BLACK, Color as _, IntoFont as _, IntoTextStyle as _, RGBColor, WHITE,
        text_anchor::{HPos, Pos, VPos},
    },
};

use crate::{
    peer::Peer,
    results::{Figure, Results},
    scenario::{Group, Scenario},
    stats::Spread,
};

/// One picture.
struct Chart {
    file: &'static str,
    title: &'static str,
    groups: &'static [Group],
    figure: Figure,
}

const CHARTS: [Chart; 11] = [
    chart("requests", "Requests per second", &[Group::Exchange], Figure::PerSecond),
    chart("requests-cpu", "CPU µs per request", &[Group::Exchange], Figure::CpuMicrosPerRequest),
    chart("requests-p99", "p99 latency in µs", &[Group::Exchange], Figure::P99Micros),
    chart("connections", "Connections per second", &[Group::Connect], Figure::PerSecond),
    chart("open-p99", "p99 latency in µs at a fixed rate", &[Group::Open], Figure::P99Micros),
    chart("streams", "GiB per second", &[Group::Bulk], Figure::GibPerSecond),
    chart("streams-cpu", "CPU seconds per GiB", &[Group::Bulk], Figure::CpuSecondsPerGib),
    chart("idle", "Bytes per quiet session", &[Group::Idle], Figure::ResidentBytesPerSession),
    chart("kube-cpu", "Cores used by the control-plane mix", &[Group::Kube], Figure::CpuCores),
    chart("kube-p99", "p99 latency of watch events in µs", &[Group::Kube], Figure::P99Micros),
    chart(
        "growth-cpu",
        "CPU µs per request or connection, beside N quiet sessions",
        &[Group::Growth],
        Figure::CpuMicrosPerRequest,
    ),
];

const fn chart(
    file: &'static str,
    title: &'static str,
    groups: &'static [Group],
    figure: Figure,
) -> Chart {
    Chart { file, title, groups, figure }
}

/// Pixels: of the whole picture, and of its parts.
const HEIGHT: u32 = 420;
const WIDTH_BASE: u32 = 240;
const WIDTH_PER_SCENARIO: u32 = 130;
const LEGEND_HEIGHT: u32 = 28;
const LEGEND_STEP: i32 = 120;
const FONT: (&str, i32) = ("sans-serif", 14);

/// Space above the tallest bar.
const HEADROOM: f64 = 1.08;

/// The part of a scenario's width that its bars take.
const BARS_SHARE: f64 = 0.84;

/// A bar: which peer, and how high.
type Bar = (Peer, Spread);

/// A scenario's name and its bars.
type Cluster = (String, Vec<Bar>);

/// Draws every chart that has something to show, and returns the names of the files.
pub(super) fn draw_all(results: &Results, dir: &Path) -> Result<Vec<String>> {
    let mut files = Vec::new();
    for chart in &CHARTS {
        let clusters = clusters(results, chart)?;
        if !clusters.is_empty() {
            let file = format!("{}.svg", chart.file);
            // The backend's errors borrow the file name.
            draw(chart.title, &clusters, &dir.join(&file))
                .map_err(|error| anyhow!("drawing {file}: {error}"))?;
            files.push(file);
        }
    }
    Ok(files)
}

fn clusters(results: &Results, chart: &Chart) -> Result<Vec<Cluster>> {
    let mut clusters = Vec::new();
    for name in &results.scenarios {
        if !chart.groups.contains(&Scenario::parse(name)?.group) {
            continue;
        }
        let peers = results.peers.iter().map(|record| record.peer);
        let bars: Vec<Bar> = peers
            .filter_map(|peer| Some((peer, results.spread(name, peer, chart.figure)?)))
            .collect();
        if !bars.is_empty() {
            clusters.push((name.clone(), bars));
        }
    }
    Ok(clusters)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Plane<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

fn draw(title: &str, clusters: &[Cluster], path: &Path) -> Result<()> {
    let count = u32::try_from(clusters.len())?;
    let size = (WIDTH_BASE + WIDTH_PER_SCENARIO * count, HEIGHT);
    let root = SVGBackend::new(path, size).into_drawing_area();
    root.fill(&WHITE)?;
    let (picture, legend) = root.split_vertically(HEIGHT - LEGEND_HEIGHT);
    let highest = clusters.iter().flat_map(|(_, bars)| bars).map(|(_, spread)| spread.max);
    let highest = highest.fold(f64::MIN_POSITIVE, f64::max) * HEADROOM;
    let mut plane = ChartBuilder::on(&picture)
        .caption(title, ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(30)
        .y_label_area_size(70)
        .build_cartesian_2d(0.0..f64::from(count), 0.0..highest)?;
    plane
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(0)
        .light_line_style(WHITE)
        .y_label_formatter(&|value| super::short(*value))
        .label_style(FONT.into_font())
        .draw()?;
    for (index, cluster) in (0..count).zip(clusters) {
        draw_cluster(&mut plane, &picture, f64::from(index), cluster)?;
    }
    draw_legend(&legend, clusters)?;
    root.present()?;
    Ok(())
}

fn draw_cluster(
    plane: &mut Plane<'_, '_>,
    picture: &Area<'_>,
    left: f64,
    cluster: &Cluster,
) -> Result<()> {
    let (name, bars) = cluster;
    let width = BARS_SHARE / bars.len() as f64;
    let start = left + (1.0 - BARS_SHARE) / 2.0;
    for (place, (peer, spread)) in bars.iter().enumerate() {
        let from = start + place as f64 * width;
        let middle = from + width / 2.0;
        let bar = [(from, 0.0), (from + width * 0.9, spread.median)];
        plane.draw_series([Rectangle::new(bar, color(*peer).filled())])?;
        let range = vec![(middle, spread.min), (middle, spread.max)];
        plane.draw_series([PathElement::new(range, BLACK)])?;
    }
    let (x, y) = plane.backend_coord(&(left + 0.5, 0.0));
    let centered = FONT.into_font().into_text_style(picture).pos(Pos::new(HPos::Center, VPos::Top));
    picture.draw(&Text::new(name.clone(), (x, y + 8), centered))?;
    Ok(())
}

fn draw_legend(area: &Area<'_>, clusters: &[Cluster]) -> Result<()> {
    let mut peers: Vec<Peer> =
        clusters.iter().flat_map(|(_, bars)| bars).map(|(peer, _)| *peer).collect();
    peers.sort_unstable();
    peers.dedup();
    for (place, peer) in (0..).zip(peers) {
        let x = 10 + place * LEGEND_STEP;
        area.draw(&Rectangle::new([(x, 6), (x + 12, 18)], color(peer).filled()))?;
        area.draw(&Text::new(peer.to_string(), (x + 18, 6), FONT.into_font()))?;
    }
    Ok(())
}

/// Colours that stay apart for the colour-blind.
fn color(peer: Peer) -> RGBColor {
    match peer {
        Peer::Mainstay => RGBColor(213, 94, 0),
        Peer::Nginx => RGBColor(0, 158, 115),
        Peer::Haproxy => RGBColor(0, 114, 178),
        Peer::HaproxySplice => RGBColor(86, 180, 233),
        Peer::Envoy => RGBColor(204, 121, 167),
        Peer::Direct => RGBColor(153, 153, 153),
    }
}
