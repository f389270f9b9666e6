//! The audit's arithmetic: which chunks are re-read although nobody claims that they changed (design §5.3).
//!
//! Change tracking is checked, not believed. Every incremental re-reads the next slice of the allocated
//! chunks that were not claimed; the slices rotate over the disk in one period. What a run does not get
//! done is owed to the next. This module only counts; the pipeline reads.

use std::{ops::Range, time::Duration};

use hypercbt_repo::{AuditSpan, AuditState, Timestamp};

/// At most this many stretches are remembered; the oldest dates win when two are joined.
const MAX_SPANS: usize = 64;

/// Chunks that every audit reads besides its slice, at random places.
pub(crate) const RANDOM_CHUNKS: u64 = 16;

/// A time budget is never shorter than this.
const MIN_BUDGET: Duration = Duration::from_secs(60);

/// How much of what is claimed unchanged is re-read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditPolicy {
    /// Nothing. What should have been read is owed.
    Off,
    /// A rotating slice, all of the disk once in this many seconds, and a few chunks at random.
    Rotate {
        /// The period.
        period_seconds: u64,
    },
    /// Everything.
    Full,
}

impl AuditPolicy {
    /// Design §5.3: 28 days.
    pub const DEFAULT: Self = Self::Rotate {
        period_seconds: 28 * 24 * 60 * 60,
    };

    /// How many chunks the rotation is to read now, the debt included: at most all of them.
    pub(crate) fn due(self, allocated: u64, elapsed: Duration, owed: u64) -> u64 {
        match self {
            Self::Full => allocated,
            Self::Off => owed
                .saturating_add(slice(allocated, elapsed, Self::DEFAULT_SECONDS))
                .min(allocated),
            Self::Rotate { period_seconds } => owed
                .saturating_add(slice(allocated, elapsed, period_seconds))
                .min(allocated),
        }
    }

    /// Within which time everything is to be read, where that takes several runs.
    pub(crate) fn period(self) -> Option<Duration> {
        match self {
            Self::Rotate { period_seconds } => Some(Duration::from_secs(period_seconds.max(1))),
            Self::Off | Self::Full => None,
        }
    }

    /// How long the audit may take after claimed chunks that took `claimed`; `None` without a limit.
    pub(crate) fn budget(self, claimed: Duration) -> Option<Duration> {
        match self {
            Self::Off => Some(Duration::ZERO),
            Self::Rotate { .. } => Some(claimed.max(MIN_BUDGET)),
            Self::Full => None,
        }
    }

    const DEFAULT_SECONDS: u64 = 28 * 24 * 60 * 60;
}

/// ⌈allocated × elapsed ÷ period⌉ by integers, elapsed clamped to 0…period.
fn slice(allocated: u64, elapsed: Duration, period_seconds: u64) -> u64 {
    let period = u128::from(period_seconds.max(1)) * 1_000_000;
    let elapsed = elapsed.as_micros().min(period);
    let chunks = (u128::from(allocated) * elapsed).div_ceil(period);
    u64::try_from(chunks).expect("at most `allocated`, since elapsed is at most the period")
}

/// The time between two points; zero if the clock went back.
pub(crate) fn elapsed(base: Timestamp, now: Timestamp) -> Duration {
    Duration::from_micros(u64::try_from(now.0.saturating_sub(base.0)).unwrap_or(0))
}

/// What a point says that read all of its `chunks` chunks.
pub(crate) fn all_read(chunks: u64, at: Timestamp) -> AuditState {
    let read = if chunks == 0 {
        Vec::new()
    } else {
        vec![AuditSpan {
            from: 0,
            to: chunks,
            at,
        }]
    };
    AuditState {
        cursor: 0,
        owed_chunks: 0,
        read,
    }
}

/// Where the audit stands after chunks `from` up to `cursor` were passed, around the end if `wrapped`.
pub(crate) fn advance(
    base: &AuditState,
    passed: &[Range<u64>],
    cursor: u64,
    owed: u64,
    at: Timestamp,
) -> AuditState {
    let read =
        passed
            .iter()
            .filter(|range| !range.is_empty())
            .fold(base.read.clone(), |spans, range| {
                overlay(
                    &spans,
                    AuditSpan {
                        from: range.start,
                        to: range.end,
                        at,
                    },
                )
            });
    AuditState {
        cursor,
        owed_chunks: owed,
        read: shorten(read),
    }
}

/// The spans with `new` on top of them: sorted and disjoint as before.
fn overlay(spans: &[AuditSpan], new: AuditSpan) -> Vec<AuditSpan> {
    let mut result: Vec<AuditSpan> = Vec::with_capacity(spans.len() + 2);
    for span in spans {
        if span.from < new.from {
            result.push(AuditSpan {
                to: span.to.min(new.from),
                ..*span
            });
        }
        if span.to > new.to {
            result.push(AuditSpan {
                from: span.from.max(new.to),
                ..*span
            });
        }
    }
    result.push(new);
    result.sort_by_key(|span| span.from);
    result
}

/// Joins neighbours until there are at most [`MAX_SPANS`]; a joined span has the older date, so what it says stays true.
fn shorten(mut spans: Vec<AuditSpan>) -> Vec<AuditSpan> {
    spans.dedup_by(|next, span| {
        let same = next.at == span.at && next.from == span.to;
        if same {
            span.to = next.to;
        }
        same
    });
    while spans.len() > MAX_SPANS {
        let Some((at, _)) = spans
            .windows(2)
            .enumerate()
            .min_by_key(|(_, pair)| pair.iter().map(|span| span.to - span.from).sum::<u64>())
        else {
            break;
        };
        let next = spans.remove(at + 1);
        if let Some(span) = spans.get_mut(at) {
            span.to = next.to;
            span.at = span.at.min(next.at);
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn spans(parts: &[(u64, u64, i64)]) -> Vec<AuditSpan> {
        parts
            .iter()
            .map(|&(from, to, at)| AuditSpan {
                from,
                to,
                at: Timestamp(at),
            })
            .collect()
    }

    #[test]
    fn twenty_eight_daily_slices_cover_every_chunk() {
        for allocated in [1, 27, 28, 29, 1_000, 4_194_304] {
            assert!(AuditPolicy::DEFAULT.due(allocated, DAY, 0) * 28 >= allocated);
        }
    }

    #[test]
    fn a_slice_rounds_up_and_never_exceeds_the_disk() {
        assert_eq!(AuditPolicy::DEFAULT.due(29, DAY, 0), 2);
        assert_eq!(AuditPolicy::DEFAULT.due(29, 100 * DAY, 0), 29);
        assert_eq!(AuditPolicy::DEFAULT.due(29, DAY, 1_000), 29);
        assert_eq!(AuditPolicy::DEFAULT.due(u64::MAX, 28 * DAY, 0), u64::MAX);
        assert_eq!(AuditPolicy::DEFAULT.due(29, Duration::ZERO, 0), 0);
        assert_eq!(
            AuditPolicy::Rotate { period_seconds: 0 }.due(29, DAY, 0),
            29
        );
    }

    #[test]
    fn a_clock_that_went_back_counts_as_no_time() {
        assert_eq!(elapsed(Timestamp(5), Timestamp(3)), Duration::ZERO);
        assert_eq!(
            elapsed(Timestamp(3), Timestamp(5)),
            Duration::from_micros(2)
        );
    }

    #[test]
    fn an_audit_that_is_off_still_owes_its_slice() {
        assert_eq!(AuditPolicy::Off.due(28, DAY, 3), 4);
        assert_eq!(AuditPolicy::Off.budget(DAY), Some(Duration::ZERO));
    }

    #[test]
    fn an_audit_may_take_as_long_as_the_claimed_chunks_took_and_a_minute_in_any_case() {
        let seconds = Duration::from_secs;
        assert_eq!(AuditPolicy::DEFAULT.budget(seconds(5)), Some(seconds(60)));
        assert_eq!(AuditPolicy::DEFAULT.budget(seconds(90)), Some(seconds(90)));
        assert_eq!(AuditPolicy::Full.budget(seconds(90)), None);
    }

    #[test]
    fn a_newer_span_covers_what_it_touches_and_leaves_the_rest() {
        let base = AuditState {
            cursor: 0,
            owed_chunks: 0,
            read: spans(&[(0, 100, 1)]),
        };
        let next = advance(&base, &[90..100, 0..5], 5, 7, Timestamp(2));
        assert_eq!(next.read, spans(&[(0, 5, 2), (5, 90, 1), (90, 100, 2)]));
        assert_eq!((next.cursor, next.owed_chunks), (5, 7));
    }

    #[test]
    fn neighbours_of_one_date_are_one_span() {
        let base = AuditState {
            cursor: 0,
            owed_chunks: 0,
            read: spans(&[(0, 10, 2), (10, 20, 1)]),
        };
        assert_eq!(
            advance(&base, std::slice::from_ref(&(10..20)), 0, 0, Timestamp(2)).read,
            spans(&[(0, 20, 2)])
        );
    }

    #[test]
    fn spans_stay_few_and_never_claim_a_later_date() {
        let mut state = all_read(10_000, Timestamp(0));
        for round in 0..300_i64 {
            let from = u64::try_from(round).unwrap() * 7 % 9_000;
            state = advance(
                &state,
                std::slice::from_ref(&(from..from + 5)),
                0,
                0,
                Timestamp(round + 1),
            );
            assert!(state.read.len() <= MAX_SPANS);
            assert_eq!(state.read[0].from, 0);
            assert!(state.read.windows(2).all(|pair| pair[0].to == pair[1].from));
            assert_eq!(state.read.last().unwrap().to, 10_000);
        }
        // Chunk 9,999 was never read again, so nothing may say that it was.
        assert_eq!(state.read.last().unwrap().at, Timestamp(0));
    }
}
