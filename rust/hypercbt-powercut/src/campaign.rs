//! Many states of one history, each looked at once.

use std::collections::HashSet;
use std::env;
use std::fmt;
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
    /// Looks: a state is checked anew for each operation after which it may be found, for more may be promised.
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

/// Checks states of a history until `distinct` different ones were looked at, there seem to be no more, or one is wrong.
///
/// The points at which power may go are visited in turn, in an order that changes: extremes first, then
/// states drawn by chance. `check` is told after how many operations power went, so it knows what was promised then.
pub fn campaign(
    history: &History,
    seed: u64,
    distinct: u64,
    mut check: impl FnMut(usize, &State) -> Result<(), String>,
) -> Report {
    let started = Instant::now();
    let mut report = Report {
        distinct: 0,
        checked: 0,
        drawn: 0,
        seed,
        took: Duration::ZERO,
        failure: None,
    };
    let mut random = Random::new(seed, 0);
    let mut states = HashSet::new();
    let mut looks = HashSet::new();
    let mut points: Vec<Point> = (0..=history.len()).map(Point::new).collect();
    'all: for round in 0_u64.. {
        random.shuffle(&mut points);
        for point in &mut points {
            if report.distinct >= distinct {
                break 'all;
            }
            let cut = point.cut(history);
            for (seed, plan) in point.draw(&cut, round, &mut random) {
                let state = cut.state(&plan);
                report.drawn += 1;
                let digest = state.digest();
                if !looks.insert((point.at, digest)) {
                    point.dry += 1;
                    continue;
                }
                point.dry = 0;
                report.checked += 1;
                report.distinct += u64::from(states.insert(digest));
                if let Err(why) = check(point.at, &state) {
                    let at = point.at;
                    report.failure = Some(Failure { at, seed, why });
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
    report.took = started.elapsed();
    report
}

/// As [`campaign`], and power goes during the recovery too: `recover` starts from each state on a machine of its
/// own, repairs what it must, and says whether everything promised is there. What it wrote meanwhile is cut in turn,
/// in a few places, and recovered again.
pub fn campaign_with_recoveries(
    history: &History,
    seed: u64,
    distinct: u64,
    mut recover: impl FnMut(usize, &SimFiles) -> Result<(), String>,
) -> Report {
    /// States of each recovery.
    const CUTS: u64 = 2;
    let mut second = (HashSet::new(), 0, 0);
    let mut random = Random::new(seed, 1);
    let mut report = campaign(history, seed, distinct, |at, state| {
        let files = SimFiles::from_state(state);
        recover(at, &files)?;
        let recovery = files.history();
        for _ in 0..if recovery.is_empty() { 0 } else { CUTS } {
            let cut_at = random.index(recovery.len() + 1);
            let of = random.next() >> random.pick(&[1, 61]);
            let state = recovery.state(cut_at, of);
            second.2 += 1;
            if second.0.insert((at, state.digest())) {
                second.1 += 1;
                recover(at, &SimFiles::from_state(&state))
                    .map_err(|why| format!("the recovery cut at state({cut_at}, {of}): {why}"))?;
            }
        }
        Ok(())
    });
    report.checked += second.1;
    report.drawn += second.2;
    report
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
