//! Does file accesses by a plan, and says what the calls returned. `isotherm_tests::io` has the plan, the
//! truth, and how to talk to this program.

mod actor;
mod aio;
mod calls;
mod engine;
mod mapped;
mod memory;
mod record;
mod uring;

use actor::Actor;
use anyhow::{Context, Result, bail, ensure};
use isotherm_tests::generator::{finish, next_line, ready};
use isotherm_tests::io::{Actors, Append, IoPlan, IoTruth};
use isotherm_tests::pattern;
use record::Records;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::FromRawFd;
use std::thread;

/// Children and threads of one job.
const MAX_ACTORS: u32 = 256;

fn main() -> Result<()> {
    let plan = next_line()?.context("the first line is to be the plan")?;
    let plan: IoPlan = serde_json::from_str(&plan).context("the plan")?;
    check(&plan)?;
    lay_out(&plan)?;
    let prepared = Prepared::new(&plan)?;
    if ready(&())?.is_none() {
        return Ok(());
    }
    let records = prepared.work()?;
    finish(&summed_up(&plan, &records)?)
}

/// Refuses what would not have a truth.
fn check(plan: &IoPlan) -> Result<()> {
    let mut writers: BTreeMap<&str, Vec<bool>> = BTreeMap::new();
    for (index, job) in plan.jobs.iter().enumerate() {
        let appends = job.append != Append::Never;
        let (Actors::Threads(actors) | Actors::Children(actors)) = job.actors else {
            writers.entry(&job.file).or_default().push(appends);
            continue;
        };
        ensure!((1..=MAX_ACTORS).contains(&actors), "jobs[{index}].actors: 1 to {MAX_ACTORS}, not {actors}");
        ensure!(!appends, "jobs[{index}].append: only the main thread can tell where its writes went");
        // At the same time as others.
        writers.entry(&job.file).or_default().extend([appends; 2]);
    }
    for (file, appends) in writers {
        ensure!(appends.len() < 2 || !appends.contains(&true), "{file}: appended to by one of several jobs");
    }
    Ok(())
}

/// Makes files that have not the length that they are to have.
fn lay_out(plan: &IoPlan) -> Result<()> {
    let mut sizes: BTreeMap<&str, u64> = BTreeMap::new();
    for job in &plan.jobs {
        let size_bytes = sizes.entry(&job.file).or_insert(job.size_bytes);
        ensure!(*size_bytes == job.size_bytes, "{}: two jobs want it of different lengths", job.file);
    }
    sizes.into_iter().try_for_each(|(file, size_bytes)| pattern::lay_out(&plan.folder.join(file), size_bytes))
}

/// Everything open and waiting.
struct Prepared<'a> {
    /// With its queue.
    main: Vec<Actor<'a>>,
    threads: Vec<Actor<'a>>,
    children: Vec<Actor<'a>>,
}

impl<'a> Prepared<'a> {
    fn new(plan: &'a IoPlan) -> Result<Self> {
        let mut prepared = Self { main: Vec::new(), threads: Vec::new(), children: Vec::new() };
        for (index, job) in plan.jobs.iter().enumerate() {
            let actor = |number| {
                Actor::open(&plan.folder, job, number)
                    .with_context(|| format!("jobs[{index}] ({})", job.file))
            };
            match job.actors {
                Actors::Main => {
                    let mut actor = actor(0)?;
                    actor.queue().with_context(|| format!("jobs[{index}] ({})", job.file))?;
                    prepared.main.push(actor);
                }
                Actors::Threads(count) => {
                    prepared.threads.extend((0..count).map(actor).collect::<Result<Vec<_>>>()?);
                }
                Actors::Children(count) => {
                    prepared.children.extend((0..count).map(actor).collect::<Result<Vec<_>>>()?);
                }
            }
        }
        Ok(prepared)
    }

    /// Children first, as a process with threads is not to be forked.
    fn work(self) -> Result<BTreeMap<String, Records>> {
        let Self { mut main, mut threads, mut children } = self;
        let mut all: BTreeMap<String, Records> = BTreeMap::new();
        let mut add = |file: &str, records: Records| all.entry(file.to_owned()).or_default().append(records);
        let started = children.iter_mut().map(|actor| Ok((actor.file().to_owned(), fork(actor)?)));
        let started = started.collect::<Result<Vec<_>>>()?;
        thread::scope(|scope| -> Result<()> {
            let started: Vec<_> = threads
                .iter_mut()
                .map(|actor| (actor.file().to_owned(), scope.spawn(move || actor.work())))
                .collect();
            for actor in &mut main {
                add(actor.file(), actor.work()?);
            }
            for (file, thread) in started {
                add(&file, thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??);
            }
            Ok(())
        })?;
        for (file, child) in started {
            add(&file, child.wait()?);
        }
        // What is open stays open until the program is let go.
        std::mem::forget((main, threads, children));
        Ok(all)
    }
}

/// A child that does one actor's work.
struct Child {
    pid: libc::pid_t,
    answer: File,
}

fn fork(actor: &mut Actor<'_>) -> Result<Child> {
    let (answer, mut tell) = std::io::pipe().context("make a pipe")?;
    // SAFETY: the process has one thread.
    let pid = unsafe { libc::fork() };
    match pid {
        -1 => Err(std::io::Error::last_os_error()).context("fork"),
        0 => {
            let told = actor.work().and_then(|records| {
                serde_json::to_writer(&mut tell, &records).context("tell what the child did")
            });
            if let Err(error) = &told {
                eprintln!("a child: {error:#}");
            }
            // SAFETY: a plain call; nothing of the parent's is to be cleaned up here.
            unsafe { libc::_exit(i32::from(told.is_err())) }
        }
        _ => {
            // SAFETY: the descriptor is the reader's own, which is given up for it.
            let answer = unsafe { File::from_raw_fd(std::os::fd::IntoRawFd::into_raw_fd(answer)) };
            Ok(Child { pid, answer })
        }
    }
}

impl Child {
    fn wait(mut self) -> Result<Records> {
        let mut text = String::new();
        self.answer.read_to_string(&mut text).context("hear from a child")?;
        let mut status = 0;
        // SAFETY: the status outlives the call.
        let waited = unsafe { libc::waitpid(self.pid, &raw mut status, 0) };
        if waited != self.pid || status != 0 {
            bail!("a child failed: status {status}");
        }
        serde_json::from_str(&text).context("what a child did")
    }
}

fn summed_up(plan: &IoPlan, records: &BTreeMap<String, Records>) -> Result<IoTruth> {
    let mut truth = IoTruth::default();
    for job in &plan.jobs {
        let path = plan.folder.join(&job.file);
        let found = path.metadata().with_context(|| format!("look at {}", path.display()))?;
        let sum =
            records.get(&job.file).map_or_else(|| Records::default().sum(&found), |all| all.sum(&found));
        truth.files.insert(job.file.clone(), sum);
    }
    Ok(truth)
}
