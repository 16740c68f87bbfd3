//! A table for people: columns that line up, in the width that there is.
//!
//! Invariant: a row takes no more than the width it is given, as long as the columns that may be cut
//! leave room for it; colours take no columns. Texts are made harmless by whoever makes the cells.

use unicode_width::UnicodeWidthStr as _;

use super::style::{Palette, Tone};
use super::text::{pad, pad_left, truncate};

/// Blank columns between two.
const GAP: usize = 2;

/// How a column is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// At the left, never cut.
    Whole,
    /// At the right, never cut.
    Number,
    /// At the left; cut where the table would be too wide, down to so many columns.
    Cut(usize),
}

/// What stands in a column of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    pub text: String,
    pub tone: Option<Tone>,
}

impl Cell {
    #[must_use]
    pub fn toned(tone: Tone, text: impl Into<String>) -> Self {
        Self { text: text.into(), tone: Some(tone) }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: text.into(), tone: None }
    }
}

/// The lines of a table, the headings first. Columns in which nothing stands are left out.
#[must_use]
pub fn table(columns: &[(&str, Column)], rows: &[Vec<Cell>], width: usize, palette: Palette) -> Vec<String> {
    let widest = |i: usize| rows.iter().map(|row| row[i].text.width()).max().unwrap_or(0);
    let mut shown: Vec<(usize, Column, usize)> = columns
        .iter()
        .enumerate()
        .filter(|(i, _)| widest(*i) > 0)
        .map(|(i, (heading, column))| (i, *column, widest(i).max(heading.width())))
        .collect();
    fit(&mut shown, width);
    let line = |cells: Vec<String>| cells.join(&" ".repeat(GAP)).trim_end().to_owned();
    let headings = shown.iter().map(|(i, column, width)| aligned(columns[*i].0, *column, *width)).collect();
    let mut lines = vec![palette.paint(Tone::Heading, line(headings))];
    for row in rows {
        let cell = |(i, column, width): &(usize, Column, usize)| {
            let text = aligned(&row[*i].text, *column, *width);
            row[*i].tone.map_or_else(|| text.clone(), |tone| palette.paint(tone, &text))
        };
        lines.push(line(shown.iter().map(cell).collect()));
    }
    lines
}

/// Takes from the widest column that may be cut until the table fits.
fn fit(shown: &mut [(usize, Column, usize)], width: usize) {
    loop {
        let whole = shown.iter().map(|(_, _, width)| width + GAP).sum::<usize>().saturating_sub(GAP);
        let spare = |(_, column, width): &(usize, Column, usize)| match column {
            Column::Cut(least) => width.saturating_sub(*least),
            Column::Whole | Column::Number => 0,
        };
        let widest = shown.iter_mut().filter(|entry| spare(entry) > 0).max_by_key(|(_, _, width)| *width);
        match widest {
            Some((_, _, taken)) if whole > width => *taken -= 1,
            _ => return,
        }
    }
}

fn aligned(text: &str, column: Column, width: usize) -> String {
    match column {
        Column::Number => pad_left(text, width),
        Column::Whole => pad(text, width),
        Column::Cut(_) => pad(&truncate(text, width), width),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(width: usize, expected: &[&str]) {
        let columns =
            [("ID", Column::Whole), ("N", Column::Number), ("NONE", Column::Whole), ("FILES", Column::Cut(6))];
        let row = |id: &str, n: &str, files: &str| vec![id.into(), n.into(), "".into(), files.into()];
        let rows = [row("api", "1", "services/backend/**"), row("docs", "12", "x")];
        assert_eq!(table(&columns, &rows, width, Palette::Plain), expected, "width {width}");
    }

    #[test]
    fn columns_line_up_and_are_cut_where_they_may_be() {
        check(80, &["ID     N  FILES", "api    1  services/backend/**", "docs  12  x"]);
        check(20, &["ID     N  FILES", "api    1  services/…", "docs  12  x"]);
        check(2, &["ID     N  FILES", "api    1  servi…", "docs  12  x"]);
    }

    #[test]
    fn colours_take_no_columns() {
        let rows = [vec![Cell::toned(Tone::Good, "a"), "b".into()], vec!["cc".into(), "d".into()]];
        let lines = table(&[("X", Column::Whole), ("Y", Column::Whole)], &rows, 80, Palette::Colour);
        assert_eq!(lines[1], "\u{1b}[32ma \u{1b}[0m  b");
        assert_eq!(lines[2], "cc  d");
    }
}
