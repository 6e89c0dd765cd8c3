//! All events on clusters of all kinds.

use super::cluster::{Bench, Judged, Planned};
use super::{Row, Scale, Start, row};
use crate::bench::placement::lasting::SPREAD;
use anyhow::Result;
use serde::Deserialize;
use std::fs;
use std::path::Path;

/// Policies under which a cluster is balanced, by name: until the excess is gone, and until it is what the judge's
/// bound is for.
const BALANCES: [(&str, &str); 2] = [
    ("balance to 1 %", "balance = 0.01\ndead_band = 0.0101\n"),
    ("balance to 2 %", "balance = 0.02\ndead_band = 0.0201\n"),
];

/// The judge takes minutes on large clusters; what it says of the first seed has to do.
const JUDGED_SEEDS_OF_L: u64 = 1;

/// A mebibyte.
const MIB: f64 = 1_048_576.0;

/// What goals ask of all clusters.
#[derive(Default)]
pub(super) struct Worst {
    lost: f64,
    reweighted: f64,
    balanced: f64,
    uneven: f64,
    violations: f64,
    again: f64,
}

impl Worst {
    pub(super) fn rows(&self) -> Vec<Row> {
        vec![
            row("all fail and drain: moved".to_owned(), self.lost, "of the least"),
            row("all add and reweight: moved".to_owned(), self.reweighted, "of the least"),
            row("all balance to 2 %: moved".to_owned(), self.balanced, "of the knapsack bound"),
            row("all fail1: size over what is allowed".to_owned(), self.uneven, "times"),
            row("all: violations".to_owned(), self.violations, ""),
            row("all: moves of a second run".to_owned(), self.again, ""),
        ]
    }
}

/// Plans of one kind: all runs of all seeds, and what the judge says.
struct Case {
    /// Of each plan.
    runs: usize,
    plans: Vec<Planned>,
    judged: Vec<Judged>,
}

pub(super) fn measure(bench: &Bench, scale: Scale, worst: &mut Worst) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for start in Start::ALL {
        let clusters: Vec<_> =
            (1..=bench.seeds).map(|seed| bench.cluster(scale, start, seed)).collect::<Result<_>>()?;
        for event in events(&clusters[0])? {
            let name = format!("{} {} {event}", scale.name(), start.name());
            eprintln!("{name}");
            let mut case = Case::new(bench.runs);
            for (seed, data) in (1..).zip(&clusters) {
                case.run(
                    bench,
                    data,
                    seed_is_judged(scale, seed),
                    |out| bench.simulate(data, &event, None, out),
                    &event,
                )?;
                worst.again = worst.again.max(again(bench, data, &event)?);
            }
            match event.as_str() {
                "add1" | "weight1" => worst.reweighted = worst.reweighted.max(case.moved()),
                _ => worst.lost = worst.lost.max(case.moved()),
            }
            if event == "fail1" {
                worst.uneven = worst.uneven.max(case.over_allowed());
            }
            worst.violations += case.violations();
            rows.extend(case.rows(&name));
        }
        for (what, policy) in BALANCES {
            let name = format!("{} {} {what}", scale.name(), start.name());
            eprintln!("{name}");
            let mut case = Case::new(bench.runs);
            for (seed, data) in (1..).zip(&clusters) {
                let plan = |out: &Path| bench.simulate(data, "balance", Some(policy), out);
                case.run(bench, data, seed_is_judged(scale, seed), plan, "none")?;
            }
            if what == "balance to 2 %" {
                let over = case.judged.iter().filter_map(|judged| judged.moved_over_lb2d);
                worst.balanced = over.fold(worst.balanced, f64::max);
            }
            worst.violations += case.violations();
            rows.extend(case.rows(&name));
        }
    }
    rows.extend(from_scratch(bench, scale, worst)?);
    Ok(rows)
}

fn seed_is_judged(scale: Scale, seed: u64) -> bool {
    scale != Scale::L || seed <= JUDGED_SEEDS_OF_L
}

/// The events of a cluster, by id.
fn events(data: &Path) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Event {
        id: String,
    }
    let events: Vec<Event> = serde_json::from_str(&fs::read_to_string(data.join("events.json"))?)?;
    Ok(events.into_iter().map(|event| event.id).collect())
}

/// Moves when the same is asked of what the plan leaves. An event that changes nodes does so again, but one that adds
/// a node would add another: it is asked for nothing.
fn again(bench: &Bench, data: &Path, event: &str) -> Result<f64> {
    if event == "add1" {
        return Ok(0.0);
    }
    let folder = bench.scratch("again")?;
    for file in ["nodes.csv", "parts.csv", "events.json"] {
        fs::copy(data.join(file), folder.join(file))?;
    }
    fs::copy(bench.folder().join("plan.csv"), folder.join("assign.csv"))?;
    let planned = bench.simulate(&folder, event, None, &folder.join("plan.csv"))?;
    Ok(planned.moves.map_or(0, |moved| moved.moves) as f64)
}

/// Copysets from nothing, on the clusters of the random start.
fn from_scratch(bench: &Bench, scale: Scale, worst: &mut Worst) -> Result<Vec<Row>> {
    let name = format!("{} copysets from scratch", scale.name());
    eprintln!("{name}");
    let mut case = Case::new(bench.runs);
    for seed in 1..=bench.seeds {
        let data = bench.cluster(scale, Start::Random, seed)?;
        let plan = |out: &Path| bench.copysets(&data, SPREAD, out);
        case.run(bench, &data, seed_is_judged(scale, seed), plan, "none")?;
    }
    worst.violations += case.violations();
    let least = scale.nodes() * f64::from(SPREAD) / 6.0;
    let copysets = case.worst(|planned| Some(planned.copysets.after.copysets));
    let mut rows = case.rows(&name);
    rows.push(row(format!("{name}: copysets over N S / 6"), copysets / least, "times"));
    Ok(rows)
}

impl Case {
    fn new(runs: usize) -> Self {
        Self { runs, plans: Vec::new(), judged: Vec::new() }
    }

    /// Plans one cluster as often as asked, and has the last plan judged; all are the same.
    fn run(
        &mut self,
        bench: &Bench,
        data: &Path,
        judged: bool,
        plan: impl Fn(&Path) -> Result<Planned>,
        event: &str,
    ) -> Result<()> {
        let out = bench.folder().join("plan.csv");
        for _ in 0..self.runs {
            self.plans.push(plan(&out)?);
        }
        if judged {
            self.judged.push(bench.judge(data, event, &out)?);
        }
        Ok(())
    }

    fn median(&self, of: impl Fn(&Planned) -> f64) -> f64 {
        let mut values: Vec<f64> = self.plans.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    }

    fn worst(&self, of: impl Fn(&Planned) -> Option<f64>) -> f64 {
        self.plans.iter().filter_map(of).fold(0.0, f64::max)
    }

    fn judged(&self, of: impl Fn(&Judged) -> f64) -> f64 {
        self.judged.iter().map(of).fold(0.0, f64::max)
    }

    fn moved(&self) -> f64 {
        self.judged(|judged| judged.moved_over_min.unwrap_or(0.0))
    }

    /// The highest size pressure over the highest of what there was before, what domains allow, and 1.02.
    fn over_allowed(&self) -> f64 {
        let allowed = |planned: &Planned| {
            planned.pressure.before.size.unwrap_or(1.0).max(planned.pressure.feasible).max(1.02)
        };
        // All runs of a seed are the same plan; the judge rounds to four digits.
        let pairs = self.plans.iter().step_by(self.runs).zip(&self.judged);
        pairs
            .map(|(planned, judged)| (judged.size_max_over_mean - 5e-5) / allowed(planned))
            .fold(0.0, f64::max)
    }

    fn violations(&self) -> f64 {
        // All runs of a seed are the same plan.
        let one_of_each = self.plans.iter().step_by(self.runs);
        let checked: usize = one_of_each.map(|planned| planned.violations.len()).sum();
        let judged: u64 = self.judged.iter().map(|judged| judged.violations).sum();
        checked as f64 + judged as f64
    }

    fn rows(&self, name: &str) -> Vec<Row> {
        let whole = |planned: &Planned| {
            let s = &planned.seconds;
            s.reading + s.planning + s.scheduling + s.checking + s.writing
        };
        let of = |what: &str, value: f64, unit: &str| row(format!("{name}: {what}"), value, unit);
        let mut rows = vec![
            of("planning", self.median(|planned| planned.seconds.planning), "s"),
            of("reading", self.median(|planned| planned.seconds.reading), "s"),
            of("all, with schedule, check and files", self.median(whole), "s"),
        ];
        let memory = self.worst(|planned| planned.peak_rss_bytes.map(|bytes| bytes as f64 / MIB));
        rows.push(of("memory", memory, "MiB"));
        rows.extend(
            self.judged
                .iter()
                .filter_map(|judged| judged.moved_over_min)
                .reduce(f64::max)
                .map(|moved| of("moved", moved, "of the least")),
        );
        rows.extend(
            self.judged
                .iter()
                .filter_map(|judged| judged.moved_over_lb2d)
                .reduce(f64::max)
                .map(|moved| of("moved over the bound to 2 %", moved, "of the knapsack bound")),
        );
        rows.push(of("size", self.judged(|judged| judged.size_max_over_mean), "times the mean"));
        rows.push(of("load", self.judged(|judged| judged.load_max_over_mean), "times the mean"));
        let before = self.worst(|planned| Some(planned.copysets.before.copysets));
        let after = self.judged(|judged| judged.copysets);
        rows.push(Row {
            beside: Some(before),
            of: Some("before".to_owned()),
            ratio: (before > 0.0).then(|| after / before),
            ..of("copysets", after, "")
        });
        rows.push(of("P(loss | 3 nodes)", self.judged(|judged| judged.p_loss_3), ""));
        rows.push(of("P(quorum lost | 2 nodes)", self.judged(|judged| judged.p_quorum_2), ""));
        rows.push(of("violations", self.violations(), ""));
        rows.push(of("receivers", self.judged(|judged| judged.targets as f64), "nodes"));
        rows.push(of(
            "largest receiver",
            100.0 * self.judged(|judged| judged.max_rx_share),
            "% of the bytes",
        ));
        let makespan = self.worst(|planned| planned.schedule.as_ref()?.over_bound);
        if makespan > 0.0 {
            rows.push(of("makespan", makespan, "of the least"));
        }
        rows
    }
}
