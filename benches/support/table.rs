//! Figures against budgets, a line each.

use std::fmt::Write;

/// One measured thing.
#[derive(Clone, Debug, Default)]
pub struct Line {
    pub what: String,
    /// In the order of the columns.
    pub figures: Vec<String>,
    /// The words of DESIGN §10; empty: a figure to compare with.
    pub budget: String,
    /// None: nothing is demanded.
    pub met: Option<bool>,
}

impl Line {
    pub fn new(what: impl Into<String>, figures: impl IntoIterator<Item = String>) -> Line {
        Line { what: what.into(), figures: figures.into_iter().collect(), ..Line::default() }
    }

    pub fn budget(self, budget: impl Into<String>, met: bool) -> Line {
        Line { budget: budget.into(), met: Some(met), ..self }
    }
}

/// Lays lines out under `heads`: what, the figures, the budget and the verdict.
pub fn layout(heads: &[&str], lines: &[Line]) -> String {
    let figures = heads.len() - 1;
    let mut rows = vec![heads.iter().map(|head| (*head).to_owned()).collect::<Vec<_>>()];
    rows[0].extend(["budget".to_owned(), "verdict".to_owned()]);
    for line in lines {
        let mut row = vec![line.what.clone()];
        row.extend((0..figures).map(|at| line.figures.get(at).cloned().unwrap_or_default()));
        let verdict = line.met.map(|met| if met { "met" } else { "MISSED" });
        row.extend([line.budget.clone(), verdict.unwrap_or_default().to_owned()]);
        rows.push(row);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..rows[0].len()).filter_map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let right = (1..=figures).contains(&at);
            let _ = match right {
                true => write!(line, "{cell:>width$}  "),
                false => write!(line, "{cell:<width$}  "),
            };
        }
        let _ = writeln!(text, "  {}", line.trim_end());
    }
    text
}
