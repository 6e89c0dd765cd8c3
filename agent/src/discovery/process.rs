//! Processes, as far as selectors look at them, and looks at all of them that cost little.
//!
//! What a look costs is mostly what it reads of each process. The program, its arguments and its control
//! group do not change between two execs, but for processes that rename or move themselves; an exec moves the
//! stack and the arguments in memory. So a short look reads one line of each process, and the rest only of
//! those whose line says that they are new; a full look, now and then, reads everything.

use procfs::ProcError;
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Set in the flags of a kernel thread (PF_KTHREAD, linux/sched.h).
const KERNEL_THREAD: u64 = 0x0020_0000;

/// Bytes of /proc/PID/stat, /proc/PID/cgroup: what is longer is cut, which no kernel does up to 6.18.
const MAX_READ_BYTES: u64 = 64 << 10;

/// A process, as far as selectors look at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Process id.
    pub pid: u32,
    /// Path of the executable, without the mark of a deleted one.
    pub exe: PathBuf,
    /// Arguments, joined by spaces.
    pub cmdline: String,
    /// Paths of its control groups, that of version 2 first, then those of version 1, each once.
    pub cgroups: Vec<String>,
    /// The process that it is a child of, 0 for none.
    pub parent: u32,
    /// Its network namespace.
    pub(super) namespace: u64,
    /// What changes when the id is used again, or another program runs under it.
    pub(super) image: Image,
}

/// What tells one program run by a process from the next.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Image {
    /// Name of the main thread.
    name: Vec<u8>,
    /// Clock ticks since boot.
    started: u64,
    /// Where program, stack and arguments lie; each exec chooses anew.
    addresses: [u64; 3],
}

/// How much a look reads anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// What is new since the last look.
    Short,
    /// Everything.
    Full,
}

/// Looks at all processes, again and again.
#[derive(Debug, Default)]
pub struct Scanner {
    /// By process id; `None` for what runs no program: kernel threads and zombies.
    known: HashMap<u32, (Image, Option<Candidate>)>,
    buffer: Vec<u8>,
}

impl Scanner {
    /// All processes that run a program, by id; kernel threads, zombies and what ends meanwhile are left out.
    pub fn scan(&mut self, depth: Depth) -> Result<Vec<Candidate>, ProcError> {
        let mut before = std::mem::take(&mut self.known);
        if depth == Depth::Full {
            before.clear();
        }
        let mut candidates = Vec::with_capacity(before.len());
        for entry in std::fs::read_dir("/proc")?.filter_map(Result::ok) {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            let Some(line) = self.line(pid) else { continue };
            let process = match before.remove(&pid) {
                Some((image, process)) if image == line.image && process.is_some() == line.runs_program => {
                    process.map(|process| Candidate { parent: line.parent, ..process })
                }
                Some(_) | None if !line.runs_program => None,
                // What is between fork and exec, or ended just now, is looked at again the next time.
                Some(_) | None => match candidate(pid, &line) {
                    Some(process) => Some(process),
                    None => continue,
                },
            };
            candidates.extend(process.clone());
            self.known.insert(pid, (line.image, process));
        }
        candidates.sort_unstable_by_key(|process| process.pid);
        Ok(candidates)
    }

    fn line(&mut self, pid: u32) -> Option<Line> {
        self.buffer.clear();
        let file = File::open(format!("/proc/{pid}/stat")).ok()?;
        file.take(MAX_READ_BYTES).read_to_end(&mut self.buffer).ok()?;
        Line::parse(&self.buffer)
    }
}

/// All processes that run a program, looked at once.
pub fn candidates() -> Result<Vec<Candidate>, ProcError> {
    Scanner::default().scan(Depth::Full)
}

/// What /proc/PID/stat says (proc_pid_stat(5)).
#[derive(Debug, PartialEq, Eq)]
struct Line {
    image: Image,
    parent: u32,
    runs_program: bool,
}

impl Line {
    fn parse(line: &[u8]) -> Option<Self> {
        // The name may hold anything, closing brackets too.
        let (from, to) =
            (line.iter().position(|byte| *byte == b'(')?, line.iter().rposition(|byte| *byte == b')')?);
        let name = line.get(from + 1..to)?.to_vec();
        let rest: Vec<&str> =
            std::str::from_utf8(line.get(to + 1..)?).ok()?.split_ascii_whitespace().collect();
        // The first of the rest is the third field.
        let field = |number: usize| rest.get(number - 3).and_then(|text| text.parse::<u64>().ok());
        let state = *rest.first()?;
        Some(Self {
            image: Image { name, started: field(22)?, addresses: [field(26)?, field(28)?, field(48)?] },
            parent: u32::try_from(field(4)?).ok()?,
            runs_program: field(9)? & KERNEL_THREAD == 0 && !matches!(state, "Z" | "X"),
        })
    }
}

fn candidate(pid: u32, line: &Line) -> Option<Candidate> {
    let process = Path::new("/proc").join(pid.to_string());
    let exe = std::fs::read_link(process.join("exe")).ok()?;
    let exe = exe.to_string_lossy().trim_end_matches(" (deleted)").to_owned();
    let mut cmdline = std::fs::read(process.join("cmdline")).ok()?;
    while cmdline.last() == Some(&0) {
        cmdline.pop();
    }
    cmdline.iter_mut().filter(|byte| **byte == 0).for_each(|byte| *byte = b' ');
    let network = std::fs::read_link(process.join("ns/net")).ok()?;
    Some(Candidate {
        pid,
        exe: exe.into(),
        cmdline: String::from_utf8_lossy(&cmdline).into_owned(),
        cgroups: cgroups(&std::fs::read_to_string(process.join("cgroup")).unwrap_or_default()),
        parent: line.parent,
        namespace: namespace_number(&network.to_string_lossy())?,
        image: line.image.clone(),
    })
}

/// From `net:[4026531840]`.
pub(super) fn namespace_number(link: &str) -> Option<u64> {
    link.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()
}

/// Lines are `hierarchy:controllers:path`; version 2 is hierarchy 0 (cgroups(7)).
fn cgroups(text: &str) -> Vec<String> {
    let mut lines: Vec<(bool, &str)> = text
        .lines()
        .filter_map(|line| {
            let mut fields = line.splitn(3, ':');
            let (hierarchy, _, path) = (fields.next()?, fields.next()?, fields.next()?);
            Some((hierarchy != "0", path.trim_end_matches(" (deleted)")))
        })
        .collect();
    lines.sort_by_key(|(version_1, _)| *version_1);
    let mut paths: Vec<String> = Vec::new();
    for (_, path) in lines {
        if !paths.iter().any(|other| other == path) {
            paths.push(path.to_owned());
        }
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    #[test]
    fn a_line_is_read_whatever_the_name_holds() {
        let rest = (3..=52).map(|number| match number {
            3 => "S".to_owned(),
            4 => "7".to_owned(),
            9 => "4194560".to_owned(),
            _ => number.to_string(),
        });
        let rest = rest.collect::<Vec<_>>().join(" ");
        let line = |name: &str| Line::parse(format!("42 ({name}) {rest}\n").as_bytes()).unwrap();
        let parsed = line("a) S (b");
        assert_eq!((parsed.parent, parsed.runs_program), (7, true));
        assert_eq!(parsed.image, Image { name: b"a) S (b".to_vec(), started: 22, addresses: [26, 28, 48] });
        assert_ne!(parsed.image, line("other").image);
        assert_eq!(Line::parse(b"42 (cut) S 7"), None);
        assert_eq!(Line::parse(b""), None);
    }

    #[test]
    fn a_short_look_sees_a_new_program_under_an_old_id() {
        let mut scanner = Scanner::default();
        // Reads a line, then becomes another program of the same name.
        let mut child = Command::new("sh")
            .args(["-c", "read line; exec sh -c 'read line' second"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let pid = child.id();
        let has = |scanner: &mut Scanner, word: &str| {
            let deadline = Instant::now() + Duration::from_secs(10);
            while Instant::now() < deadline {
                let found = scanner.scan(Depth::Short).unwrap();
                if found.iter().any(|process| process.pid == pid && process.cmdline.contains(word)) {
                    return true;
                }
            }
            false
        };
        assert!(has(&mut scanner, "exec sh"));
        std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"go\n").unwrap();
        assert!(has(&mut scanner, "read line second"));
        child.kill().unwrap();
        // A zombie runs nothing.
        let deadline = Instant::now() + Duration::from_secs(10);
        while scanner.scan(Depth::Short).unwrap().iter().any(|process| process.pid == pid) {
            assert!(Instant::now() < deadline, "a killed process is still there");
        }
        child.wait().unwrap();
    }

    #[test]
    fn a_short_look_and_a_full_look_agree_on_this_process() {
        let mut scanner = Scanner::default();
        let me = |found: Vec<Candidate>| found.into_iter().find(|process| process.pid == std::process::id());
        let full = me(scanner.scan(Depth::Full).unwrap()).unwrap();
        assert_eq!(full.exe, std::env::current_exe().unwrap());
        assert!(!full.cgroups.is_empty(), "{full:?}");
        assert_eq!(me(scanner.scan(Depth::Short).unwrap()), Some(full));
    }

    #[test]
    fn control_groups_of_version_2_come_first_and_each_once() {
        let text = "9:name=systemd:/system.slice/a.service\n4:memory:/x\n3:cpu,cpuacct:/\n2:pids:/\n0::/v2 (deleted)\n";
        assert_eq!(cgroups(text), ["/v2", "/system.slice/a.service", "/x", "/"]);
        assert_eq!(cgroups("0::/a:b\n"), ["/a:b"]);
        assert!(cgroups("").is_empty());
    }
}
