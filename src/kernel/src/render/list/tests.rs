use clap::Parser;

use super::super::table::{Column, Key};
use super::*;

#[derive(Parser)]
#[command(no_binary_name = true, about = "the description stays")]
struct Line {
    #[command(flatten)]
    list: ListArgs,
}

fn table() -> Table {
    let mut table = Table::new([
        Column::new("NAME"),
        Column::new("STATUS"),
        Column::number("--lr"),
        Column::number("accuracy"),
        Column::new("NODE").wide(),
    ]);
    for (name, status, rate, accuracy) in [
        ("t10", "Running", 0.1, None),
        ("t2", "Succeeded", 0.02, Some(0.5)),
        ("t1", "Succeeded", 0.3, Some(0.75)),
    ] {
        let accuracy = accuracy.map_or_else(Cell::none, Cell::number);
        table.row([
            Cell::text(name),
            Cell::status(status),
            Cell::number(rate),
            accuracy,
            Cell::text("n"),
        ]);
    }
    table
}

fn arranged(line: &[&str]) -> Result<Table, MagicError> {
    Line::try_parse_from(line)
        .unwrap()
        .list
        .arrange(table(), false)
}

fn names(line: &[&str]) -> Vec<String> {
    arranged(line)
        .unwrap()
        .rows
        .iter()
        .map(|row| row.name.clone())
        .collect()
}

#[test]
fn rows_are_sorted_by_value_and_those_without_come_last() {
    assert_eq!(names(&["--sort", "name"]), ["t1", "t2", "t10"]);
    assert_eq!(names(&["--sort", "accuracy"]), ["t2", "t1", "t10"]);
    assert_eq!(names(&["--sort", "-accuracy"]), ["t1", "t2", "t10"]);
    assert_eq!(names(&["--sort", "--lr"]), ["t2", "t10", "t1"]);
    assert_eq!(names(&["--sort", "---lr"]), ["t1", "t10", "t2"]);
    assert_eq!(names(&["--sort=-lr"]), ["t1", "t10", "t2"]);
    assert_eq!(names(&["--sort", "status,-name"]), ["t10", "t2", "t1"]);
}

#[test]
fn a_name_with_a_comma_is_one_name_in_quotes_or_where_it_stands_alone() {
    let listed = |text: &str| names_of(&[text.to_owned()], |known| known == "a, b = c");
    assert_eq!(listed("name, status"), ["name", "status"]);
    assert_eq!(listed("a, b = c"), ["a, b = c"]);
    assert_eq!(listed("\"a, b\",status"), ["a, b", "status"]);
    assert_eq!(listed("status, -'a, b'"), ["status", "-a, b"]);
    assert_eq!(listed("it's, so"), ["it's", "so"]);
    let mut table = table();
    table.columns[2] = Column::number("a, b");
    let rows = |line: &[&str]| {
        let list = Line::try_parse_from(line).unwrap().list;
        let table = list.arrange(table.clone(), false).unwrap();
        let keys: Vec<String> = table.columns.into_iter().map(|one| one.key).collect();
        let names: Vec<String> = table.rows.into_iter().map(|row| row.name).collect();
        (keys, names)
    };
    let (keys, names) = rows(&["--columns", "name,'a, b'", "--sort", "-a, b"]);
    assert_eq!(keys, ["name", "a, b"]);
    assert_eq!(names, ["t1", "t10", "t2"]);
}

#[test]
fn a_slip_in_a_condition_names_what_was_meant() {
    let refused = |condition: &str| {
        let error = arranged(&["--where", condition]).unwrap_err();
        format!("{error:?}")
    };
    assert!(refused("lrr > 1").contains("did you mean `--lr`?"));
    let none = arranged(&["--where", "name ~ '^t'"]).unwrap();
    assert!(
        none.empty.contains("no regular expression"),
        "{}",
        none.empty
    );
}

#[test]
fn rows_are_filtered_by_conditions() {
    assert_eq!(names(&["--where", "status=succeeded"]), ["t2", "t1"]);
    assert_eq!(names(&["--where", "accuracy > 0.6"]), ["t1"]);
    assert_eq!(
        names(&["--where", "accuracy<0.6", "--where", "lr<=0.02"]),
        ["t2"]
    );
    assert_eq!(names(&["--where", "name~t1"]), ["t10", "t1"]);
    assert_eq!(names(&["--where", "status!=Running"]), ["t2", "t1"]);
    assert_eq!(names(&["--where", "accuracy="]), ["t10"]);
}

/// Ages, durations, sizes, and a metric that is not a number in one row.
fn measured() -> Table {
    let now: jiff::Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
    let mut table = Table::new([
        Column::new("NAME"),
        Column::number("AGE"),
        Column::number("DURATION"),
        Column::number("SIZE"),
        Column::number("loss"),
        Column::new("DONE"),
    ]);
    for (name, created, seconds, size, loss, done) in [
        (
            "a",
            "2026-01-01T11:59:00Z",
            10,
            900_000_000,
            Cell::number(0.5),
            true,
        ),
        (
            "b",
            "2026-01-01T11:00:00Z",
            300,
            12,
            Cell::text("nan"),
            false,
        ),
        (
            "c",
            "2025-12-29T12:00:00Z",
            7200,
            2_000_000_000,
            Cell::number(2.0),
            true,
        ),
    ] {
        table.row([
            Cell::text(name),
            Cell::age(created.parse().unwrap(), now),
            Cell::took_about(std::time::Duration::from_secs(seconds)),
            Cell::size(size),
            loss,
            Cell::bool(done),
        ]);
    }
    table
}

fn of_measured(line: &[&str]) -> Table {
    Line::try_parse_from(line)
        .unwrap()
        .list
        .arrange(measured(), false)
        .unwrap()
}

#[test]
fn ages_durations_and_sizes_are_compared_and_sorted_as_what_they_are() {
    let cases: &[(&[&str], &str)] = &[
        (&["--where", "age < 5m"], "a"),
        (&["--where", "age >= 1h and age < 2d"], "b"),
        (&["--where", "duration > 4m30s"], "bc"),
        (&["--where", "size > 0.5GB"], "ac"),
        (&["--where", "done = no"], "b"),
        (&["--where", "loss = nan"], "b"),
        (&["--where", "not loss < 1"], "bc"),
        (&["--sort", "age"], "abc"),
        (&["--sort", "-age"], "cba"),
        (&["--sort", "size"], "bac"),
        // What is no number comes last, whichever way the numbers go.
        (&["--sort", "loss"], "acb"),
        (&["--sort", "-loss"], "cab"),
    ];
    for (line, wanted) in cases {
        let found: String = of_measured(line)
            .rows
            .iter()
            .map(|row| row.name.as_str())
            .collect();
        assert_eq!(found, *wanted, "{line:?}");
    }
}

#[test]
fn a_file_says_by_its_ending_what_is_written() {
    let redactor = Redactor::default();
    let file = |line: &[&str]| {
        let list = Line::try_parse_from(line).unwrap().list;
        let content = list.file(measured(), &redactor)?.0;
        Ok::<_, MagicError>(String::from_utf8_lossy(&content).into_owned())
    };
    let csv = file(&["--save", "x.csv", "--columns", "name,loss,duration"]).unwrap();
    assert_eq!(csv, "name,loss,duration\na,0.5,10\nb,nan,300\nc,2.0,7200\n");
    assert!(
        file(&["--save", "x.JSON"])
            .unwrap()
            .contains("\"loss\": 0.5")
    );
    assert!(
        file(&["--save", "x.dat", "-o", "yaml"])
            .unwrap()
            .contains("loss: 0.5")
    );
    let error = file(&["--save", "x.dat"]).unwrap_err();
    assert!(error.hint.unwrap().contains(".yaml"));
}

#[test]
fn columns_are_chosen_and_rows_are_cut() {
    let table = arranged(&["--columns", "accuracy,node", "--limit", "2"]).unwrap();
    assert_eq!(
        table
            .columns
            .iter()
            .map(|column| column.key.as_str())
            .collect::<Vec<_>>(),
        ["accuracy", "node"]
    );
    assert_eq!(table.footer, ["2 of 3 shown"]);
    assert!(!arranged(&[]).unwrap().plain().contains("NODE"));
    assert!(
        arranged(&["--output", "wide"])
            .unwrap()
            .plain()
            .contains("NODE")
    );
}

#[test]
fn words_that_no_row_has_are_told_with_what_was_meant() {
    for (condition, words) in [
        (
            "status = Succeded",
            "; status is never `succeded`: did you mean `Succeeded`?",
        ),
        (
            "status in (Pending, Running) and accuracy > 1",
            "; status is never `pending`: its values are Running, Succeeded",
        ),
        ("status = Running and accuracy > 0.9", ""),
        ("not status = Succeded and accuracy > 1", ""),
    ] {
        let table = arranged(&["--where", condition]).unwrap();
        let expected = format!("none of the 3 rows satisfies --where{words}");
        assert_eq!(table.empty, expected, "{condition}");
    }
}

#[test]
fn a_list_says_how_many_rows_of_how_many_it_shows() {
    for (line, words) in [
        (
            &["--where", "accuracy => 0.75"][..],
            "1 of 3 satisfy --where",
        ),
        (&["--limit", "1"], "1 of 3 shown"),
        (
            &["--where", "status=succeeded", "--limit", "1"],
            "1 of 2 shown, of 3 in all",
        ),
        (&["--limit", "0"], "0 of 3 shown"),
    ] {
        assert_eq!(arranged(line).unwrap().footer, [words], "{line:?}");
    }
    assert_eq!(
        arranged(&["--where", "accuracy =< 0.1"]).unwrap().plain(),
        "none of the 3 rows satisfies --where"
    );
    assert!(
        arranged(&["--limit", "0"])
            .unwrap()
            .plain()
            .starts_with("no rows, as --limit")
    );
}

#[test]
fn names_are_found_with_spaces_behind_commas_and_as_titles_show_them() {
    assert_eq!(names(&["--sort", "status, -name"]), ["t10", "t2", "t1"]);
    let table = arranged(&["--columns", "accuracy, node,"]).unwrap();
    assert_eq!(table.columns.len(), 2);
    let mut table = Table::new([Column::new("loss (min)")]);
    table.row([Cell::number(0.5)]);
    assert_eq!(columns::find(&table.columns, "loss.min").unwrap(), 0);
}

#[test]
fn what_is_too_long_for_a_notebook_is_for_a_file() {
    let mut table = Table::new([Column::new("NAME")]);
    for _ in 0..100 {
        table.row([Cell::text("x".repeat(30_000))]);
    }
    let list = Line::try_parse_from(["-o", "csv"]).unwrap().list;
    let error = list.render(table.clone()).unwrap_err();
    assert_eq!(
        error.message,
        "100 rows are 3MB of text, too much for a notebook"
    );
    let (content, rows) = list.file(table, &Redactor::default()).unwrap();
    assert_eq!((content.len(), rows), (5 + 100 * 30_001, 100));
}

#[test]
fn a_column_that_is_not_there_is_named_with_those_that_are() {
    let error = arranged(&["--sort", "acuracy"]).unwrap_err();
    assert!(
        error
            .hint
            .as_deref()
            .unwrap()
            .starts_with("did you mean `accuracy`?"),
        "{error:?}"
    );
    let error = arranged(&["--where", "nonsense"]).unwrap_err();
    assert!(error.hint.unwrap().contains("status=Running"));
    // The place in the condition is marked, and a near name offered.
    let error = arranged(&["--where", "status=Running and acuracy > 0.9"]).unwrap_err();
    assert_eq!(
        error.detail.as_deref(),
        Some("  status=Running and acuracy > 0.9\n                     ^^^^^^^")
    );
    assert!(error.hint.unwrap().starts_with("did you mean `accuracy`?"));
    let error = arranged(&["--where", "accuracy > high"]).unwrap_err();
    assert!(
        error
            .message
            .contains("the column `accuracy` holds numbers"),
        "{error:?}"
    );
}

#[test]
fn the_flags_leave_a_magics_description_alone() {
    use clap::CommandFactory;
    assert_eq!(
        Line::command().get_about().unwrap().to_string(),
        "the description stays"
    );
}

#[test]
fn formats_other_than_tables_are_plain_text_only() {
    for format in ["json", "yaml", "csv", "name"] {
        let bundle = Line::try_parse_from(["-o", format])
            .unwrap()
            .list
            .render(table())
            .unwrap();
        assert_eq!(
            bundle.data.keys().collect::<Vec<_>>(),
            ["text/plain"],
            "{format}"
        );
        assert!(bundle.plain().contains("t10"), "{format}");
    }
}

fn shown(rows: usize, marked: &[usize], line: &[&str]) -> Vec<String> {
    let mut table = Table::new([Column::new("NAME"), Column::number("accuracy")]);
    for at in 0..rows {
        let row = table.row([Cell::text(format!("t{at}")), Cell::number(0.5)]);
        row.marked = marked.contains(&at);
    }
    let bundle = Line::try_parse_from(line)
        .unwrap()
        .list
        .render(table)
        .unwrap();
    let html = bundle.data["text/html"].as_str().unwrap_or_default();
    let plain: Vec<String> = bundle.plain().lines().map(str::to_owned).collect();
    // The header is a row of HTML; the rule and the footer are lines of text.
    let footer = plain.iter().filter(|line| line.contains(" rows; ")).count();
    assert_eq!(html.matches("<tr").count() + 1 + footer, plain.len());
    plain
}

#[test]
fn of_a_long_table_the_ends_and_the_best_row_are_shown_and_the_way_to_the_rest() {
    let lines = shown(5000, &[2500], &[]);
    let at = |what: &str| lines.iter().position(|line| line.contains(what)).unwrap();
    assert_eq!(lines.len(), 2 + 100 + 1 + 1 + 1 + 100 + 1);
    assert!(lines[at("★")].contains("t2500"));
    assert_eq!(at("★") + 2, at("t4900"));
    assert_eq!(at("…"), at("t99") + 1);
    let footer = lines.last().unwrap();
    assert!(footer.starts_with("the first and last 100 of 5000 rows"));
    assert!(footer.contains("--limit 5000 shows all"));
    // Best trials of many experiments are no reason for a long table.
    let all: Vec<usize> = (0..5000).collect();
    assert_eq!(shown(5000, &all, &[]).len(), 2 + 100 + 1 + 100 + 1);
    // What was asked for by number, and what is not long, is shown whole.
    assert_eq!(shown(5000, &[], &["--limit", "5000"]).len(), 2 + 5000);
    assert_eq!(shown(200, &[], &[]).len(), 2 + 200);
}

/// Rows that count how often they were looked at.
struct Counting<'c> {
    columns: Vec<Column>,
    keys: &'c std::cell::Cell<usize>,
    shown: &'c std::cell::Cell<usize>,
}

impl Rows for Counting<'_> {
    fn columns(&self) -> &[Column] {
        &self.columns
    }

    fn count(&self) -> usize {
        5000
    }

    fn key(&self, row: usize, _: usize) -> Key<'_> {
        self.keys.set(self.keys.get() + 1);
        Key::of(row)
    }

    fn is_marked(&self, row: usize) -> bool {
        row == 2500
    }

    fn into_table(self, rows: &[usize], _: bool) -> Table {
        self.shown.set(rows.len());
        let mut table = Table::new(self.columns.clone());
        for row in rows {
            table.row([Cell::count(*row), Cell::none()]);
        }
        table
    }
}

#[test]
fn rows_are_made_that_are_shown_and_values_that_are_compared() {
    let looks = |line: &[&str]| {
        let (keys, shown) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
        let rows = Counting {
            columns: ["A", "B"].map(Column::new).into(),
            keys: &keys,
            shown: &shown,
        };
        let list = Line::try_parse_from(line).unwrap().list;
        list.render(rows).unwrap();
        (keys.get(), shown.get())
    };
    assert_eq!(looks(&[]), (0, 201));
    assert_eq!(looks(&["--limit", "3"]), (0, 3));
    assert_eq!(looks(&["--sort", "-b"]), (5000, 201));
    // What a column holds is seen first.
    assert_eq!(looks(&["--where", "b < 10"]), (2 * 5000, 10));
}
