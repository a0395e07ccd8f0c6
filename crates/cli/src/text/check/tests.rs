use super::*;

const DAY: u64 = 24 * 60 * 60;

fn filesystem(mount_point: &str, left: u64, full_in: Option<u64>) -> FilesystemForecast {
    FilesystemForecast {
        mount_point: mount_point.into(),
        total_bytes: 1000,
        left_bytes: left,
        trend: if full_in.is_some() {
            Trend::Growing
        } else {
            Trend::Steady
        },
        bytes_per_day: full_in.map(|_| 1),
        full_in_seconds: full_in,
        high_marks: Vec::new(),
    }
}

fn forecast(filesystems: Vec<FilesystemForecast>) -> FillForecast {
    FillForecast {
        filesystems,
        ..FillForecast::default()
    }
}

fn limits() -> CheckLimits {
    CheckLimits {
        warn: "80%".parse().unwrap(),
        crit: "90%".parse().unwrap(),
        warn_within: None,
        crit_within: None,
    }
}

fn within(warn: u64, crit: u64) -> CheckLimits {
    CheckLimits {
        warn_within: Some(Duration::from_secs(warn * DAY)),
        crit_within: Some(Duration::from_secs(crit * DAY)),
        ..limits()
    }
}

#[test]
fn the_line_names_what_is_full_and_what_can_go() {
    let found = forecast(vec![
        filesystem("/", 900, None),
        filesystem("/var/lib/containerd", 150, Some(3 * DAY + 5)),
    ]);
    let check = Check::new(&found, limits(), true);
    let can_go = FreeableBytes {
        prune_all: 41_000_000_000,
        policies: vec![
            ("nightly".to_owned(), 12_000_000_000),
            ("idle".to_owned(), 0),
        ],
    };
    assert_eq!(
        check.line(&CanGo::Bytes(can_go)),
        "DISK WARNING: /var/lib/containerd 85% used, full in 3 days at this rate; 41GB can go \
         (prune -a), 12GB by policy nightly | '/'=100B;800;900;0;1000 \
         '/var/lib/containerd'=850B;800;900;0;1000 '/var/lib/containerd full in'=259205s;;;0"
    );
    let unknown = check.line(&CanGo::Unknown);
    assert!(unknown.contains("; what can go is unknown |"), "{unknown}");
    let nothing = check.line(&CanGo::Bytes(FreeableBytes::default()));
    assert!(
        nothing.contains("; nothing can go (prune -a) |"),
        "{nothing}"
    );
    assert_eq!(
        check.npd_line(),
        "85% used, full in 3 days at this rate: /var/lib/containerd"
    );
}

#[test]
fn marks_and_times_decide_and_the_worst_counts() {
    let full_in = |days: u64| Some(days * DAY);
    for (left, full_in, limits, state) in [
        (200, None, limits(), CheckState::Ok),
        (199, None, limits(), CheckState::Warning),
        (100, None, limits(), CheckState::Warning),
        (99, None, limits(), CheckState::Critical),
        (500, full_in(7), limits(), CheckState::Ok),
        (500, full_in(8), within(7, 1), CheckState::Ok),
        (500, full_in(7), within(7, 1), CheckState::Warning),
        (500, full_in(1), within(7, 1), CheckState::Critical),
        (500, None, within(7, 1), CheckState::Ok),
        (199, full_in(8), within(7, 1), CheckState::Warning),
    ] {
        let found = forecast(vec![
            filesystem("/roomy", 1000, None),
            filesystem("/var", left, full_in),
        ]);
        let check = Check::new(&found, limits, true);
        assert_eq!(check.state, state, "{left} {full_in:?}");
        let line = check.line(&CanGo::Unread);
        let begin = format!("DISK {}: /var ", state.word());
        assert!(line.starts_with(&begin), "{line}");
    }
}

#[test]
fn sizes_are_marks_too() {
    let found = forecast(vec![filesystem("/var", 150, None)]);
    let limits = CheckLimits {
        warn: "200B".parse().unwrap(),
        crit: "100B".parse().unwrap(),
        ..within(7, 1)
    };
    let check = Check::new(&found, limits, true);
    assert_eq!(check.state, CheckState::Warning);
    let line = check.line(&CanGo::Unread);
    assert_eq!(
        line,
        "DISK WARNING: /var 85% used, not filling | '/var'=850B;800;900;0;1000"
    );
    let soon = forecast(vec![filesystem("/var", 150, Some(60))]);
    let line = Check::new(&soon, limits, true).line(&CanGo::Unread);
    assert!(
        line.ends_with("'/var full in'=60s;604800:;86400:;0"),
        "{line}"
    );
}

#[test]
fn what_cannot_be_measured_is_unknown_unless_it_is_worse() {
    for (left, state) in [(500, CheckState::Unknown), (50, CheckState::Critical)] {
        let found = FillForecast {
            content_unmeasured: Some("it hangs".to_owned()),
            ..forecast(vec![filesystem("/snapshots", left, None)])
        };
        let check = Check::new(&found, limits(), true);
        assert_eq!(check.state, state);
        let line = check.line(&CanGo::Unread);
        let why = "; the filesystem of content cannot be measured: it hangs | ";
        assert!(line.contains(why), "{line}");
    }
    let nothing = FillForecast::default();
    let check = Check::new(&nothing, limits(), true);
    let line = check.line(&CanGo::Unread);
    assert_eq!(line, "DISK UNKNOWN: no filesystem can be measured");
    assert_eq!(check.npd_line(), "no filesystem can be measured");
}

#[test]
fn without_a_forecast_the_line_says_so() {
    let mut found = forecast(vec![filesystem("/var", 500, None)]);
    found.filesystems[0].trend = Trend::Unknown;
    let line = |has_daemon| Check::new(&found, limits(), has_daemon).line(&CanGo::Unread);
    assert!(line(true).contains("50% used, no forecast yet |"));
    assert!(line(false).contains("50% used, no forecast without a daemon (--host) |"));
}

#[test]
fn no_name_adds_a_line_or_performance_data() {
    let hostile = "/a|'b'=1B;0\n\u{1b}[31m\u{202e}";
    let found = forecast(vec![filesystem(hostile, 500, None)]);
    let line = Check::new(&found, limits(), true).line(&CanGo::Unread);
    assert_eq!(line.matches('|').count(), 1, "{line}");
    assert!(line.contains("| '/a__b__1B;0"), "{line}");
    assert!(!line.chars().any(char::is_control), "{line:?}");
    let unknown = unknown_line("bad | worse\nDISK OK");
    assert_eq!(unknown, "DISK UNKNOWN: bad / worse\u{fffd}DISK OK");
}

#[test]
fn the_line_for_node_problem_detector_is_short() {
    for letter in ["a", "ä", "\u{1f600}"] {
        let found = forecast(vec![filesystem(&letter.repeat(300), 50, Some(60))]);
        let line = Check::new(&found, limits(), true).npd_line();
        assert!(line.starts_with("95% used, full in 1 minute at this rate: "));
        assert!((MAX_NPD - 4..=MAX_NPD).contains(&line.len()), "{line}");
    }
}

#[test]
fn times_are_rough() {
    for (seconds, text) in [
        (0, "less than a minute"),
        (60, "1 minute"),
        (7_199, "119 minutes"),
        (7_200, "2 hours"),
        (2 * DAY - 1, "47 hours"),
        (2 * DAY, "2 days"),
        (365 * DAY, "365 days"),
        (u64::MAX, "more than a year"),
    ] {
        assert_eq!(rough_time(seconds), text);
    }
}
