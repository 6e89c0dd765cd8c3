//! Machines of their own, each joined to each other by a cable that can be pulled.
//!
//! A cable is a pair of veth devices between two network namespaces, with a route to one address. It is pulled by taking
//! one end down: there the other machine is unreachable at once, while the other end goes on sending to nobody, as with
//! real cables and switches.

use crate::host::Host;
use crate::netns::{Namespace, ip};
use anyhow::{Context, Result, ensure};
use std::net::Ipv4Addr;

/// So many machines have addresses.
const MOST: usize = 200;

/// Machines and the cables between them. It leaves nothing when it is dropped, or whoever made it is killed.
#[derive(Debug)]
pub struct Network {
    hosts: Vec<Host>,
}

impl Network {
    /// So many machines, 10.77.0.1 and the following. Needs CAP_SYS_ADMIN and CAP_NET_ADMIN, and `ip`.
    pub fn new(count: usize) -> Result<Self> {
        ensure!(count <= MOST, "{count} machines are more than there are addresses for");
        let mut hosts = Vec::new();
        for number in 0..count {
            let (namespace, address) = (Namespace::bare()?, address(number)?);
            namespace.run(move || ip(&["address", "add", &format!("{address}/32"), "dev", "lo"]))??;
            hosts.push(Host::of(address, namespace));
        }
        let network = Self { hosts };
        for one in 0..count {
            for other in one + 1..count {
                network.lay(one, other)?;
            }
        }
        Ok(network)
    }

    /// A machine, by its number from 0.
    #[must_use]
    pub fn host(&self, number: usize) -> &Host {
        &self.hosts[number]
    }

    /// Pulls the cable between two machines at the first one's end.
    pub fn cut(&self, one: usize, other: usize) -> Result<()> {
        let device = device(other);
        self.hosts[one].run(move || ip(&["link", "set", &device, "down"]))?
    }

    /// Plugs it in again; nothing happens to one that was not pulled.
    pub fn mend(&self, one: usize, other: usize) -> Result<()> {
        self.connect(one, other)
    }

    fn lay(&self, one: usize, other: usize) -> Result<()> {
        let place = self.hosts[other].namespace()?.path()?;
        let (here, there) = (device(other), device(one));
        self.hosts[one].run(move || {
            ip(&["link", "add", &here, "type", "veth", "peer", "name", &there, "netns", &place])
        })??;
        self.connect(one, other)?;
        self.connect(other, one)
    }

    /// One end: the device is up, and leads to the other machine.
    fn connect(&self, one: usize, other: usize) -> Result<()> {
        let (device, from, to) = (device(other), self.hosts[one].address(), self.hosts[other].address());
        self.hosts[one].run(move || {
            ip(&["link", "set", &device, "up"])?;
            ip(&["route", "replace", &format!("{to}/32"), "dev", &device, "src", &from.to_string()])
        })?
    }
}

/// The device at whose other end a machine is.
fn device(number: usize) -> String {
    format!("to{number}")
}

fn address(number: usize) -> Result<Ipv4Addr> {
    let last = u8::try_from(number + 1).context("addresses end with a byte")?;
    Ok(Ipv4Addr::new(10, 77, 0, last))
}
