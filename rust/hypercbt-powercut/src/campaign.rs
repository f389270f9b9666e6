//! Many states of one history, each looked at once.

use std::collections::HashSet;
use std::env;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cut::Cut;
use crate::files::SimFiles;
use crate::history::History;
use crate::plan::Plan;
use crate::random::{Random, scramble};
use crate::state::State;

/// How many states a campaign shall look at, and where it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// Distinct states.
    pub distinct: u64,
    /// Draws them.
    pub seed: u64,
}

impl Asked {
    /// What the variables `HYPERCBT_POWER_CUTS` and `HYPERCBT_POWER_CUT_SEED` say, or a small default.
    ///
    /// # Panics
    /// Where one of them is no number.
    pub fn from_env(distinct: u64) -> Self {
        let number = |name: &str, default| match env::var(name) {
            Ok(text) => text
                .parse()
                .unwrap_or_else(|_| panic!("{name}={text} is no number")),
            Err(_) => default,
        };
        Self {
            distinct: number("HYPERCBT_POWER_CUTS", distinct),
            seed: number("HYPERCBT_POWER_CUT_SEED", 1),
        }
    }
}

/// What a campaign found.
#[derive(Debug, Clone)]
pub struct Report {
    /// Different states that were looked at. One that may be found after several operations counts once.
    pub distinct: u64,
    /// Looks: a state is checked anew for each operation after which it may be found, unless nothing more was promised.
    pub checked: u64,
    /// States that were made, equal ones included.
    pub drawn: u64,
    /// What the campaign began with.
    pub seed: u64,
    /// How long it took.
    pub took: Duration,
    /// The first state that was wrong.
    pub failure: Option<Failure>,
}

/// A state that was wrong: `history.state(at, seed)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// After how many operations power went.
    pub at: usize,
    /// Which state.
    pub seed: u64,
    /// What is wrong.
    pub why: String,
}

impl Report {
    /// Both campaigns as one. A state that both met counts twice.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            distinct: self.distinct + other.distinct,
            checked: self.checked + other.checked,
            drawn: self.drawn + other.drawn,
            seed: self.seed,
            took: self.took + other.took,
            failure: self.failure.or(other.failure),
        }
    }
}

/// One line for people.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} distinct states ({} checks), seed {}, {:.1} s, {} failures",
            self.distinct,
            self.checked,
            self.seed,
            self.took.as_secs_f64(),
            u8::from(self.failure.is_some())
        )?;
        match &self.failure {
            Some(Failure { at, seed, why }) => write!(f, ": state({at}, {seed}): {why}"),
            None => Ok(()),
        }
    }
}

/// So many draws in a row with nothing new, and a cut point counts as exhausted.
const DRY: u32 = 64;
/// Cuts of longer histories are made anew each time.
const MOST_CUTS_KEPT: usize = 8192;

/// One point at which power may go.
struct Point {
    at: usize,
    cut: Option<Cut>,
    extremes: Vec<Plan>,
    /// The next extreme.
    next: usize,
    dry: u32,
}

/// What was looked at so far.
struct Looks {
    report: Report,
    started: Instant,
    states: HashSet<u128>,
    /// With the number of promises that were given.
    checked: HashSet<(usize, u128)>,
    promises: Arc<[usize]>,
}

impl Looks {
    fn new(history: &History, seed: u64) -> Self {
        Self {
            report: Report {
                distinct: 0,
                checked: 0,
                drawn: 0,
                seed,
                took: Duration::ZERO,
                failure: None,
            },
            started: Instant::now(),
            states: HashSet::new(),
            checked: HashSet::new(),
            promises: Arc::clone(&history.promises),
        }
    }

    /// Counts a state. False if it was looked at before with the same promises.
    fn is_new(&mut self, at: usize, state: &State) -> bool {
        self.report.drawn += 1;
        let promised = match &*self.promises {
            [] => at,
            promises => promises.partition_point(|&from| from <= at),
        };
        let digest = state.digest();
        let new = self.checked.insert((promised, digest));
        self.report.checked += u64::from(new);
        self.report.distinct += u64::from(self.states.insert(digest));
        new
    }

    /// Visits the points in turn, each in a new order.
    fn visit(
        mut self,
        history: &History,
        distinct: u64,
        mut check: impl FnMut(&mut Self, usize, &State) -> Result<(), String>,
    ) -> Report {
        let mut random = Random::new(self.report.seed, 0);
        let mut points: Vec<Point> = (history.first..=history.len()).map(Point::new).collect();
        'all: for round in 0_u64.. {
            random.shuffle(&mut points);
            for point in &mut points {
                if self.report.distinct >= distinct {
                    break 'all;
                }
                let cut = point.cut(history);
                for (seed, plan) in point.draw(&cut, round, &mut random) {
                    let state = cut.state(&plan);
                    if !self.is_new(point.at, &state) {
                        point.dry += 1;
                        continue;
                    }
                    point.dry = 0;
                    if let Err(why) = check(&mut self, point.at, &state) {
                        let at = point.at;
                        self.report.failure = Some(Failure { at, seed, why });
                        break 'all;
                    }
                }
                point.put_back(cut, history);
            }
            points.retain(|point| !point.is_exhausted());
            if points.is_empty() {
                break;
            }
        }
        self.report.took = self.started.elapsed();
        self.report
    }
}

/// Checks states of a history until `distinct` different ones were looked at, there seem to be no more, or one is wrong.
///
/// The points at which power may go are visited in turn, in an order that changes: extremes first, then
/// states drawn by chance. `check` is told after how many operations power went, so it knows what was promised then.
/// A state that may be found after several operations is checked for each of them, unless
/// [`History::with_promises`] says that nothing was promised between.
pub fn campaign(
    history: &History,
    seed: u64,
    distinct: u64,
    mut check: impl FnMut(usize, &State) -> Result<(), String>,
) -> Report {
    let looks = Looks::new(history, seed);
    looks.visit(history, distinct, |_, at, state| check(at, state))
}

/// As [`campaign`], and power goes during the recovery too: `recover` starts from each state on a machine of its
/// own, repairs what it must, and says whether everything promised is there. What it wrote meanwhile is cut in turn,
/// in a few places, and recovered again. Those states count too.
pub fn campaign_with_recoveries(
    history: &History,
    seed: u64,
    distinct: u64,
    mut recover: impl FnMut(usize, &SimFiles) -> Result<(), String>,
) -> Report {
    /// States of each recovery.
    const CUTS: u64 = 2;
    let mut random = Random::new(seed, 1);
    let looks = Looks::new(history, seed);
    looks.visit(history, distinct, |looks, at, state| {
        let files = SimFiles::from_state(state);
        recover(at, &files)?;
        let recovery = files.history();
        for _ in 0..if recovery.is_empty() { 0 } else { CUTS } {
            let cut_at = random.index(recovery.len() + 1);
            // One of the first extremes, or any.
            let of = random.next() >> random.pick(&[1, 61]);
            let state = recovery.state(cut_at, of);
            if looks.is_new(at, &state) {
                recover(at, &SimFiles::from_state(&state))
                    .map_err(|why| format!("the recovery cut at state({cut_at}, {of}): {why}"))?;
            }
        }
        Ok(())
    })
}

impl Point {
    fn new(at: usize) -> Self {
        Self {
            at,
            cut: None,
            extremes: Vec::new(),
            next: 0,
            dry: 0,
        }
    }

    fn cut(&mut self, history: &History) -> Cut {
        let cut = self.cut.take().unwrap_or_else(|| history.cut(self.at));
        if self.extremes.is_empty() {
            self.extremes = cut.extremes();
        }
        cut
    }

    fn put_back(&mut self, cut: Cut, history: &History) {
        if history.len() <= MOST_CUTS_KEPT {
            self.cut = Some(cut);
        }
    }

    /// What this visit tries: an extreme as long as there are any, and after the first visits one by chance.
    fn draw(&mut self, cut: &Cut, round: u64, random: &mut Random) -> Vec<(u64, Plan)> {
        let mut draws = Vec::new();
        if let Some(plan) = self.extremes.get(self.next) {
            draws.push((self.next as u64, plan.clone()));
            self.next += 1;
        }
        let all_known = cut.free.is_empty();
        if !all_known && (round >= 4 || draws.is_empty()) {
            let seed = scramble(random.next()) | 1 << 63;
            draws.push((seed, cut.plan(seed)));
        }
        draws
    }

    fn is_exhausted(&self) -> bool {
        let nothing_free = self.extremes.len() == 1;
        self.next >= self.extremes.len() && (nothing_free || self.dry >= DRY)
    }
}
