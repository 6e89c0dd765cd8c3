//! Copy and source are compared: what they count, where each object lies, and the bytes of a sample.

use super::index::{self, Needle};
use super::job::Job;
use super::server::{Mounted, Server};
use crate::contract::Refusal;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// Objects between two words about progress.
const TOLD_EVERY: usize = 100;

impl Job<'_> {
    /// Compares. Returns what was compared.
    pub(super) async fn verify(&self) -> Result<String, Refusal> {
        let (origin, copy) = (self.origin().await?, self.target()?);
        let counted = [origin.status(self.volume).await?, copy.status(self.volume).await?];
        let [here, there] = &counted;
        same("counts", &counts(here), &counts(there))?;
        let terms = [origin.terms(self.volume).await?, copy.terms(self.volume).await?];
        same("replication and lifetime", &terms[0], &terms[1])?;
        let bytes = here.end.idx_bytes;
        let index = origin.index(self.volume, bytes).await?;
        if index != copy.index(self.volume, bytes).await? {
            return Err(Refusal::mismatch("the indexes differ"));
        }
        let needles = index::live(&index, here.place_bytes)?;
        let live = needles.len();
        let sample = index::sample(needles, self.store.sample(), self.seed());
        self.compare(&origin, &copy, &sample).await?;
        let compared = sample.len();
        Ok(format!("{live} objects, {} bytes; {compared} of them equal byte by byte", here.end.dat_bytes))
    }

    async fn compare(&self, origin: &Server, copy: &Server, sample: &[Needle]) -> Result<(), Refusal> {
        for (number, needle) in sample.iter().enumerate() {
            if number % TOLD_EVERY == 0 {
                self.tell(number as u64, sample.len() as u64, "objects", None);
            }
            let both =
                tokio::try_join!(origin.needle(self.volume, *needle), copy.needle(self.volume, *needle));
            let (wanted, found) = both?;
            if wanted != found {
                let words = format!("object {:x} at {} differs", needle.key, needle.offset);
                return Err(Refusal::mismatch(words));
            }
            if self.task.stop.is_cancelled() {
                return Err(super::job::stopped_by_caller());
            }
        }
        Ok(())
    }

    /// The same for one migration, so that a step that is repeated compares the same.
    fn seed(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.task.migration.id.to_string().hash(&mut hasher);
        hasher.finish()
    }
}

fn counts(mounted: &Mounted) -> String {
    let Mounted { end, files, deleted, collection, .. } = mounted;
    format!("log to {end}, {files} objects, {deleted} removed, collection {collection:?}")
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, origin: &T, copy: &T) -> Result<(), Refusal> {
    if origin == copy {
        return Ok(());
    }
    Err(Refusal::mismatch(format!("{what} differ: {origin:?} at the source, {copy:?} in the copy")))
}
