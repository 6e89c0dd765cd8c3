//! Which node answers at an address, for the node that has called there.
//!
//! The end that is called is told by the kernel who has called. The caller learns the same from there: nothing
//! else knows for certain which process answers, as an address can be shared and a port be forwarded.

use super::rows::address;
use isotherm_agent_ebpf::PeerKey;
use std::collections::HashMap;
use std::net::SocketAddr;

/// By caller and address. Built from one reading, and so bounded by the room for peers.
#[derive(Default)]
pub(super) struct Links {
    /// `None`: several answer, in network namespaces of their own.
    answers: HashMap<(u32, SocketAddr), Option<u32>>,
}

impl Links {
    /// Takes what a key says about both ends, if it is that of the end that was called.
    pub(super) fn learn(&mut self, key: &PeerKey) {
        let Some(caller) = u32::from(key.peer_target).checked_sub(1) else { return };
        let answer = self.answers.entry((caller, address(&key.local))).or_insert(Some(key.target));
        if *answer != Some(key.target) {
            *answer = None;
        }
    }

    /// The target that answers a target at an address.
    pub(super) fn answering(&self, caller: u32, at: SocketAddr) -> Option<u32> {
        self.answers.get(&(caller, at)).copied().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isotherm_agent_ebpf::{Address, READ};

    #[test]
    fn an_address_at_which_two_answer_says_nothing() {
        let local = Address { ip: [1; 16], port: 80, reserved: 0 };
        let remote = Address { ip: [2; 16], port: 0, reserved: 0 };
        let key = |target, peer_target| PeerKey { target, operation: READ, peer_target, local, remote };
        let mut links = Links::default();
        [key(3, 0), key(1, 3), key(1, 3), key(1, 4), key(2, 4)].iter().for_each(|key| links.learn(key));
        assert_eq!(links.answering(2, address(&local)), Some(1));
        assert_eq!(links.answering(3, address(&local)), None);
        assert_eq!(links.answering(2, address(&remote)), None);
    }
}
