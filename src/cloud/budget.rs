//! How much may be spent: reserved before a call at its worst price, settled after it. Pure.
//!
//! Days and months are UTC's. While the clock was never set everything belongs to day 0, which counts
//! into each day and month: a clock that is wrong makes nobody richer.

use std::collections::BTreeMap;

use crate::domain::{ClientId, MicroUsd};

/// Whose spending a cap is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everybody's.
    All,
    /// One client's, or one task's, which is a client of its own.
    Client(ClientId),
    /// What goes to one provider.
    Provider(String),
}

impl Scope {
    fn holds(&self, account: &Account) -> bool {
        match self {
            Self::All => true,
            Self::Client(client) => *client == account.client,
            Self::Provider(provider) => *provider == account.provider,
        }
    }

    fn name(&self) -> String {
        match self {
            Self::All => "all together".into(),
            Self::Client(client) => format!("client {client}"),
            Self::Provider(provider) => format!("provider {provider}"),
        }
    }
}

/// A bound on spending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cap {
    /// Whose.
    pub scope: Scope,
    /// Of one request.
    pub per_request: Option<MicroUsd>,
    /// Of one day.
    pub per_day: Option<MicroUsd>,
    /// Of one month of the calendar.
    pub per_month: Option<MicroUsd>,
}

/// Who spends at whom.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Account {
    /// Who asked.
    pub client: ClientId,
    /// Who is paid.
    pub provider: String,
}

/// A day, and the first day of its month; both counted from 1970-01-01, 0: the clock was not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Today {
    /// Today.
    pub day: i64,
    /// The first of the month.
    pub month: i64,
}

/// Which cap is in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exhausted {
    /// Whose, in words.
    pub whose: String,
    /// `request`, `day` or `month`.
    pub span: &'static str,
    /// The cap.
    pub cap: MicroUsd,
    /// Spent and reserved already.
    pub spent: MicroUsd,
    /// What was asked for.
    pub asked: MicroUsd,
    /// Calls that are under way stand in the way, which are likely to cost less than they can.
    pub for_now: bool,
}

impl std::fmt::Display for Exhausted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { whose, span, cap, spent, asked, .. } = self;
        write!(
            f,
            "the budget of {whose} is {cap} a {span}, {spent} is spent or reserved and this may cost {asked}"
        )
    }
}

/// Spent and reserved sums.
#[derive(Clone, Debug, Default)]
pub struct Budget {
    caps: Vec<Cap>,
    spent: BTreeMap<(i64, Account), MicroUsd>,
    reserved: BTreeMap<u64, (i64, Account, MicroUsd)>,
    next: u64,
}

/// Names one reservation. To be given back by [`Budget::settle`]; until then it counts as spent.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub struct Reservation(u64);

impl Budget {
    /// With nothing spent.
    pub fn new(caps: Vec<Cap>) -> Self {
        Self { caps, ..Self::default() }
    }

    /// Adds what was spent before this start.
    pub fn spent_before(&mut self, day: i64, account: Account, amount: MicroUsd) {
        self.book(day, account, amount);
    }

    /// Whether so much may be spent, as things stand.
    pub fn allows(&self, account: &Account, amount: MicroUsd, today: Today) -> Result<(), Exhausted> {
        for cap in self.caps.iter().filter(|cap| cap.scope.holds(account)) {
            let spans = [
                ("request", cap.per_request, None),
                ("day", cap.per_day, Some(today.day)),
                ("month", cap.per_month, Some(today.month)),
            ];
            for (span, most, since) in spans {
                let Some(most) = most else { continue };
                let spent = since.map_or(MicroUsd::ZERO, |since| self.spent_since(&cap.scope, since));
                let reserved = since.map_or(MicroUsd::ZERO, |_| self.reserved_of(&cap.scope));
                if spent.plus(reserved).plus(amount) > most {
                    let (whose, for_now) = (cap.scope.name(), spent.plus(amount) <= most);
                    let spent = spent.plus(reserved);
                    return Err(Exhausted { whose, span, cap: most, spent, asked: amount, for_now });
                }
            }
        }
        Ok(())
    }

    /// Takes the worst price of a call.
    pub fn reserve(
        &mut self,
        account: Account,
        amount: MicroUsd,
        today: Today,
    ) -> Result<Reservation, Exhausted> {
        self.forget_before(today);
        self.allows(&account, amount, today)?;
        self.next += 1;
        self.reserved.insert(self.next, (today.day, account, amount));
        Ok(Reservation(self.next))
    }

    /// Puts what a call really cost in the place of its reservation.
    pub fn settle(&mut self, Reservation(number): Reservation, cost: MicroUsd) {
        if let Some((day, account, _)) = self.reserved.remove(&number) {
            self.book(day, account, cost);
        }
    }

    /// Puts what the bill says of a call in the place of what was booked for it.
    pub fn correct(&mut self, day: i64, account: Account, booked: MicroUsd, billed: MicroUsd) {
        let sum = self.spent.entry((day, account)).or_default();
        *sum = MicroUsd(sum.0.saturating_sub(booked.0)).plus(billed);
    }

    /// Gives what was spent before anybody knew the day to `day`.
    pub fn date(&mut self, day: i64) {
        let (undated, dated): (BTreeMap<_, _>, _) =
            std::mem::take(&mut self.spent).into_iter().partition(|((day, _), _)| *day == 0);
        self.spent = dated;
        for ((_, account), sum) in undated {
            self.book(day, account, sum);
        }
    }

    /// What everybody has spent and reserved today and this month.
    pub fn total(&self, today: Today) -> (MicroUsd, MicroUsd) {
        let reserved = self.reserved_of(&Scope::All);
        [today.day, today.month].map(|since| self.spent_since(&Scope::All, since).plus(reserved)).into()
    }

    /// The cap on everybody, as far as there is one: of a day, of a month.
    pub fn cap(&self) -> (Option<MicroUsd>, Option<MicroUsd>) {
        let all = self.caps.iter().filter(|cap| cap.scope == Scope::All);
        all.fold((None, None), |(day, month), cap| (smaller(day, cap.per_day), smaller(month, cap.per_month)))
    }

    /// Forgets what no span reaches any more; nothing while nobody knows which month it is.
    fn forget_before(&mut self, today: Today) {
        if today.month != 0 {
            self.spent.retain(|(day, _), _| *day == 0 || *day >= today.month);
        }
    }

    fn book(&mut self, day: i64, account: Account, cost: MicroUsd) {
        let sum = self.spent.entry((day, account)).or_default();
        *sum = sum.plus(cost);
    }

    fn spent_since(&self, scope: &Scope, since: i64) -> MicroUsd {
        let counts = |day: i64| day == 0 || since == 0 || day >= since;
        let spent = self.spent.iter().filter(|((day, account), _)| counts(*day) && scope.holds(account));
        spent.map(|(_, sum)| *sum).fold(MicroUsd::ZERO, MicroUsd::plus)
    }

    fn reserved_of(&self, scope: &Scope) -> MicroUsd {
        let reserved = self.reserved.values().filter(|(_, account, _)| scope.holds(account));
        reserved.map(|(_, _, amount)| *amount).fold(MicroUsd::ZERO, MicroUsd::plus)
    }
}

fn smaller(a: Option<MicroUsd>, b: Option<MicroUsd>) -> Option<MicroUsd> {
    [a, b].into_iter().flatten().min()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TODAY: Today = Today { day: 20_000, month: 19_990 };

    fn account(client: &str, provider: &str) -> Account {
        Account { client: ClientId::new(client).unwrap(), provider: provider.into() }
    }

    fn cap(scope: Scope, day: u64, month: u64) -> Cap {
        Cap { scope, per_request: None, per_day: Some(MicroUsd(day)), per_month: Some(MicroUsd(month)) }
    }

    #[test]
    fn each_span_and_each_scope_has_its_own_cap() {
        let press = ClientId::new("press").unwrap();
        let mut budget = Budget::new(vec![
            cap(Scope::All, 100, 150),
            cap(Scope::Client(press), 50, 1_000),
            Cap { per_request: Some(MicroUsd(30)), ..cap(Scope::Provider("dear".into()), 1_000, 1_000) },
        ]);
        let mut spend = |who: &str, at: &str, amount| {
            let reserved = budget.reserve(account(who, at), MicroUsd(amount), TODAY);
            reserved.map(|r| budget.settle(r, MicroUsd(amount))).map_err(|e| (e.whose, e.span))
        };
        assert_eq!(spend("press", "dear", 31), Err(("provider dear".into(), "request")));
        assert_eq!(spend("press", "x", 45), Ok(()));
        assert_eq!(spend("press", "x", 6), Err(("client press".into(), "day")));
        assert_eq!(spend("plc", "x", 55), Ok(()));
        assert_eq!(spend("plc", "x", 1), Err(("all together".into(), "day")));
        let tomorrow = Today { day: TODAY.day + 1, ..TODAY };
        assert!(budget.allows(&account("plc", "x"), MicroUsd(50), tomorrow).is_ok());
        let month = budget.allows(&account("plc", "x"), MicroUsd(51), tomorrow).unwrap_err();
        assert_eq!((month.span, month.spent), ("month", MicroUsd(100)));
        let next = Today { day: TODAY.day + 30, month: TODAY.day + 20 };
        assert!(budget.allows(&account("plc", "x"), MicroUsd(100), next).is_ok());
        budget.forget_before(next);
        assert_eq!(budget.total(TODAY), (MicroUsd(0), MicroUsd(0)));
    }

    #[test]
    fn a_clock_that_was_never_set_makes_nobody_richer() {
        let unset = Today { day: 0, month: 0 };
        let mut budget = Budget::new(vec![cap(Scope::All, 100, 100)]);
        budget.spent_before(0, account("a", "x"), MicroUsd(60));
        assert!(budget.allows(&account("a", "x"), MicroUsd(41), TODAY).is_err());
        budget.spent_before(TODAY.day - 40, account("a", "x"), MicroUsd(39));
        assert!(budget.allows(&account("a", "x"), MicroUsd(2), unset).is_err());
    }

    proptest! {
        #[test]
        fn a_cap_is_never_passed_whatever_runs_at_once(
            worst in prop::collection::vec((1u64..60, 0u64..60), 1..200), most in 1u64..400,
        ) {
            let mut budget = Budget::new(vec![cap(Scope::All, most, most)]);
            let mut open = Vec::new();
            for (n, (asked, cost)) in worst.into_iter().enumerate() {
                if let Ok(reserved) = budget.reserve(account("a", "x"), MicroUsd(asked), TODAY) {
                    open.push((reserved, MicroUsd(cost.min(asked))));
                }
                if n % 3 == 0 && let Some((reserved, cost)) = open.pop() {
                    budget.settle(reserved, cost);
                }
                prop_assert!(budget.total(TODAY).0 <= MicroUsd(most));
            }
        }
    }
}
