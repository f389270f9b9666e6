//! Random histories against a model that is too simple to be wrong: a set of bytes for each id.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests are tests too"
)]

mod common;

use common::{DISK, GRAIN, Machine, REGION, UNIT, extent};
use hypercbt_extent::{ByteLen, DiskOffset, Extent, Extents};
use hypercbt_powercut::SimFiles;
use hypercbt_rct::{RctId, Ticket, Tracker};
use proptest::prelude::*;

#[derive(Debug, Clone, Copy)]
enum Step {
    Write(Extent),
    Begin(Extent),
    End(usize),
    Flush,
    Seal,
    Forget(usize),
    Close,
    Crash,
    /// Power goes after so many thousandths of what was done, and leaves one of the states that it may.
    Cut(u64),
    LoseRct,
    /// A byte of one of the files rots.
    Rot(&'static str, usize),
}

fn place() -> impl Strategy<Value = Extent> {
    let short = (0..DISK - 1, 1u64..3000);
    let long = (0..DISK - 1, 1u64..9 * REGION);
    prop_oneof![4 => short, 1 => long].prop_map(|(at, len)| extent(at, (at + len).min(DISK)))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => place().prop_map(Step::Write),
        3 => place().prop_map(Step::Begin),
        3 => any::<usize>().prop_map(Step::End),
        2 => Just(Step::Flush),
        3 => Just(Step::Seal),
        1 => any::<usize>().prop_map(Step::Forget),
        1 => Just(Step::Close),
        1 => Just(Step::Crash),
        1 => any::<u64>().prop_map(Step::Cut),
        1 => Just(Step::LoseRct),
        1 => (prop_oneof![Just(".rct"), Just(".mrt")], any::<usize>())
            .prop_map(|(suffix, at)| Step::Rot(suffix, at)),
    ]
}

struct Run {
    machine: Machine,
    tracker: Option<Tracker>,
    in_flight: Vec<(Ticket, Extent)>,
    /// Bytes that may have reached the disk since each id.
    truth: Vec<(RctId, Extents)>,
    /// Nothing was lost since the beginning, so the answer is the truth, in grains.
    is_exact: bool,
}

impl Run {
    fn new() -> Self {
        let machine = Machine::new();
        let tracker = Some(machine.create());
        Self {
            machine,
            tracker,
            in_flight: Vec::new(),
            truth: Vec::new(),
            is_exact: true,
        }
    }

    fn tracker(&self) -> &Tracker {
        self.tracker.as_ref().unwrap()
    }

    fn begin(&mut self, extent: Extent) {
        let ticket = self.tracker().write_begins(extent).unwrap();
        self.in_flight.push((ticket, extent));
        for (_, bytes) in &mut self.truth {
            *bytes = bytes.union(&extent.into());
        }
    }

    fn end(&mut self, number: usize) {
        if !self.in_flight.is_empty() {
            let (ticket, _) = self.in_flight.remove(number % self.in_flight.len());
            self.tracker().write_ends(ticket);
        }
    }

    fn reopen(&mut self) {
        self.is_exact = false;
        self.in_flight.clear();
        self.tracker = Some(self.machine.open().unwrap());
    }

    /// All that returned before the cut must be there; a cut in the past would take back what the model knows, so
    /// it comes at the end, where only what is not durable can go.
    fn cut(&mut self, seed: u64) {
        self.tracker = None;
        let history = self.machine.files.history();
        let state = history.state(history.len(), seed);
        self.machine.files = SimFiles::from_state(&state);
        self.reopen();
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Write(extent) => {
                self.begin(extent);
                self.end(self.in_flight.len() - 1);
            }
            Step::Begin(extent) => self.begin(extent),
            Step::End(number) => self.end(number),
            Step::Flush => self.tracker().flush().unwrap(),
            Step::Seal => {
                let id = self.tracker().seal().unwrap();
                let in_flight = self.in_flight.iter().map(|(_, extent)| *extent);
                self.truth.push((id, in_flight.collect()));
            }
            Step::Forget(number) => {
                if !self.truth.is_empty() {
                    let (id, _) = self.truth.remove(number % self.truth.len());
                    self.tracker().forget(&id).unwrap();
                }
            }
            Step::Close => {
                let tracker = self.tracker.take().unwrap();
                self.machine.close(tracker);
                self.reopen();
            }
            Step::Crash => {
                self.tracker = None;
                self.reopen();
            }
            Step::Cut(seed) => self.cut(seed),
            Step::LoseRct => {
                self.tracker = None;
                let path = self.machine.path(".rct");
                self.machine.changed(|state| state.remove(&path));
                self.reopen();
            }
            Step::Rot(suffix, at) => {
                self.tracker = None;
                // One that was lost cannot rot.
                if let Some(mut bytes) = self.machine.files.now().read(&self.machine.path(suffix)) {
                    let at = at % bytes.len();
                    bytes[at] ^= 1 << (at % 8);
                    self.machine.put(suffix, &bytes);
                }
                self.reopen();
            }
        }
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let ids: Vec<RctId> = self.truth.iter().map(|(id, _)| id.clone()).collect();
        prop_assert_eq!(self.tracker().ids(), ids);
        for (id, truth) in &self.truth {
            let answer = self.tracker().changes_since(id).unwrap();
            prop_assert!(
                truth.subtract(&answer).is_empty(),
                "{} misses {:?}",
                id,
                truth.subtract(&answer)
            );
            if self.is_exact {
                let grains = truth.align(ByteLen(GRAIN), DiskOffset(DISK));
                prop_assert_eq!(answer, grains);
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn every_answer_holds_the_truth_and_is_the_truth_while_the_process_lives(
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let mut run = Run::new();
        for step in steps {
            run.step(step);
            run.check()?;
        }
    }

    #[test]
    fn after_clean_stops_the_answer_is_the_truth_in_units(
        steps in proptest::collection::vec(
            prop_oneof![
                6 => place().prop_map(Step::Write),
                2 => Just(Step::Seal),
                1 => Just(Step::Close),
            ],
            1..60,
        ),
    ) {
        let mut run = Run::new();
        for step in steps {
            run.step(step);
            run.check()?;
        }
        run.step(Step::Close);
        for (id, truth) in &run.truth {
            let answer = run.tracker().changes_since(id).unwrap();
            let units = truth.align(ByteLen(UNIT), DiskOffset(DISK));
            prop_assert!(answer.subtract(&units).is_empty());
        }
    }
}
