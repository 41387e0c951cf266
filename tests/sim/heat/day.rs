//! The day as data: how hot the board is, how fast a board of that heat is, and who asks when.

use std::time::Duration;

use outpost::{domain::Lane, host::HeatLevels};

use crate::dice::Dice;

/// Minutes since the morning and °C; between two points the board warms or cools evenly.
pub(super) const HEAT: [(u64, f64); 12] = [
    (0, 52.0),
    (40, 58.0),
    (60, 68.0),
    (75, 76.0),
    (90, 82.0),
    (130, 87.0),
    (150, 92.0),
    (170, 93.0),
    (185, 86.0),
    (220, 81.0),
    (240, 70.0),
    (300, 58.0),
];

/// What its trip points say.
pub(super) const LEVELS: HeatLevels = HeatLevels { warm: 72.0, hot: 80.0, critical: 90.0 };

/// From so many °C on a board runs at this share of its speed: firmware throttles in steps.
pub(super) const THROTTLE: [(f64, f64); 3] = [(90.0, 0.25), (80.0, 0.5), (f64::NEG_INFINITY, 1.0)];

/// Nobody asks after this.
pub(super) const EVENING: Duration = Duration::from_hours(5);

/// How hot the board is.
pub(super) fn celsius(at: Duration) -> f64 {
    let minutes = at.as_secs_f64() / 60.0;
    let after = HEAT.iter().position(|(then, _)| *then as f64 > minutes);
    let Some(after) = after else { return HEAT[HEAT.len() - 1].1 };
    let ((from, cool), (to, hot)) = (HEAT[after - 1], HEAT[after]);
    cool + (hot - cool) * (minutes - from as f64) / (to - from) as f64
}

/// The share of its speed that is left to it.
pub(super) fn share(at: Duration) -> f64 {
    let celsius = celsius(at);
    THROTTLE.iter().find(|(from, _)| celsius >= *from).map_or(1.0, |(_, share)| *share)
}

/// One request of the day.
#[derive(Clone, Debug)]
pub(super) struct Asking {
    pub(super) at: Duration,
    pub(super) client: &'static str,
    pub(super) lane: Lane,
    /// Of a public client, and nevertheless not to leave.
    pub(super) labelled: bool,
    pub(super) words: u64,
    /// Tokens of its answer.
    pub(super) answer: u64,
    pub(super) deadline: Duration,
}

impl Asking {
    pub(super) fn may_leave(&self) -> bool {
        PUBLIC.contains(&self.client) && !self.labelled
    }

    /// Tokens of its prompt, with what the template adds.
    pub(super) fn prompt(&self) -> u64 {
        self.words + TEMPLATE_TOKENS
    }
}

/// Clients whose data are public; those of the others are restricted.
pub(super) const PUBLIC: [&str; 3] = ["kiosk", "line", "report"];
/// What the template writes around a prompt; the engine holds it against what it really gets.
pub(super) const TEMPLATE_TOKENS: u64 = 32;

/// Who asks in the course of the day: a load that keeps the cool board busy for about 60 % of the time.
pub(super) fn askings(seed: u64) -> Vec<Asking> {
    let mut dice = Dice::new(seed, "askings");
    let mut at = Duration::ZERO;
    let mut all = Vec::new();
    loop {
        at += dice.millis(1_000, 13_000);
        if at >= EVENING {
            return all;
        }
        let (lane, clients, deadline_s) = match dice.below(20) {
            0..8 => (Lane::Interactive, ["kiosk", "panel"], 30),
            8..15 => (Lane::Normal, ["line", "press"], 90),
            _ => (Lane::Batch, ["report", "recipes"], 900),
        };
        let public = dice.below(100) < 60;
        all.push(Asking {
            at,
            client: clients[usize::from(!public)],
            lane,
            labelled: public && dice.once_in(10),
            words: 40 + dice.below(121),
            answer: 20 + dice.below(41),
            deadline: Duration::from_secs(deadline_s),
        });
    }
}
