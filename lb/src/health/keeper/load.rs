//! The keeper's part that closes established sessions on purpose: to move load back to a master that
//! returned, and to empty a backend that is drained over a time.

use std::time::Duration;

use common::duration;
use common::events::EventKind;
use common::status::Rebalancing;
use tracing::info;

use super::{Keeper, Ward};
use crate::clock::Millis;
use crate::close_reason::CloseReason;
use crate::health::State;
use crate::rebalance::{self, Order};
use crate::session::Session;
use crate::slow_start;

impl Keeper {
    /// Does once a second what is due by then.
    pub(super) fn move_load_in_time(&mut self, now: Millis) {
        if now.since(self.last_second) < rebalance::STEP {
            return;
        }
        self.last_second = now;
        self.empty_drained(now);
        let settings = self.balancer.settings().rebalance;
        if settings.on {
            let (loads, steady) = (self.loads(), self.steady(now));
            if let Some(order) = self.rebalancer.step(&loads, steady, settings.after, now) {
                self.move_load(order, now);
            }
        }
    }

    fn loads(&self) -> Vec<u32> {
        self.wards.iter().map(|ward| ward.backend.load()).collect()
    }

    /// Whether load may be moved: every backend is UP, and none was given up or added of late.
    fn steady(&self, now: Millis) -> bool {
        let settled = |ward: &Ward| {
            let slow = ward.slow_start.is_some_and(|at| now.since(at) < slow_start::LENGTH);
            ward.judge.state() == State::Up && !slow
        };
        self.wards.len() > 1 && self.wards.iter().all(settled)
    }

    /// What the operator is told, and does, without the wait for the imbalance to last.
    pub(super) fn rebalance_now(&mut self, act: bool) -> Rebalancing {
        let now = self.balancer.now();
        let steady = self.steady(now);
        let loads = self.loads();
        let order = if act {
            self.rebalancer.step(&loads, steady, Duration::ZERO, now)
        } else {
            self.rebalancer.clone().step(&loads, steady, Duration::ZERO, now)
        };
        let Some(order) = order else {
            let reason = if !steady {
                "every backend must be UP, and past its slow start"
            } else if self.rebalancer.closed_lately() > 0 {
                "the limit of 1% a second and 10% in five minutes is used up"
            } else {
                "no backend is more than 25% and 3 connections above the mean"
            };
            return Rebalancing { backend: None, sessions: 0, reason: reason.to_owned() };
        };
        let sessions = if act { self.move_load(order, now) } else { order.count };
        let name = self.wards.get(order.index).map(|ward| ward.backend.member.name.clone());
        let age = duration::exact(self.balancer.settings().rebalance.age);
        let reason = format!(
            "it is the fullest; only sessions older than {age} and quiet for 5s are closed"
        );
        Rebalancing { backend: name, sessions, reason }
    }

    fn move_load(&mut self, order: Order, now: Millis) -> u32 {
        let Some(ward) = self.wards.get(order.index) else {
            return 0;
        };
        let age = self.balancer.settings().rebalance.age;
        let closed = self.balancer.cut_some(order.count, CloseReason::Rebalanced, |session| {
            session.backend().is(&ward.backend)
                && session.is_movable(now, age, rebalance::QUIET_FOR)
        });
        if closed > 0 {
            let backend = ward.backend.member.name.as_str();
            info!(backend, closed, "sessions closed to move load");
            let text = format!("sessions closed to move load: {closed}");
            self.balancer.journal().note_about(EventKind::Rebalanced, backend, text);
        }
        self.rebalancer.closed(closed, now);
        closed
    }

    /// Closes a second's part of the sessions of backends that are drained over a time.
    fn empty_drained(&self, now: Millis) {
        for ward in &self.wards {
            let Some(until) = ward.emptied_by.filter(|_| ward.judge.drained()) else {
                continue;
            };
            let seconds = u32::try_from(until.since(now).as_secs()).unwrap_or(u32::MAX);
            let count = ward.backend.load().div_ceil(seconds.saturating_add(1));
            let of_it = |session: &Session| session.backend().is(&ward.backend);
            self.balancer.cut_some(count, CloseReason::Drained, of_it);
        }
    }
}
