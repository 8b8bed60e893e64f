//! The values that a metrics filter finds in a log, for laying its speed beside that of others.
//!
//! `filter LOG METRIC… [--filter RE]` prints `{"milliseconds", "values"}`: how long the collector's reader takes for
//! the file, reading it included.

use std::error::Error;
use std::fs::File;
use std::io::Read as _;
use std::time::Instant;

use katlab_katib::metrics::TextReader;
use katlab_katib::types::ObjectiveSpec;
use serde_json::json;

/// As in katlab, whose collector this is.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Bytes that are read at once.
const PIECE: usize = 64 << 10;

fn main() -> Result<(), Box<dyn Error>> {
    let mut given = std::env::args().skip(1);
    let log = given.next().ok_or("which log?")?;
    let (mut names, mut filters) = (Vec::new(), Vec::new());
    while let Some(word) = given.next() {
        match word.as_str() {
            "--filter" => filters.extend(given.next()),
            _ => names.push(word),
        }
    }
    let objective: ObjectiveSpec = serde_json::from_value(json!({
        "objectiveMetricName": names.first().ok_or("which metric?")?,
        "additionalMetricNames": names[1..],
    }))?;
    let reader = TextReader::new(&objective, &filters)?;
    let started = Instant::now();
    let (mut file, mut values) = (File::open(log)?, 0);
    // In pieces, as a collector gets them; a line that a piece ends in is read with the next one.
    let (mut piece, mut begun) = (vec![0; PIECE], 0);
    loop {
        if begun == piece.len() {
            piece.resize(2 * begun, 0);
        }
        let read = file.read(&mut piece[begun..])?;
        let filled = begun + read;
        let last = piece[..filled].iter().rposition(|byte| *byte == b'\n');
        let ended = last.map_or(0, |last| last + 1);
        let end = if read == 0 { filled } else { ended };
        values += reader.text(&piece[..end]).len();
        if read == 0 {
            break;
        }
        piece.copy_within(end..filled, 0);
        begun = filled - end;
    }
    let milliseconds = started.elapsed().as_secs_f64() * 1000.0;
    println!(
        "{}",
        json!({"milliseconds": milliseconds, "values": values})
    );
    Ok(())
}
