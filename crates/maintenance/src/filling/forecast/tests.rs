use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::*;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Makes samples `minutes` apart from what is left at each.
fn series(minutes: i64, lefts: impl IntoIterator<Item = u64>) -> Vec<FillSample> {
    let began: Timestamp = "2026-01-10T12:00:00Z".parse().unwrap();
    let times = (0..).map(|n| began + SignedDuration::from_mins(minutes * n));
    let samples = times.zip(lefts).map(|(at, left_bytes)| FillSample {
        at,
        total_bytes: 1000 * GIB,
        left_bytes,
    });
    samples.collect()
}

fn fill_rate(samples: &[FillSample]) -> Option<FillRate> {
    FillTrend::of(samples).rate()
}

fn per_day(samples: &[FillSample]) -> Option<u64> {
    fill_rate(samples).map(FillRate::bytes_per_day)
}

#[test]
fn removals_in_between_do_not_hide_the_growth() {
    // 1 GiB each ten minutes, and 20 GiB are freed each three hours or so.
    let lefts = (0..1000).map(|n| (500 - n % 20) * GIB);
    assert_eq!(per_day(&series(10, lefts)), Some(144 * GIB));
    // Without any growth, the same removals give no rate.
    let steady = (0..1000).map(|n| (500 + n / 20 * 5) * GIB);
    assert_eq!(per_day(&series(10, steady)), None);
}

#[test]
fn a_file_that_comes_and_goes_is_no_growth() {
    // Each sixth sample has 5 GiB more in use.
    let lefts = (0..1000).map(|n| (500 - if n % 6 == 0 { 5 } else { 0 }) * GIB);
    assert_eq!(per_day(&series(10, lefts)), None);
    let noise = (0..1000).map(|n| 500 * GIB - n * 7919 % 13 * MIB);
    let rate = per_day(&series(10, noise)).unwrap_or(0);
    assert!(rate < 100 * MIB, "{rate}");
}

#[test]
fn growth_that_began_today_counts_after_a_quiet_week() {
    let quiet = std::iter::repeat_n(500 * GIB, 6 * 24 * 6);
    let growing = (0..6 * 14).map(|n| (500 - n) * GIB);
    let rate = per_day(&series(10, quiet.chain(growing))).unwrap();
    assert!((90 * GIB..=144 * GIB).contains(&rate), "{rate}");
}

#[test]
fn growth_of_the_week_counts_after_a_quiet_day() {
    let growing = (0..6 * 24 * 6).map(|n| 1000 * GIB - n * GIB / 6);
    let end = 1000 * GIB - 6 * 24 * 6 * GIB / 6;
    let quiet = std::iter::repeat_n(end, 6 * 24);
    let rate = per_day(&series(10, growing.chain(quiet))).unwrap();
    assert!((20 * GIB..=24 * GIB).contains(&rate), "{rate}");
}

#[test]
fn too_few_samples_give_no_rate() {
    let is_unknown = |samples: &[FillSample]| matches!(FillTrend::of(samples), FillTrend::Unknown);
    let growing = |minutes, n| series(minutes, (0..n).map(|n| (500 - n) * GIB));
    assert!(is_unknown(&[]));
    assert!(is_unknown(&growing(10, 5)));
    assert!(fill_rate(&growing(10, 6)).is_some());
    // Six within a minute are one.
    assert!(is_unknown(&growing(0, 6)));
    let steady = FillTrend::of(&series(10, [GIB; 6]));
    assert!(matches!(steady, FillTrend::Steady));
    // Samples of long ago do not count.
    let mut old = growing(10, 100);
    let mut last = *old.last().unwrap();
    last.at += SignedDuration::from_hours(8 * 24);
    old.push(last);
    assert!(is_unknown(&old));
}

#[test]
fn what_is_below_the_mark_already_takes_no_time() {
    let rate = fill_rate(&series(10, (0..100).map(|n| (500 - n) * GIB))).unwrap();
    assert_eq!(rate.time_until(GIB, 2 * GIB).as_secs(), 0);
    assert_eq!(rate.time_until(0, 0).as_secs(), 0);
    assert_eq!(rate.time_until(2 * GIB, GIB).as_secs(), 600);
    assert!(rate.time_until(u64::MAX, 0).as_secs() > 1 << 30);
}

fn any_samples() -> impl Strategy<Value = Vec<FillSample>> {
    let time = prop_oneof![
        any::<i32>().prop_map(i64::from),
        0..1_000_000_i64,
        -300_000_000_000..200_000_000_000_i64
    ];
    let sample =
        (time, any::<u64>(), any::<u64>()).prop_map(|(at, total_bytes, left_bytes)| FillSample {
            at: Timestamp::from_second(at).unwrap(),
            total_bytes,
            left_bytes,
        });
    prop::collection::vec(sample, 0..400)
}

proptest! {
    #[test]
    fn linear_growth_gives_the_exact_time(
        minutes in 1..=60_i64,
        per_minute in 1..100 * MIB,
        n in 70..500_u64,
    ) {
        let step = per_minute * u64::try_from(minutes).unwrap();
        let lefts: Vec<u64> = (0..n).map(|it| 100_000 * GIB - it * step).collect();
        let left = *lefts.last().unwrap();
        let rate = fill_rate(&series(minutes, lefts)).unwrap();
        let minutes_until = |mark: u64| u128::from(left - mark) * 60 / u128::from(per_minute);
        for mark in [0, GIB, left] {
            prop_assert_eq!(u128::from(rate.time_until(left, mark).as_secs()), minutes_until(mark));
        }
    }

    #[test]
    fn what_does_not_grow_gives_no_rate(
        minutes in 1..=60_i64,
        frees in prop::collection::vec(0..10 * GIB, 0..500),
    ) {
        let mut left = GIB;
        let lefts = frees.into_iter().map(|freed| { left += freed; left });
        prop_assert!(fill_rate(&series(minutes, lefts)).is_none());
    }

    #[test]
    fn the_order_of_samples_does_not_matter(
        samples in any_samples(),
        seed in any::<u64>(),
    ) {
        let mut other = samples.clone();
        fastrand::Rng::with_seed(seed).shuffle(&mut other);
        prop_assert_eq!(per_day(&samples), per_day(&other));
    }
}

#[test]
fn many_samples_cost_no_more_than_the_sorting() {
    // A million samples in one week: all pairs of them would be 500 billion.
    let began = Timestamp::UNIX_EPOCH;
    let samples: Vec<FillSample> = (0..1_000_000_u64)
        .map(|n| FillSample {
            at: began + SignedDuration::from_millis(i64::try_from(n * 600).unwrap()),
            total_bytes: 1 << 60,
            left_bytes: (1 << 60) - n * MIB,
        })
        .collect();
    assert!(fill_rate(&samples).is_some());
}
