use std::time::Duration;

use proptest::prelude::*;

use super::super::html::testing;
use super::*;

fn trials() -> Table {
    let mut table = Table::new([
        Column::new("TRIAL"),
        Column::new("STATUS"),
        Column::number("--learning_rate"),
        Column::number("accuracy").hover("objective"),
        Column::number("DURATION"),
        Column::new("NODE").wide(),
    ])
    .title("Trials of 실험")
    .footer("one trial failed");
    let row = |name: &str, status: &str, rate: f64, accuracy: Option<f64>, took: u64| {
        [
            Cell::text(name),
            Cell::status(status),
            Cell::number(rate),
            accuracy.map_or_else(Cell::none, Cell::number),
            Cell::took(Duration::from_secs(took)),
            Cell::text("sandbox"),
        ]
    };
    table
        .row(row("mnist-7k2", "Succeeded", 0.001, Some(0.9712), 12))
        .marked = true;
    table.row(row("mnist-a<b>", "Failed", 0.004_217_5, None, 3));
    table.row(row("한글-이름", "Running", 1e-5, Some(0.4), 75));
    table
}

#[test]
fn a_table_reads_well_as_text() {
    insta::assert_snapshot!("table_plain", trials().plain());
}

#[test]
fn a_table_reads_well_as_html() {
    insta::assert_snapshot!(
        "table_html",
        trials().html().as_str().replace("<tr", "\n<tr")
    );
}

#[test]
fn a_table_is_exported_as_values() {
    insta::assert_snapshot!("table_csv", trials().csv());
    insta::assert_snapshot!("table_json", trials().json_text(false));
    insta::assert_snapshot!("table_yaml", trials().yaml_text(false).unwrap());
    assert_eq!(trials().names(), "mnist-7k2\nmnist-a<b>\n한글-이름");
}

#[test]
fn korean_cells_keep_columns_aligned() {
    use unicode_width::UnicodeWidthStr;
    let plain = trials().plain();
    let lines: Vec<&str> = plain
        .lines()
        .filter(|line| line.contains("STATUS") || line.contains('✗') || line.contains('●'))
        .collect();
    let at = |line: &str, what: &str| line[..line.find(what).unwrap()].width();
    assert_eq!(at(lines[0], "STATUS"), at(lines[1], "✗"));
    assert_eq!(at(lines[1], "✗"), at(lines[2], "●"));
}

#[test]
fn the_points_of_numbers_stand_below_each_other() {
    let column = |numbers: &[f64]| {
        let mut table = Table::new([Column::number("X")]);
        table.row([Cell::none()]);
        for number in numbers {
            table.row([Cell::number(*number)]);
        }
        table
            .plain()
            .lines()
            .skip(3)
            .map(|line| line.trim().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(column(&[0.97, 0.9712, 1.0]), ["0.9700", "0.9712", "1.0000"]);
    // Digits that a short text leaves out are not taken for zeros.
    assert_eq!(column(&[0.123_456_7, 1.083_179]), ["0.123457", "1.083179"]);
    assert_eq!(column(&[32.0, 128.0]), ["32", "128"]);
    assert_eq!(column(&[1e-5, 0.25]), ["1e-5", "0.25"]);
    assert_eq!(column(&[0.000_821_904, 0.1]), ["0.000821904", "0.1"]);
}

#[test]
fn an_empty_table_says_what_would_stand_there() {
    let table = Table::new([Column::new("NAME")]).empty("no images; `:build` makes one");
    assert_eq!(table.plain(), "no images; `:build` makes one");
    assert!(table.html().as_str().contains("no images"));
    assert_eq!(table.csv(), "name");
    assert_eq!(table.json_text(false), "[]");
}

#[test]
fn numbers_are_written_without_noise() {
    let cases = [
        (0.0, "0"),
        (1.0, "1"),
        (0.9712, "0.9712"),
        (0.1 + 0.2, "0.3"),
        (1e-5, "1e-5"),
        (0.000_123_456_7, "0.000123457"),
        (123_456.789, "123457"),
        (12.345_678_9, "12.3457"),
        (-0.5, "-0.5"),
        (1.5e12, "1.5e12"),
        (100.0, "100"),
        (f64::NAN, "NaN"),
    ];
    for (number, text) in cases {
        assert_eq!(number_text(number), text);
    }
}

#[test]
fn five_thousand_rows_take_no_time_to_speak_of() {
    let mut table = trials();
    let row = table.rows[0].clone();
    table.rows = vec![row; 5000];
    let started = std::time::Instant::now();
    let bundle = table.bundle();
    assert_eq!(bundle.plain().lines().count(), 5004);
    // Generous, for debug builds on busy machines; a quadratic step would take minutes.
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "{:?}",
        started.elapsed()
    );
}

fn csv_fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '"' if quoted && chars.next_if_eq(&'"').is_some() => {
                fields.last_mut().unwrap().push('"')
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            other => fields.last_mut().unwrap().push(other),
        }
    }
    fields
}

proptest! {
    #[test]
    fn any_text_comes_back_from_the_html_of_a_table(texts in prop::collection::vec(any::<String>(), 1..6)) {
        let mut table = Table::new(texts.iter().map(|_| Column::new("X")));
        table.row(texts.iter().map(|text| Cell::text(text).hover(text)));
        let clean = |text: &String| -> String {
            text.chars().map(|c| if c.is_control() && !"\t\n\r".contains(c) { '\u{fffd}' } else { c }).collect()
        };
        let html = table.html();
        let body = html.as_str().split_once("<tbody>").unwrap().1.split_once("</tbody>").unwrap().0;
        let wanted: Vec<String> = texts.iter().map(clean).filter(|text| !text.is_empty()).collect();
        prop_assert_eq!(testing::texts(body), wanted);
    }

    #[test]
    fn any_text_keeps_to_its_line_in_plain_text(texts in prop::collection::vec(any::<String>(), 1..4)) {
        let mut table = Table::new([Column::new("X"), Column::new("Y")]);
        for text in &texts {
            table.row([Cell::text(text), Cell::text("end")]);
        }
        prop_assert_eq!(table.plain().lines().count(), texts.len() + 2);
    }

    #[test]
    fn any_text_comes_back_from_csv(texts in prop::collection::vec("[a,\" \\n\\r가]{0,6}", 1..5)) {
        let mut table = Table::new(texts.iter().map(|_| Column::new("X")));
        table.row(texts.iter().map(Cell::text));
        let csv = table.csv();
        prop_assert_eq!(csv_fields(csv.split_once('\n').unwrap().1), texts);
    }
}
