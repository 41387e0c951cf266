//! The same board without the scheduler: who comes first is served first, whatever his lane and his
//! deadline, however hot it is. It stands for what one gets by putting a plain inference server with as
//! many slots on the board: everything is taken in, nothing leaves, nobody is refused.

use std::{collections::VecDeque, time::Duration};

use super::{
    Counts,
    day::{Asking, share},
    slots::{SLOTS, Sequence, done, step},
};

/// What becomes of a request whose deadline has passed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Callers {
    /// It is computed to its end all the same: nobody told the server.
    Wait,
    /// Its caller hangs up at that moment, and the server drops it.
    HangUp,
}

pub(super) fn serve(askings: &[Asking], callers: Callers) -> Counts {
    let mut counts = Counts { asked: askings.len(), accepted: askings.len(), ..Counts::default() };
    let mut coming = askings.iter().peekable();
    let mut waiting: VecDeque<&Asking> = VecDeque::new();
    let mut running: Vec<Sequence<&Asking>> = Vec::new();
    let mut now = Duration::ZERO;
    let dropped = |asking: &Asking, now| callers == Callers::HangUp && now > asking.at + asking.deadline;
    loop {
        while let Some(asking) = coming.next_if(|asking| asking.at <= now) {
            waiting.push_back(asking);
        }
        let before = waiting.len() + running.len();
        waiting.retain(|asking| !dropped(asking, now));
        running.retain(|sequence| !dropped(sequence.whose, now));
        counts.expired += before - waiting.len() - running.len();
        while running.len() < SLOTS
            && let Some(asking) = waiting.pop_front()
        {
            running.push(Sequence::new(asking, asking.prompt(), asking.answer));
        }
        if running.is_empty() {
            // Idle until the next one comes.
            let Some(next) = coming.peek() else { return counts };
            now = next.at;
            continue;
        }
        now += step(&mut running, share(now)).took();
        for asking in done(&mut running) {
            counts.answered(asking, now, false);
        }
    }
}
