//! Nodes that fail, come back, and go gray.
//!
//! A node's hazard is its own, and what load above 95 % of its capacity adds; racks fail by themselves; a gray node
//! may die. What decides is a draw of the node and the tick, the same for all policies.

use super::losses::{Failed, Fault};
use crate::world::{Stream, TICKS_PER_DAY, TICKS_PER_H, World};
use rand_distr::LogNormal;

/// Where all nodes are.
pub(crate) struct Nodes {
    pub(crate) up: Vec<bool>,
    pub(crate) load: Vec<f64>,
    /// Load over what the node can bear at present, copies included.
    pub(crate) utilisation: Vec<f64>,
    /// Copies that it takes part in.
    pub(crate) copies: Vec<u32>,
    pub(super) failed_at: Vec<usize>,
    returns: Vec<usize>,
    /// The tick up to which it is gray; 0 if it never was.
    gray_until: Vec<usize>,
}

impl Nodes {
    pub(super) fn new(count: usize) -> Self {
        Self {
            up: vec![true; count],
            load: vec![0.0; count],
            utilisation: vec![0.0; count],
            copies: vec![0; count],
            failed_at: vec![0; count],
            returns: vec![0; count],
            gray_until: vec![0; count],
        }
    }

    pub(crate) fn is_gray(&self, node: usize, tick: usize) -> bool {
        self.gray_until[node] > tick
    }

    pub(super) fn come_back(&mut self, tick: usize) {
        for (up, returns) in self.up.iter_mut().zip(&self.returns) {
            *up |= *returns <= tick;
        }
    }

    /// Who fails at a tick, and why.
    pub(super) fn fail(&mut self, world: &World, tick: usize) -> Vec<Failed> {
        let spec = world.spec();
        let (chance, failure) = (world.chance(), &spec.failure);
        let mut failed: Vec<Failed> = Vec::new();
        for (node, truth) in world.nodes().iter().enumerate().filter(|(node, _)| self.up[*node]) {
            let over = ((self.utilisation[node] - 0.95) / 0.1).clamp(0.0, 5.0);
            let own = if failure.independent { truth.hazard_at(tick) / TICKS_PER_DAY as f64 } else { 0.0 };
            let hazard = own + failure.overload_per_h / TICKS_PER_H as f64 * over;
            let draw = chance.unit(Stream::Fail, node, tick);
            let ends_gray = self.gray_until[node] == tick && tick > 0;
            let fault = if draw < -(-own).exp_m1() {
                Fault::Alone
            } else if draw < -(-hazard).exp_m1() {
                Fault::Overloaded
            } else if ends_gray && chance.unit(Stream::GrayEnd, node, tick) < spec.gray.dies {
                Fault::Gray
            } else {
                continue;
            };
            let (median_h, spread) = if chance.unit(Stream::Outage, node, 2 * tick) < failure.short {
                (failure.short_h, 0.6)
            } else {
                (failure.long_h, 0.7)
            };
            let outage = LogNormal::new((median_h * TICKS_PER_H as f64).ln(), spread)
                .expect("outages were checked to be above 0");
            let ticks: f64 = chance.from(&outage, Stream::Outage, node, 2 * tick + 1);
            failed.push(Failed { tick, node: node as u16, fault });
            self.returns[node] = tick + (ticks.round() as usize).max(1);
        }
        for rack in 0..usize::from(spec.racks) {
            if chance.unit(Stream::FailRack, rack, tick) >= failure.rack_per_day / TICKS_PER_DAY as f64 {
                continue;
            }
            let ticks = 2 + (chance.unit(Stream::RackOutage, rack, tick) * 7.0) as usize;
            for (node, _) in world.nodes().iter().enumerate().filter(|(_, n)| usize::from(n.rack) == rack) {
                if self.up[node] {
                    failed.retain(|other| usize::from(other.node) != node);
                    failed.push(Failed { tick, node: node as u16, fault: Fault::Rack });
                    self.returns[node] = tick + ticks;
                }
            }
        }
        failed
    }

    /// Who goes gray at a tick.
    pub(super) fn turn_gray(&mut self, world: &World, tick: usize) {
        let gray = &world.spec().gray;
        let lasts = LogNormal::new((gray.median_h * TICKS_PER_H as f64).ln(), 0.7)
            .expect("the median was checked to be above 0");
        for (node, truth) in world.nodes().iter().enumerate() {
            let times = if truth.flaky_at(tick) { world.spec().flaky.gray_times } else { 1.0 };
            let hazard = gray.per_day * times / TICKS_PER_DAY as f64;
            let free = self.up[node] && self.gray_until[node] <= tick;
            if free && world.chance().unit(Stream::Gray, node, 2 * tick) < hazard {
                let ticks: f64 = world.chance().from(&lasts, Stream::Gray, node, 2 * tick + 1);
                self.gray_until[node] = tick + (ticks.round() as usize).max(1);
            }
        }
    }
}
