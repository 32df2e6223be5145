//! Tables: columns as wide as their widest cell, two spaces between, nothing behind the last.

use unicode_width::UnicodeWidthStr as _;

/// Lines of `rows` under `head`, which is upper case and sets the number of columns.
pub(crate) fn lines(head: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    let widths = widths(&head, rows);
    std::iter::once(&head).chain(rows).map(|row| line(row, &widths)).collect()
}

/// "key  value" lines, the values under each other.
pub(crate) fn pairs(rows: &[(&str, String)]) -> Vec<String> {
    let widest = rows.iter().map(|(key, _)| key.width()).max().unwrap_or_default();
    rows.iter().map(|(key, value)| format!("{key:<widest$}  {value}").trim_end().to_owned()).collect()
}

fn widths(head: &[String], rows: &[Vec<String>]) -> Vec<usize> {
    let column =
        |i: usize| std::iter::once(head).chain(rows.iter().map(Vec::as_slice)).filter_map(move |row| row.get(i));
    (0..head.len()).map(|i| column(i).map(|cell| wide(cell)).max().unwrap_or_default()).collect()
}

fn line(row: &[String], widths: &[usize]) -> String {
    let mut line = String::with_capacity(widths.iter().sum::<usize>() + 2 * widths.len());
    for (cell, width) in row.iter().zip(widths) {
        line.push_str(cell);
        line.extend(std::iter::repeat_n(' ', width.saturating_sub(wide(cell)) + 2));
    }
    line.truncate(line.trim_end().len());
    line
}

/// Columns of a cell. What is printed holds no control characters.
fn wide(cell: &str) -> usize {
    if cell.is_ascii() { cell.len() } else { cell.width() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_each_other() {
        let rows = [vec!["Ada's laptop".to_owned(), "owner".to_owned()], vec!["日本".to_owned(), "member".to_owned()]];
        assert_eq!(
            lines(&["NAME", "ROLE"], &rows),
            ["NAME          ROLE", "Ada's laptop  owner", "日本          member"]
        );
    }

    #[test]
    fn nothing_trails() {
        assert_eq!(lines(&["A", "B"], &[vec!["x".to_owned(), String::new()]]), ["A  B", "x"]);
        assert_eq!(lines(&["A", "B"], &[]), ["A  B"]);
    }

    #[test]
    fn values_stand_under_each_other() {
        assert_eq!(pairs(&[("Id", "1".into()), ("Platform", "x".into())]), ["Id        1", "Platform  x"]);
    }
}
