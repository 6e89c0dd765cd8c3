//! The check of an adapter: whether it keeps the contract, told by a suite of small stories.
//!
//! It moves one partition to another node and back, again and again, and is rude meanwhile: it repeats calls, sends old
//! ones, goes away in the middle, aborts in every phase, and, given a way to restart the adapter, kills it. It knows
//! nothing of the store; what it cannot try it skips, and says so.

mod args;
mod bench;
mod crashes;
mod looks;
mod moves;
mod phases;
mod progress;
mod reads;
mod refusals;
mod report;
mod trial;

pub use args::CheckArgs;
pub use report::{Checked, Finding, Report};

use bench::Bench;
use isotherm_proto::tls::{ClientFiles, TlsError};
use std::time::Instant;

/// What is to be checked, and how.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The partition to move. Default: the smallest one that can be moved.
    pub partition: Option<String>,
    /// The node to move it to. Default: one that is up and does not hold it.
    pub target: Option<String>,
    /// A shell command that kills the adapter and starts it again. Without, crashes are skipped.
    pub restart: Option<String>,
    /// Certificates, for `https://`.
    pub tls: Option<ClientFiles>,
    /// Names of stories; empty for all.
    pub only: Vec<String>,
}

/// Why nothing could be checked.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// No address.
    #[error("{endpoint:?} is no address such as \"http://127.0.0.1:7700\"")]
    Endpoint {
        /// What was given.
        endpoint: String,
    },
    /// No story has this name.
    #[error("there is no story {name:?}; there are {known}")]
    Story {
        /// What was given.
        name: String,
        /// What there is.
        known: String,
    },
    /// Certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Nobody answers.
    #[error("no adapter answers at {endpoint}: {cause}; start one, or name another address")]
    Unreachable {
        /// The address.
        endpoint: String,
        /// What was said instead.
        cause: String,
    },
}

/// What a story finds.
type Verdict = Result<(), Why>;

/// Why a story did not end well.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Why {
    /// The adapter does not keep the contract.
    Failed(String),
    /// It cannot be tried.
    Skipped(String),
}

fn failed<T>(what: impl Into<String>) -> Result<T, Why> {
    Err(Why::Failed(what.into()))
}

fn skipped<T>(why: impl Into<String>) -> Result<T, Why> {
    Err(Why::Skipped(why.into()))
}

/// Fails unless it holds.
fn must(holds: bool, what: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { failed(what()) }
}

/// Runs the suite: one story after the other, each from a clean start.
macro_rules! suite {
    ($bench:ident, $report:ident, $only:ident: $($name:literal, $what:literal, $story:path;)*) => {
        known(&$only, &[$($name),*])?;
        $(if $only.is_empty() || $only.iter().any(|name| name == $name) {
            $bench.rested().await;
            let begun = Instant::now();
            let verdict = match $story(&mut $bench).await {
                // What was left by a story that failed would be held against the next one.
                Err(Why::Failed(what)) => {
                    $bench.tidy().await;
                    Err(Why::Failed(what))
                }
                verdict => verdict,
            };
            $report.add($name, $what, verdict, begun.elapsed());
        })*
    };
}

/// Checks the adapter at `endpoint`. It should serve nobody else meanwhile: its term is raised, and whoever drives it
/// is refused from then on.
pub async fn check(endpoint: &str, options: Options) -> Result<Report, CheckError> {
    let only = options.only.clone();
    let mut bench = Bench::connect(endpoint, options).await?;
    let mut report = Report::new(endpoint, &bench.capabilities);
    suite! { bench, report, only:
        "capabilities", "what the adapter says of itself fits together", looks::capabilities;
        "topology", "a whole snapshot, revisions that do not fall, heartbeats in time", looks::topology;
        "unknown", "of a migration that nobody began nothing is known", looks::unknown;
        "validation", "a validation has no effects", looks::validation;
        "malformed", "calls that cannot be are refused as INVALID", refusals::malformed;
        "stale term", "a lower term is refused, also by GetMigrationState", refusals::stale_term;
        "stale epoch", "an epoch that does not serve, or is below one proposed, is refused", refusals::stale_epoch;
        "other content", "a request made anew with another content is refused", refusals::other_content;
        "one at a time", "a second migration of a partition is refused", refusals::one_at_a_time;
        "move", "a migration runs to its end, and leaves nothing", moves::happy;
        "repeats", "each call made again has the first answer, also under a higher term", moves::repeated;
        "late calls", "after the switch, what belongs before it is refused", moves::late;
        "warrant", "no switch without its own verification and fence", refusals::warrant;
        "fence", "a fence is told, and lifted", moves::fence;
        "abort", "in every phase, abort restores the start", phases::abort;
        "abort of a copy", "abort stops a copy that runs", phases::abort_running;
        "reverse", "a switch is taken back", phases::reverse;
        "lost replies", "a step goes on without its caller, and its fate is known", crashes::lost_replies;
        "progress", "it does not fall, its stream ends, and watching changes nothing", progress::progress;
        "crash", "killed in every phase, the adapter takes up what was under way", crashes::crash;
        "repair", "a lost replica is made again from one that survives", moves::repair;
        "reads", "reads are shifted once, and back", reads::shift;
        "leftovers", "nothing is left, and the partition lies where it lay", looks::leftovers;
    }
    Ok(report)
}

fn known(only: &[String], stories: &[&str]) -> Result<(), CheckError> {
    match only.iter().find(|name| !stories.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => Err(CheckError::Story { name: name.clone(), known: stories.join(", ") }),
    }
}
