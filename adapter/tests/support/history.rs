//! Clients that write and read a volume all the time, and know what was acknowledged.

use super::weed::{Object, Objects, Weed, content};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use ureq::Agent;

/// Between two requests of a client.
const PACE: Duration = Duration::from_millis(2);

/// Clients that are at work.
pub(crate) struct Clients {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    writer: JoinHandle<Writes>,
    reader: JoinHandle<Reads>,
}

/// What a writer saw.
#[derive(Debug, Default)]
pub(crate) struct Writes {
    /// Objects that were taken, by file id.
    pub(crate) acknowledged: Objects,
    /// Writes that were refused, which is told to the client.
    pub(crate) refused: u64,
    /// The longest time between two that were taken.
    pub(crate) pause: Duration,
}

/// What a reader saw.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    /// Objects that came back as written.
    pub(crate) good: u64,
    /// Those that did not.
    pub(crate) bad: Vec<String>,
}

impl Clients {
    /// Starts a writer of new objects to the volume and a reader of acknowledged ones, `objects` among them. Both ask
    /// the master where to go, and the writer keeps to it until it is refused, as clients do.
    pub(crate) fn start(weed: &Weed, volume: u32, objects: &[Object]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(Mutex::new(objects.iter().cloned().collect::<BTreeMap<_, _>>()));
        let (http, halt, known) = (weed.http.clone(), Arc::clone(&stop), Arc::clone(&acknowledged));
        let writer = thread::spawn(move || write(&http, volume, &known, &halt));
        let (http, halt, known) = (weed.http.clone(), Arc::clone(&stop), Arc::clone(&acknowledged));
        let reader = thread::spawn(move || read(&http, volume, &known, &halt));
        Self { stop, acknowledged, writer, reader }
    }

    /// How many objects are acknowledged.
    pub(crate) fn count(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }

    /// Stops them.
    pub(crate) fn stop(self) -> (Writes, Reads) {
        self.stop.store(true, Ordering::Relaxed);
        let (mut writes, reads) = (self.writer.join().unwrap(), self.reader.join().unwrap());
        writes.acknowledged = self.acknowledged.lock().unwrap().clone().into_iter().collect();
        (writes, reads)
    }
}

fn write(http: &Agent, volume: u32, known: &Mutex<BTreeMap<String, Vec<u8>>>, stop: &AtomicBool) -> Writes {
    let (mut writes, mut last, mut server) = (Writes::default(), Instant::now(), None);
    let mut key = fastrand::u32(0x1000_0000..0x7000_0000);
    while !stop.load(Ordering::Relaxed) {
        key += 1;
        let fid = format!("{volume},{key:x}00000001");
        let content = content(fastrand::usize(100..20_000));
        server = server.or_else(|| places(http, volume).first().cloned());
        let taken = server.as_ref().is_some_and(|server| {
            let request = http.put(format!("http://{server}/{fid}")).content_type("application/octet-stream");
            request.send(&content).is_ok_and(|response| response.status().is_success())
        });
        if taken {
            writes.pause = writes.pause.max(last.elapsed());
            last = Instant::now();
            known.lock().unwrap().insert(fid, content);
        } else {
            writes.refused += 1;
            server = None;
        }
        thread::sleep(PACE);
    }
    writes
}

fn read(http: &Agent, volume: u32, known: &Mutex<BTreeMap<String, Vec<u8>>>, stop: &AtomicBool) -> Reads {
    let mut reads = Reads::default();
    while !stop.load(Ordering::Relaxed) {
        let (fid, content) = {
            let known = known.lock().unwrap();
            // Half of the time the youngest, which a stale copy would not have.
            let at = if fastrand::bool() { known.len() - 1 } else { fastrand::usize(..known.len()) };
            known.iter().nth(at).map(|(fid, content)| (fid.clone(), content.clone())).unwrap()
        };
        for server in places(http, volume) {
            let got = http.get(format!("http://{server}/{fid}")).call();
            let got = got.map_err(|error| error.to_string()).and_then(|mut response| {
                let body = response.body_mut().read_to_vec().map_err(|error| error.to_string())?;
                if response.status() == 200 && body == content {
                    Ok(())
                } else {
                    Err(response.status().to_string())
                }
            });
            match got {
                Ok(()) => reads.good += 1,
                Err(why) => reads.bad.push(format!("{fid} from {server}: {why}")),
            }
        }
        thread::sleep(PACE);
    }
    reads
}

/// Where the master says that the volume is.
fn places(http: &Agent, volume: u32) -> Vec<String> {
    let url = format!("http://10.77.0.9:9333/dir/lookup?volumeId={volume}");
    let text = http.get(&url).call().and_then(|mut response| response.body_mut().read_to_string());
    let found: serde_json::Value = serde_json::from_str(&text.unwrap_or_default()).unwrap_or_default();
    let urls = found["locations"].as_array().into_iter().flatten();
    urls.filter_map(|location| location["url"].as_str()).map(str::to_owned).collect()
}
