//! What a switch and a removal must be founded on, as it really was: neither the adapter's memory nor the machine's word.

use isotherm_migration::{Epoch, MigrationId, Warrant};

/// What has happened to the partition that a switch or a removal may be founded on.
pub(crate) struct Grounds {
    /// Whose copy was compared while which epoch served, and was equal; absent once that counts no longer.
    compared: Option<(MigrationId, Epoch)>,
    /// Somebody has said that data may be lost.
    pub(crate) loss_accepted: bool,
    /// The copy that serves does so by that word.
    by_loss: bool,
    probation_ms: u64,
    /// When the target began to serve.
    switched_ms: u64,
    /// When somebody ended the probation.
    completed_ms: Option<u64>,
    /// When it was last told that the target serves, and at which epoch.
    looked: Option<(u64, Epoch)>,
}

impl Grounds {
    /// An earlier migration of the partition got as far as its comparison, and was aborted: that counts no longer.
    pub(crate) fn new(probation_ms: u64) -> Self {
        Self {
            compared: None,
            loss_accepted: false,
            by_loss: false,
            probation_ms,
            switched_ms: 0,
            completed_ms: None,
            looked: None,
        }
    }

    /// Copy and source were compared, and equal.
    pub(crate) fn passed(&mut self, migration: &MigrationId, serving: Epoch) {
        self.compared = Some((migration.clone(), serving));
    }

    /// The copy is made anew, is gone, or writes go on that it was not compared with.
    pub(crate) fn void(&mut self) {
        self.compared = None;
    }

    /// Whether this migration's copy may serve; `serving` is the epoch before the switch.
    pub(crate) fn may_switch(
        &self,
        migration: &MigrationId,
        serving: Epoch,
        warrant: &Warrant,
    ) -> Result<(), String> {
        match warrant {
            Warrant::DataLoss(_) if self.loss_accepted => Ok(()),
            Warrant::DataLoss(_) => Err("a switch by a word that nobody gave".to_owned()),
            Warrant::Verified(_) if self.holds(migration, serving) => Ok(()),
            Warrant::Verified(_) => Err(format!(
                "a switch without a comparison that counts: {migration} at {serving}, and there is {:?}",
                self.compared
            )),
        }
    }

    /// The target serves, at the epoch `new`. What the switch is founded on founds the removal, too; an engine needs
    /// no warrant, and has none until it is compared.
    pub(crate) fn switched(&mut self, now_ms: u64, new: Epoch, warrant: Option<&Warrant>) {
        self.by_loss = matches!(warrant, Some(Warrant::DataLoss(_)));
        let compared = self.compared.take();
        self.compared = compared.filter(|_| warrant.is_some()).map(|(migration, _)| (migration, new));
        (self.switched_ms, self.completed_ms, self.looked) = (now_ms, None, None);
    }

    /// Somebody ends the probation.
    pub(crate) fn completed(&mut self, now_ms: u64) {
        self.completed_ms.get_or_insert(now_ms);
    }

    /// Somebody was told that the target serves.
    pub(crate) fn looked(&mut self, now_ms: u64, serving: Epoch) {
        self.looked = Some((now_ms, serving));
    }

    /// Whether the source may go, while `serving` serves.
    pub(crate) fn may_retire(
        &self,
        now_ms: u64,
        migration: &MigrationId,
        serving: Epoch,
    ) -> Result<(), String> {
        if !self.by_loss && !self.holds(migration, serving) {
            return Err(format!(
                "a removal without a comparison that counts: {migration} at {serving}, and there is {:?}",
                self.compared
            ));
        }
        let over_ms = self.switched_ms + self.probation_ms;
        let from_ms = self.completed_ms.map_or(over_ms, |completed_ms| completed_ms.min(over_ms));
        if now_ms < from_ms {
            return Err(format!("a removal at {now_ms} ms, in a probation that ends at {from_ms} ms"));
        }
        match self.looked {
            Some((at_ms, seen)) if at_ms >= from_ms && seen == serving => Ok(()),
            looked => Err(format!(
                "a removal without a look at who serves, since {from_ms} ms: {looked:?}, and {serving} serves"
            )),
        }
    }

    fn holds(&self, migration: &MigrationId, serving: Epoch) -> bool {
        self.compared.as_ref().is_some_and(|(of, at)| of == migration && *at == serving)
    }
}
