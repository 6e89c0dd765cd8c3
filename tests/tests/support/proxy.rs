//! A link that a test can break: TCP, byte for byte, in both directions.

use anyhow::{Context, Result};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// Between two looks at what the test wants.
const TICK: Duration = Duration::from_millis(5);

#[derive(Default)]
struct State {
    /// Nothing passes, and nobody is told.
    stalled: AtomicBool,
    /// Connections are cut after so many bytes more; 0 for never.
    cut_after: AtomicU64,
    cuts: AtomicUsize,
    ended: AtomicBool,
    target: Mutex<Option<SocketAddr>>,
}

/// A proxy, until dropped.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
}

impl Proxy {
    pub(crate) fn start(target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("bind the proxy")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let state = Arc::new(State::default());
        *state.target.lock().unwrap() = Some(target);
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            while !shared.ended.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((near, _)) => connect(near, &shared),
                    Err(_) => thread::sleep(TICK),
                }
            }
        });
        Ok(Self { address, state })
    }

    /// Where new connections lead.
    pub(crate) fn lead_to(&self, target: SocketAddr) {
        *self.state.target.lock().unwrap() = Some(target);
    }

    pub(crate) fn stall(&self, stalled: bool) {
        self.state.stalled.store(stalled, Ordering::Relaxed);
    }

    /// Cuts the connection that carries so many more bytes, in the middle of whatever it carries then.
    pub(crate) fn cut_after(&self, bytes: u64) {
        self.state.cut_after.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn cuts(&self) -> usize {
        self.state.cuts.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::Relaxed);
    }
}

fn connect(near: TcpStream, state: &Arc<State>) {
    let target = *state.target.lock().unwrap();
    let Some(Ok(far)) = target.map(TcpStream::connect) else { return };
    let Ok(pair) = near.try_clone().and_then(|near| Ok((near, far.try_clone()?))) else { return };
    let (there, back) = (Arc::clone(state), Arc::clone(state));
    thread::spawn(move || carry(near, far, &there));
    thread::spawn(move || carry(pair.1, pair.0, &back));
}

fn carry(mut from: TcpStream, mut to: TcpStream, state: &State) {
    let mut buffer = [0; 16 << 10];
    let ready = from.set_nonblocking(false).and_then(|()| from.set_read_timeout(Some(TICK)));
    while ready.is_ok() && !state.ended.load(Ordering::Relaxed) {
        if state.stalled.load(Ordering::Relaxed) {
            thread::sleep(TICK);
            continue;
        }
        let len = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(len) => len,
            Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => continue,
            Err(_) => break,
        };
        let left = state.cut_after.load(Ordering::Relaxed);
        if left > 0 && left <= len as u64 {
            let _ = to.write_all(&buffer[..left as usize]);
            state.cut_after.store(0, Ordering::Relaxed);
            state.cuts.fetch_add(1, Ordering::Relaxed);
            break;
        }
        state.cut_after.store(left.saturating_sub(len as u64), Ordering::Relaxed);
        if to.write_all(&buffer[..len]).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
