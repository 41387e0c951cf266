//! Whether a request can be answered in time, from measured speed and the queue before it.

use std::{ops::Add, time::Duration};

/// What a request takes of the engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Tokens of the prompt.
    pub prompt: u64,
    /// Tokens of the answer, as far as one can tell before it is written.
    pub answer: u64,
}

impl Work {
    /// Prompt and answer together: the cost in the fair queue.
    pub fn tokens(self) -> u64 {
        self.prompt + self.answer
    }
}

impl Add for Work {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { prompt: self.prompt + other.prompt, answer: self.answer + other.answer }
    }
}

/// What the engine was measured to do, tokens per second; 0: not measured yet.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Speed {
    /// Of reading prompts.
    pub prefill: f64,
    /// Of writing answers, all slots together.
    pub decode: f64,
}

impl Speed {
    /// Time for `work`; `None` before anything was measured.
    pub fn time_for(self, work: Work) -> Option<Duration> {
        let measured = self.prefill > 0.0 && self.decode > 0.0;
        let seconds = work.prompt as f64 / self.prefill + work.answer as f64 / self.decode;
        measured.then(|| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
    }
}

/// Why a request would come too late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TooLate {
    /// Even an idle engine would need longer than the deadline allows.
    Alone {
        /// What it would need.
        needs: Duration,
    },
    /// The queue is too long; it will be short enough after this time.
    Behind {
        /// When a retry is worth its while.
        retry_after: Duration,
    },
}

/// Holds a request against its deadline. As long as nothing was measured everything is let
/// in: a wrong refusal is worse than a late answer, which the deadline itself catches.
pub fn in_time(speed: Speed, ahead: Work, own: Work, left: Duration) -> Result<(), TooLate> {
    let (Some(wait), Some(needs)) = (speed.time_for(ahead), speed.time_for(own)) else { return Ok(()) };
    if needs > left {
        return Err(TooLate::Alone { needs });
    }
    match wait.saturating_add(needs).checked_sub(left) {
        None | Some(Duration::ZERO) => Ok(()),
        Some(late) => Err(TooLate::Behind { retry_after: late }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEED: Speed = Speed { prefill: 100.0, decode: 10.0 };
    const fn work(prompt: u64, answer: u64) -> Work {
        Work { prompt, answer }
    }
    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_request_that_cannot_be_done_in_time_is_told_when_to_come_back() {
        // Ahead: 2 s + 8 s; own: 1 s + 4 s.
        let check = |left| in_time(SPEED, work(200, 80), work(100, 40), left);
        assert_eq!(check(s(15)), Ok(()));
        assert_eq!(check(s(12)), Err(TooLate::Behind { retry_after: s(3) }));
        assert_eq!(check(s(4)), Err(TooLate::Alone { needs: s(5) }));
    }

    #[test]
    fn before_anything_was_measured_everything_is_let_in() {
        for speed in [Speed::default(), Speed { decode: 0.0, ..SPEED }, Speed { prefill: 0.0, ..SPEED }] {
            assert_eq!(in_time(speed, work(1 << 40, 1), work(1, 1 << 40), s(1)), Ok(()));
        }
    }

    #[test]
    fn absurd_numbers_are_late_and_do_not_overflow() {
        let slow = Speed { prefill: 1e-300, decode: 1e-300 };
        assert!(in_time(slow, work(u64::MAX / 4, 0), work(1, 1), s(1)).is_err());
    }
}
