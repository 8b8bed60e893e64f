use std::borrow::Cow;

use super::*;

/// Three trials over a list of columns, one of which has a name with spaces.
struct Trials;

const COLUMNS: &[(&str, Kind)] = &[
    ("name", Kind::Text),
    ("status", Kind::Text),
    ("--lr", Kind::Number),
    ("val loss", Kind::Number),
    ("정확도", Kind::Number),
    ("age", Kind::Duration),
    ("size", Kind::Size),
    ("kept", Kind::Truth),
];

impl Columns for Trials {
    fn find(&self, name: &str) -> Result<usize, String> {
        let same = |(column, _): &(&str, Kind)| {
            column.trim_start_matches('-') == name.trim_start_matches('-')
        };
        COLUMNS
            .iter()
            .position(same)
            .ok_or_else(|| "the columns are: …".to_owned())
    }

    fn kind(&self, column: usize) -> Kind {
        COLUMNS[column].1
    }
}

fn row(number: usize) -> impl Fn(usize) -> Datum<'static> {
    let text = |text: &'static str| Datum::Text(Cow::Borrowed(text));
    let rows = [
        [
            text("t1"),
            text("Succeeded"),
            Datum::Number(0.1),
            Datum::Number(0.5),
            Datum::Number(0.9),
            Datum::Number(60.0),
            Datum::Number(2e9),
            text("true"),
        ],
        [
            text("t2"),
            text("Failed"),
            Datum::Number(1e-5),
            Datum::Empty,
            Datum::Empty,
            Datum::Number(400.0),
            Datum::Number(1e6),
            text("false"),
        ],
        [
            text("t10"),
            text("Early stopped"),
            Datum::Number(0.01),
            text("nan"),
            Datum::Number(0.7),
            Datum::Number(90_000.0),
            Datum::Empty,
            Datum::Empty,
        ],
    ];
    move |column| rows[number][column].clone()
}

fn found(condition: &str) -> Vec<usize> {
    let filter = Condition::parse(condition)
        .and_then(|condition| condition.bind(&Trials))
        .unwrap_or_else(|error| panic!("{condition}: {error:?}"));
    (0..3).filter(|at| filter.holds(&row(*at))).collect()
}

#[test]
fn conditions_hold_for_the_rows_they_describe() {
    let cases: &[(&str, &[usize])] = &[
        ("status=succeeded", &[0]),
        ("status = 'early stopped'", &[2]),
        ("status != Failed", &[0, 2]),
        ("status in (Failed, \"Early stopped\")", &[1, 2]),
        ("status not in (Failed)", &[0, 2]),
        ("name~t1", &[0, 2]),
        ("name !~ 1", &[1]),
        ("lr <= 0.01", &[1, 2]),
        ("--lr>1e-3", &[0, 2]),
        ("0.001 < lr <= 0.1", &[0, 2]),
        ("0.5 < 정확도 and status=Succeeded", &[0]),
        ("not (status=Failed or status=Succeeded)", &[2]),
        // `and` binds more tightly than `or`, `not` more tightly than both.
        ("status=Failed or status=Succeeded and lr > 1", &[1]),
        ("(status=Failed or status=Succeeded) and lr > 1", &[]),
        ("not status=Failed and lr < 1", &[0, 2]),
        ("!(lr<1e-3)&&name~t||name=zzz", &[0, 2]),
        // What has no value is neither small nor large; nan neither.
        ("'val loss' < 1", &[0]),
        ("'val loss' > 1", &[]),
        ("'val loss' =", &[1]),
        ("'val loss' = and lr < 1", &[1]),
        ("'val loss' != \"\"", &[0, 2]),
        ("`val loss` = nan", &[2]),
        ("정확도 > `val loss`", &[0]),
        ("age < 5m", &[0]),
        ("age >= 6m40s", &[1, 2]),
        ("age > 1d", &[2]),
        ("age > 60", &[1, 2]),
        ("size > 1.5GB", &[0]),
        ("size <= 1MiB", &[1]),
        ("kept = yes", &[0]),
        ("kept != true", &[1, 2]),
        ("name = 't1' AND status ~ succ", &[0]),
        ("not not lr < 0.05", &[1, 2]),
        ("age < 5 m", &[0]),
        ("age >= 6 m 40 s and size = ", &[2]),
        ("size > 1.5 GB", &[0]),
    ];
    let wrong: Vec<_> = cases
        .iter()
        .filter(|(condition, rows)| found(condition) != *rows)
        .map(|(condition, _)| (condition, found(condition)))
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn a_condition_that_makes_no_sense_is_shown_where_it_goes_wrong() {
    // What is marked, and a word of what is said.
    let cases = [
        ("", "", "empty"),
        ("status", "status", "comparison is missing"),
        ("acc > 0.9", "acc", "no column"),
        ("lr > fast", "fast", "holds numbers"),
        ("age < soon", "soon", "holds durations"),
        ("size > 1XB", "1XB", "holds sizes"),
        ("kept = maybe", "maybe", "yes or no"),
        ("lr >", ">", "value is missing"),
        ("lr > 1 lr < 2", "lr", "cannot stand here"),
        ("status = not done", "not", "cannot stand here"),
        ("lr > 1 and", "", "missing here"),
        ("(lr > 1", "(", "not closed"),
        ("lr > 1)", ")", "cannot stand here"),
        ("name = 'x", "'x", "not closed"),
        ("1 < 2", "1", "no column"),
        ("1 < lr < 2 < 3", "<", "at most three"),
        ("status in Failed", "in", "list in brackets"),
        ("> 3", ">", "column should stand here"),
        ("lr = 1 & name = 2", "&", "cannot stand here"),
        ("lr >> 0.9", ">>", "two"),
        ("lr = > 0.9", "= >", "two"),
        ("lr > 0.9 > 0.93", ">", "column between"),
        ("lr in ()", "()", "empty"),
        ("lr in (16 32)", "32", "comma is missing"),
        ("lr in (16, 32", "(", "not closed"),
        ("lr in (16,", "(", "not closed"),
        ("lr in (16, )", ",", "value is missing"),
        ("lr in (, 16)", "(", "value is missing"),
        ("lr in (16 and 32)", "and", "in a list"),
        ("lr > age", "age", "read as a value"),
        ("accuracy is null", "accuracy", "comparison is missing"),
    ];
    for (condition, marked, said) in cases {
        let error = Condition::parse(condition)
            .and_then(|condition| condition.bind(&Trials))
            .expect_err(condition);
        assert_eq!(
            &condition[error.span.clone()],
            marked,
            "{condition}: {error:?}"
        );
        assert!(error.message.contains(said), "{condition}: {error:?}");
        assert!(!error.hint.is_empty(), "{condition}");
    }
}

#[test]
fn a_condition_that_goes_wrong_says_what_to_write() {
    for (condition, hint) in [
        ("lr > 0.9 > 0.93", "write '0.9 < lr < 0.93'"),
        ("lr > age", "in backticks: `age`"),
        ("lr >> 0.9", "one of = != <"),
    ] {
        let error = Condition::parse(condition)
            .and_then(|condition| condition.bind(&Trials))
            .expect_err(condition);
        assert!(error.hint.contains(hint), "{condition}: {error:?}");
    }
}

proptest::proptest! {
    #[test]
    fn any_text_gives_a_condition_or_a_complaint_within_it(text in "\\PC{0,40}") {
        if let Err(error) = Condition::parse(&text).and_then(|condition| condition.bind(&Trials)) {
            proptest::prop_assert!(text.get(error.span.clone()).is_some(), "{error:?}");
        }
    }
}

#[test]
fn a_condition_that_goes_on_and_on_is_refused() {
    for text in [
        "(".repeat(100_000),
        "not ".repeat(100_000),
        "a=1 and ".repeat(100_000),
    ] {
        assert!(
            Condition::parse(&text)
                .unwrap_err()
                .message
                .contains("at most")
        );
    }
}
