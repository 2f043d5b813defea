//! What is to go wrong: which fault, for which requests, how often. The same seed makes the same choices.

use std::{collections::HashMap, time::Duration};

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is passed on only after this time.
    Delay(Duration),
    /// The connection is reset; the server never saw the request.
    ResetBefore,
    /// The server has done what was asked; the connection is reset instead of an answer.
    ResetAfter,
    /// The connection is reset; the server gets the request after this time all the same, when others have overtaken it.
    Late(Duration),
    /// The server's way to say "slower": ProvisionedThroughputExceededException, or 503 SlowDown. Nothing is done.
    Throttle,
    /// 500, and nothing is done.
    ErrorBefore,
    /// 500, and it is done all the same.
    ErrorAfter,
    /// It is done; the answer's body stops half way and the connection ends.
    CutAnswer,
}

impl Fault {
    /// One of each kind; times are short.
    pub const EACH: [Self; 8] = [
        Self::Delay(Duration::from_millis(300)),
        Self::ResetBefore,
        Self::ResetAfter,
        Self::Late(Duration::from_millis(500)),
        Self::Throttle,
        Self::ErrorBefore,
        Self::ErrorAfter,
        Self::CutAnswer,
    ];
}

/// Which requests meet which fault.
#[derive(Debug, Clone)]
pub struct Rule {
    faults: Vec<Fault>,
    operations: Vec<String>,
    per_mille: u64,
    at_most: Option<u64>,
}

impl Rule {
    /// Every request meets this fault.
    pub fn new(fault: Fault) -> Self {
        Self::any_of(&[fault])
    }

    /// Every request meets one of these faults, chosen by the plan's seed.
    ///
    /// # Panics
    /// When there is none to choose.
    pub fn any_of(faults: &[Fault]) -> Self {
        assert!(!faults.is_empty(), "a rule without a fault");
        Self { faults: faults.to_vec(), operations: Vec::new(), per_mille: 1000, at_most: None }
    }

    /// Only requests of these operations do.
    pub fn on(mut self, operations: &[&str]) -> Self {
        self.operations = operations.iter().map(|&name| name.to_owned()).collect();
        self
    }

    /// Only so many of a thousand do, chosen by the plan's seed.
    pub fn per_mille(mut self, chance: u64) -> Self {
        self.per_mille = chance;
        self
    }

    /// Only the first so many do.
    pub fn at_most(mut self, count: u64) -> Self {
        self.at_most = Some(count);
        self
    }
}

/// Rules in order: the first that catches a request decides.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    seed: u64,
    rules: Vec<Rule>,
}

impl Plan {
    /// Nothing goes wrong yet; chances are drawn by this seed.
    pub fn seeded(seed: u64) -> Self {
        Self { seed, rules: Vec::new() }
    }

    /// Adds a rule behind the others.
    pub fn with(mut self, rule: Rule) -> Self {
        self.rules.push(rule);
        self
    }

    /// So many of a thousand requests meet a fault of any kind.
    pub fn mixture(seed: u64, per_mille: u64) -> Self {
        Self::seeded(seed).with(Rule::any_of(&Fault::EACH).per_mille(per_mille))
    }
}

impl From<Rule> for Plan {
    fn from(rule: Rule) -> Self {
        Self::default().with(rule)
    }
}

impl From<Fault> for Plan {
    fn from(fault: Fault) -> Self {
        Rule::new(fault).into()
    }
}

/// A plan and how far it has gone.
#[derive(Debug, Default)]
pub(super) struct Running {
    plan: Plan,
    /// How many requests of each operation were judged.
    seen: HashMap<String, u64>,
    /// How many each rule caught.
    caught: HashMap<usize, u64>,
}

impl Running {
    pub(super) fn new(plan: Plan) -> Self {
        Self { plan, ..Self::default() }
    }

    /// Returns what the next request of an operation meets. It depends on the seed and on how many of the same operation went
    /// before, not on how those of different operations mix.
    pub(super) fn next(&mut self, operation: &str) -> Option<Fault> {
        let seen = self.seen.entry(operation.to_owned()).or_default();
        let number = *seen;
        *seen += 1;
        for (index, rule) in self.plan.rules.iter().enumerate() {
            let chosen = rule.operations.is_empty() || rule.operations.iter().any(|name| name == operation);
            let caught = self.caught.entry(index).or_default();
            let left = rule.at_most.is_none_or(|most| *caught < most);
            let throw = drawn(self.plan.seed, index, operation, number);
            if chosen && left && throw % 1000 < rule.per_mille {
                *caught += 1;
                let kinds = u64::try_from(rule.faults.len()).ok()?;
                return rule.faults.get(usize::try_from((throw >> 32) % kinds).ok()?).copied();
            }
        }
        None
    }
}

/// Returns a number that nothing but these four decides (FNV-1a, then the mixer of SplitMix64).
fn drawn(seed: u64, rule: usize, operation: &str, number: u64) -> u64 {
    let mut hash = 0xCBF2_9CE4_8422_2325_u64;
    let octets = seed.to_le_bytes().into_iter().chain(rule.to_le_bytes()).chain(number.to_le_bytes());
    for octet in octets.chain(operation.bytes()) {
        hash = (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01B3);
    }
    let mixed = (hash ^ (hash >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::{Fault, Plan, Rule, Running};

    fn first(plan: Plan, count: usize) -> Vec<Option<Fault>> {
        let mut running = Running::new(plan);
        (0..count).map(|_| running.next("PutItem")).collect()
    }

    #[test]
    fn one_seed_makes_one_run() {
        assert_eq!(first(Plan::mixture(7, 300), 500), first(Plan::mixture(7, 300), 500));
        assert_ne!(first(Plan::mixture(7, 300), 500), first(Plan::mixture(8, 300), 500));
    }

    #[test]
    fn other_operations_do_not_change_what_one_meets() {
        let alone = first(Plan::mixture(7, 300), 100);
        let mut running = Running::new(Plan::mixture(7, 300));
        let mixed: Vec<_> = (0..100)
            .map(|n| {
                (0..n % 3).for_each(|_| _ = running.next("GetItem"));
                running.next("PutItem")
            })
            .collect();
        assert_eq!(alone, mixed);
    }

    #[test]
    fn chances_are_kept_and_every_fault_comes_up() {
        let met: Vec<Fault> = first(Plan::mixture(1, 100), 10_000).into_iter().flatten().collect();
        assert!((900..1100).contains(&met.len()), "{}", met.len());
        for fault in Fault::EACH {
            let times = met.iter().filter(|other| **other == fault).count();
            assert!(times > 80, "{fault:?} {times} times");
        }
    }

    #[test]
    fn rules_choose_operations_and_end() {
        let rule = Rule::new(Fault::Throttle).on(&["PutItem"]).at_most(2);
        let plan = Plan::from(rule).with(Rule::new(Fault::ResetAfter).on(&["GetItem"]));
        let mut running = Running::new(plan);
        assert_eq!(running.next("Query"), None);
        assert_eq!(running.next("GetItem"), Some(Fault::ResetAfter));
        let met: Vec<_> = (0..3).map(|_| running.next("PutItem")).collect();
        assert_eq!(met, [Some(Fault::Throttle), Some(Fault::Throttle), None]);
    }
}
