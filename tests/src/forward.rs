//! A way from this host's loopback to one address in a namespace, so that what runs inside can be reached from outside
//! without a link between the two.
//!
//! Bytes are passed on as they come, in a thread for each direction of a connection.

use crate::netns::Namespace;
use anyhow::{Context, Result};
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

/// Listens for as long as this process lives, and keeps the namespace for as long. Gives the address to connect to.
pub fn into(namespace: &Namespace, inside: SocketAddr) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").context("listen on loopback")?;
    let address = listener.local_addr().context("ask for the port")?;
    let (wanted, waiting) = channel();
    // A thread of the namespace's thread is inside, too: its sockets are.
    namespace.run(move || {
        thread::Builder::new().name("forward in".to_owned()).spawn(move || connect_all(inside, &waiting))
    })??;
    thread::Builder::new()
        .name("forward".to_owned())
        .spawn(move || accept_all(&listener, &wanted))
        .context("start a thread")?;
    Ok(address)
}

type Wanted = Sender<io::Result<TcpStream>>;

fn connect_all(inside: SocketAddr, waiting: &Receiver<Wanted>) {
    for wanted in waiting {
        let _ = wanted.send(TcpStream::connect(inside));
    }
}

fn accept_all(listener: &TcpListener, wanted: &Sender<Wanted>) {
    for outer in listener.incoming().flatten() {
        let (done, connected) = channel();
        if wanted.send(done).is_err() {
            return;
        }
        // Nobody there: the connection ends, as one to a closed port would.
        if let Ok(Ok(inner)) = connected.recv() {
            let _ = join(&outer, &inner);
        }
    }
}

fn join(outer: &TcpStream, inner: &TcpStream) -> io::Result<()> {
    for (from, to) in [(outer, inner), (inner, outer)] {
        let (mut from, mut to) = (from.try_clone()?, to.try_clone()?);
        to.set_nodelay(true)?;
        thread::Builder::new().name("forward bytes".to_owned()).spawn(move || {
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::skip::skipped;
    use std::io::{Read, Write};

    #[test]
    fn bytes_pass_both_ways_and_so_does_the_end() {
        let Ok(namespace) = Namespace::new() else {
            return skipped(
                "bytes_pass_both_ways_and_so_does_the_end",
                "the rights for namespaces are missing",
            );
        };
        let echo = namespace.run(|| TcpListener::bind("10.77.0.8:7000")).unwrap().unwrap();
        let serving = thread::spawn(move || {
            let (mut stream, _) = echo.accept().unwrap();
            let mut heard = Vec::new();
            stream.read_to_end(&mut heard).unwrap();
            stream.write_all(&heard).unwrap();
        });
        let address = into(&namespace, "10.77.0.8:7000".parse().unwrap()).unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"there and back").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut heard = String::new();
        stream.read_to_string(&mut heard).unwrap();
        assert_eq!(heard, "there and back");
        serving.join().unwrap();
        let mut nobody =
            TcpStream::connect(into(&namespace, "10.77.0.8:7001".parse().unwrap()).unwrap()).unwrap();
        assert_eq!(nobody.read(&mut [0]).unwrap_or(0), 0, "nobody listens there");
    }
}
