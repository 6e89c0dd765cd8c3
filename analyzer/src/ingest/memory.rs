//! The memory that batches take while they are parsed and wait for their commit.
//!
//! All agents share one part, of which each gets no more than its own. A batch that is larger than that waits for
//! a room of its own, of which there is one: in the shared part it would have to wait until nearly all is free, and
//! whoever came after it would have to wait with it.

use super::limits::Limits;
use bytesize::ByteSize;
use std::sync::Arc;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

/// Memory of all batches.
#[derive(Debug, Clone)]
pub(super) struct Memory {
    /// A permit for each KiB.
    shared: Arc<Semaphore>,
    large: Arc<Semaphore>,
    shared_kib: u32,
    agent_kib: u32,
    largest: ByteSize,
}

/// A part of the memory, until it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    _permit: OwnedSemaphorePermit,
    /// The agent's own account; absent for what is in the room for large ones.
    _agent: Option<OwnedSemaphorePermit>,
}

/// One agent's part of the shared memory.
#[derive(Debug, Clone)]
pub(super) struct Share(Arc<Semaphore>);

impl Memory {
    pub(super) fn new(limits: &Limits) -> Self {
        let (shared_kib, agent_kib) = (kib(limits.memory), kib(limits.agent_memory));
        Self {
            shared: Arc::new(Semaphore::new(shared_kib as usize)),
            large: Arc::new(Semaphore::new(1)),
            shared_kib,
            agent_kib,
            largest: limits.largest_batch(),
        }
    }

    /// The part of an agent.
    pub(super) fn share(&self) -> Share {
        Share(Arc::new(Semaphore::new(self.agent_kib as usize)))
    }

    /// Takes so many bytes, if there are as many without waiting.
    pub(super) fn try_reserve(&self, share: &Share, bytes: usize) -> Option<Held> {
        let need = self.need(bytes);
        if need > self.agent_kib {
            let permit = Arc::clone(&self.large).try_acquire_owned().ok()?;
            return Some(Held { _permit: permit, _agent: None });
        }
        let agent = Arc::clone(&share.0).try_acquire_many_owned(need).ok()?;
        let permit = Arc::clone(&self.shared).try_acquire_many_owned(need).ok()?;
        Some(Held { _permit: permit, _agent: Some(agent) })
    }

    /// Waits for so many bytes; first for the agent's own, where only it is kept waiting.
    pub(super) async fn reserve(&self, share: &Share, bytes: usize) -> Result<Held, AcquireError> {
        let need = self.need(bytes);
        if need > self.agent_kib {
            let permit = Arc::clone(&self.large).acquire_owned().await?;
            return Ok(Held { _permit: permit, _agent: None });
        }
        let agent = Arc::clone(&share.0).acquire_many_owned(need).await?;
        let permit = Arc::clone(&self.shared).acquire_many_owned(need).await?;
        Ok(Held { _permit: permit, _agent: Some(agent) })
    }

    /// Bytes that are taken.
    pub(super) fn taken(&self) -> ByteSize {
        let free = u32::try_from(self.shared.available_permits()).unwrap_or(u32::MAX);
        let shared = ByteSize::kib(u64::from(self.shared_kib.saturating_sub(free)));
        let large = if self.large.available_permits() == 0 { self.largest } else { ByteSize::b(0) };
        shared + large
    }

    /// Bytes that may be taken.
    pub(super) fn limit(&self) -> ByteSize {
        ByteSize::kib(u64::from(self.shared_kib)) + self.largest
    }

    fn need(&self, bytes: usize) -> u32 {
        kib(ByteSize::b(bytes as u64)).max(1)
    }
}

fn kib(size: ByteSize) -> u32 {
    u32::try_from(size.as_u64().div_ceil(1 << 10)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> Memory {
        let limits = Limits { memory: ByteSize::mib(8), agent_memory: ByteSize::mib(2), ..Limits::default() };
        Memory::new(&limits)
    }

    #[test]
    fn one_agent_leaves_the_others_theirs() {
        let memory = memory();
        let (greedy, modest) = (memory.share(), memory.share());
        let held: Vec<Held> = (0..9).filter_map(|_| memory.try_reserve(&greedy, 1 << 20)).collect();
        assert_eq!(held.len(), 2, "two MiB are its own");
        assert!(memory.try_reserve(&modest, 2 << 20).is_some());
        assert_eq!(memory.taken(), ByteSize::mib(2));
        drop(held);
        assert_eq!(memory.taken(), ByteSize::b(0));
        assert!(memory.try_reserve(&greedy, 1).is_some());
    }

    #[test]
    fn what_is_larger_than_a_part_takes_none_of_it_and_comes_alone() {
        let memory = memory();
        let (first, second) = (memory.share(), memory.share());
        let large = memory.try_reserve(&first, 300 << 20).unwrap();
        assert!(memory.try_reserve(&second, 3 << 20).is_none(), "there is one room for large ones");
        assert!(
            memory.try_reserve(&first, 2 << 20).is_some() && memory.try_reserve(&second, 2 << 20).is_some()
        );
        assert!(memory.taken() <= memory.limit());
        drop(large);
        assert!(memory.try_reserve(&second, 3 << 20).is_some());
    }

    #[tokio::test]
    async fn who_waits_for_its_own_keeps_nobody_waiting() {
        let memory = memory();
        let (greedy, modest) = (memory.share(), memory.share());
        let _held = memory.try_reserve(&greedy, 2 << 20).unwrap();
        let mut waiting = Box::pin(memory.reserve(&greedy, 2 << 20));
        assert!(futures::poll!(&mut waiting).is_pending());
        assert!(memory.reserve(&modest, 2 << 20).await.is_ok());
    }
}
