//! Searches the repository's text for phrases of its word list, `xtask/words.txt`.

mod word_list;

use crate::step::output_of;
use crate::{Failure, root};
use std::fs;
use word_list::{WordList, tokens};

/// Counts the phrases in all files, prints the counts, and fails if there are more than the limit allows.
///
/// With `--list`, every occurrence is printed; with `--list TEXT`, those whose phrase or path contains the text.
pub(crate) fn run(args: &[String]) -> Result<(), Failure> {
    match args {
        [] => check(),
        [list] if list == "--list" => list_occurrences(""),
        [list, filter] if list == "--list" => list_occurrences(filter),
        _ => Err("usage: cargo xtask check-language [--list [PHRASE OR PATH]]".to_owned()),
    }
}

/// Counts the phrases in all files, and fails if there are more than the limit allows.
pub(crate) fn check() -> Result<(), Failure> {
    let words = read_word_list()?;
    let report = Report::new(&words)?;
    report.print_counts(&words);
    let rate = report.per_thousand_lines();
    if rate <= words.limit {
        return Ok(());
    }
    report.occurrences.iter().take(MAX_PRINTED).for_each(|found| println!("{}", found.describe(&words)));
    let limit = words.limit;
    Err(format!("{rate:.2} phrases of xtask/words.txt per 1,000 lines, the limit is {limit}; --list prints them all"))
}

fn list_occurrences(filter: &str) -> Result<(), Failure> {
    let words = read_word_list()?;
    let report = Report::new(&words)?;
    for found in &report.occurrences {
        if words.phrases[found.phrase].text.contains(filter) || found.file.contains(filter) {
            println!("{}", found.describe(&words));
        }
    }
    Ok(())
}

fn read_word_list() -> Result<WordList, Failure> {
    let path = root().join("xtask/words.txt");
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    WordList::parse(&text)
}

/// A phrase of the list, found in a file.
#[derive(Debug, PartialEq)]
struct Occurrence {
    file: String,
    /// Counted from 1.
    line_number: usize,
    line: String,
    /// An index of [`WordList::phrases`].
    phrase: usize,
}

impl Occurrence {
    fn describe(&self, words: &WordList) -> String {
        let phrase = &words.phrases[self.phrase];
        let (file, number, line) = (&self.file, self.line_number, self.line.trim());
        format!("{file}:{number}: \"{}\", write: {}\n    {line}", phrase.text, phrase.replacement)
    }
}

/// All occurrences in the repository.
#[derive(Debug, Default)]
struct Report {
    lines: usize,
    occurrences: Vec<Occurrence>,
}

impl Report {
    fn new(words: &WordList) -> Result<Self, Failure> {
        // Files that are not committed yet are searched too, but not what .gitignore names.
        let files = output_of(&["git", "ls-files", "--cached", "--others", "--exclude-standard"])?;
        let mut report = Self::default();
        for file in files.lines().filter(|file| EXTENSIONS.iter().any(|extension| file.ends_with(extension))) {
            // A file that was deleted but not committed is still listed.
            if let Ok(text) = fs::read_to_string(root().join(file)) {
                report.search(words, file, &text);
            }
        }
        Ok(report)
    }

    fn search(&mut self, words: &WordList, file: &str, text: &str) {
        let is_prose = file.ends_with(".md");
        let phrases = words.phrases.iter().enumerate().filter(|(_, entry)| !words.allows(file, &entry.text));
        let phrases: Vec<_> = phrases.collect();
        for (index, line) in text.lines().enumerate() {
            self.lines += 1;
            let comment = if is_prose { line } else { line.split_once(comment_marker(file)).map_or("", |(_, it)| it) };
            let (all, commented) = (tokens(line), tokens(comment));
            for &(phrase, entry) in &phrases {
                for _ in 0..entry.count(if entry.comments_only { &commented } else { &all }) {
                    let (file, line, line_number) = (file.to_owned(), line.to_owned(), index + 1);
                    self.occurrences.push(Occurrence { file, line_number, line, phrase });
                }
            }
        }
    }

    fn per_thousand_lines(&self) -> f64 {
        1_000.0 * self.occurrences.len() as f64 / self.lines.max(1) as f64
    }

    fn print_counts(&self, words: &WordList) {
        for (index, phrase) in words.phrases.iter().enumerate() {
            let count = self.occurrences.iter().filter(|found| found.phrase == index).count();
            if count > 0 {
                println!("{count:>6}  {}", phrase.text);
            }
        }
        let (total, lines, rate) = (self.occurrences.len(), self.lines, self.per_thousand_lines());
        println!("{total:>6}  in {lines} lines: {rate:.2} per 1,000, the limit is {}", words.limit);
    }
}

fn comment_marker(file: &str) -> &'static str {
    if file.ends_with(".toml") { "#" } else { "//" }
}

const EXTENSIONS: &[&str] = &[".rs", ".md", ".toml"];
/// Maximum number of occurrences that a failure prints.
const MAX_PRINTED: usize = 50;

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: &str = "limit 1.5\nfoo => bar\ncomment cable => protocol\n# a quotation\nallow docs/quoted.md: foo\n";

    /// Returns the line number and the phrase of each occurrence.
    fn search(file: &str, text: &str) -> Vec<(usize, String)> {
        let words = WordList::parse(WORDS).unwrap();
        let mut report = Report::default();
        report.search(&words, file, text);
        let found = report.occurrences.iter();
        found.map(|found| (found.line_number, words.phrases[found.phrase].text.clone())).collect()
    }

    #[test]
    fn each_occurrence_is_reported_with_its_line() {
        let found = search("a.rs", "let x = 1;\n// Foo and foo.\n");
        assert_eq!(found, [(2, "foo".to_owned()), (2, "foo".to_owned())]);
    }

    #[test]
    fn a_phrase_for_comments_is_not_searched_in_code() {
        assert_eq!(search("a.rs", "let cable = 1;"), []);
        assert_eq!(search("a.rs", "let x = 1; // the cable"), [(1, "cable".to_owned())]);
        assert_eq!(search("a.toml", "# the cable"), [(1, "cable".to_owned())]);
        assert_eq!(search("a.md", "the cable"), [(1, "cable".to_owned())]);
    }

    #[test]
    fn an_exception_holds_for_its_file_only() {
        assert_eq!(search("docs/quoted.md", "foo"), []);
        assert_eq!(search("docs/other.md", "foo"), [(1, "foo".to_owned())]);
    }

    #[test]
    fn the_rate_is_per_thousand_lines() {
        let words = WordList::parse(WORDS).unwrap();
        let mut report = Report::default();
        report.search(&words, "a.rs", &"\n".repeat(999));
        report.search(&words, "b.rs", "foo\nfoo foo\n".trim_end());
        assert_eq!(report.lines, 1_001);
        assert!((report.per_thousand_lines() - 3.0 / 1.001).abs() < 1e-9);
    }

    #[test]
    fn the_project_has_a_word_list_with_files_that_exist() {
        let words = read_word_list().unwrap();
        assert!(words.phrases.len() > 20, "{}", words.phrases.len());
        for (file, phrase) in &words.allowed {
            assert!(root().join(file).exists(), "{file} does not exist; remove its exception");
            assert!(words.phrases.iter().any(|entry| entry.text == *phrase), "{phrase:?} is not in the list");
        }
    }
}
