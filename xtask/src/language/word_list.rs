//! The word list: its syntax is described at the top of `xtask/words.txt`.

use crate::Failure;

/// Phrases to avoid, with their exceptions and the number of occurrences that is still accepted.
#[derive(Debug)]
pub(super) struct WordList {
    /// Maximum number of phrases per 1,000 lines.
    pub(super) limit: f64,
    pub(super) phrases: Vec<Phrase>,
    /// File and phrase of each exception.
    pub(super) allowed: Vec<(String, String)>,
}

/// A phrase to avoid.
#[derive(Debug)]
pub(super) struct Phrase {
    pub(super) text: String,
    pub(super) replacement: String,
    pub(super) comments_only: bool,
    /// In lower case; `*` is any word.
    words: Vec<String>,
    /// The phrase is accepted if this word follows.
    not_before: Option<String>,
}

impl WordList {
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        let mut list = Self { limit: f64::NAN, phrases: Vec::new(), allowed: Vec::new() };
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            list.add(line).ok_or_else(|| format!("words.txt:{}: cannot parse {line:?}", index + 1))?;
        }
        if list.limit.is_nan() {
            return Err("words.txt: no line `limit NUMBER`".to_owned());
        }
        Ok(list)
    }

    fn add(&mut self, line: &str) -> Option<()> {
        if let Some((phrase, replacement)) = line.split_once("=>") {
            self.phrases.push(Phrase::parse(phrase.trim(), replacement.trim())?);
        } else if let Some(limit) = line.strip_prefix("limit ") {
            self.limit = limit.trim().parse().ok().filter(|limit: &f64| limit.is_finite() && *limit >= 0.0)?;
        } else {
            let (file, phrase) = line.strip_prefix("allow ")?.rsplit_once(':')?;
            self.allowed.push((file.trim().to_owned(), phrase.trim().to_owned()));
        }
        Some(())
    }

    pub(super) fn allows(&self, file: &str, phrase: &str) -> bool {
        self.allowed.iter().any(|(allowed_file, allowed)| allowed_file == file && allowed == phrase)
    }
}

impl Phrase {
    fn parse(phrase: &str, replacement: &str) -> Option<Self> {
        let (comments_only, phrase) = match phrase.strip_prefix("comment ") {
            Some(rest) => (true, rest.trim()),
            None => (false, phrase),
        };
        let (text, not_before) = match phrase.split_once(" !") {
            Some((text, word)) => (text.trim(), Some(word.trim().to_lowercase())),
            None => (phrase, None),
        };
        let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
        let is_complete = !words.is_empty() && !replacement.is_empty();
        let (text, replacement) = (text.to_owned(), replacement.to_owned());
        is_complete.then_some(Self { text, replacement, comments_only, words, not_before })
    }

    /// Returns how often the phrase occurs in a line.
    pub(super) fn count(&self, tokens: &[Token]) -> usize {
        (0..tokens.len()).filter(|&start| self.is_at(&tokens[start..])).count()
    }

    fn is_at(&self, tokens: &[Token]) -> bool {
        if tokens.len() < self.words.len() {
            return false;
        }
        let matches = self.words.iter().zip(tokens).enumerate().all(|(index, (word, token))| {
            // Only white space may be between the words of a phrase.
            let is_adjacent = index == 0 || token.follows_space;
            is_adjacent && (word == "*" || *word == token.word)
        });
        let next = tokens.get(self.words.len()).filter(|token| token.follows_space);
        let is_excused = self.not_before.as_ref().is_some_and(|word| next.is_some_and(|next| next.word == *word));
        matches && !is_excused
    }
}

/// A word of a line, in lower case.
#[derive(Debug)]
pub(super) struct Token {
    word: String,
    /// Whether only white space is between this word and the one before.
    follows_space: bool,
}

/// Returns the words of a line.
pub(super) fn tokens(line: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = line;
    loop {
        let start = rest.find(is_word_char).unwrap_or(rest.len());
        let gap = &rest[..start];
        rest = &rest[start..];
        if rest.is_empty() {
            return tokens;
        }
        let end = rest.find(|c| !is_word_char(c)).unwrap_or(rest.len());
        let follows_space = !gap.is_empty() && gap.chars().all(char::is_whitespace);
        tokens.push(Token { word: rest[..end].to_lowercase(), follows_space });
        rest = &rest[end..];
    }
}

fn is_word_char(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(phrase: &str, line: &str) -> usize {
        let list = WordList::parse(&format!("limit 0\n{phrase} => other\n")).unwrap();
        list.phrases[0].count(&tokens(line))
    }

    #[test]
    fn a_word_is_found_whole_and_in_any_case() {
        assert_eq!(count("foo", "Foo, (foo) and FOO."), 3);
        assert_eq!(count("foo", "food is_foo foo_bar afoo"), 0);
    }

    #[test]
    fn the_words_of_a_phrase_are_adjacent() {
        assert_eq!(count("foo bar", "foo bar; foo  bar"), 2);
        assert_eq!(count("foo bar", "foo, bar foo-bar foo::bar foo"), 0);
    }

    #[test]
    fn a_star_is_any_word() {
        assert_eq!(count("that foo *", "that foo x, that foo y"), 2);
        assert_eq!(count("that foo *", "that foo. x"), 0);
    }

    #[test]
    fn a_phrase_is_accepted_before_the_word_that_excuses_it() {
        assert_eq!(count("so foo !as", "so foo as it is"), 0);
        assert_eq!(count("so foo !as", "so foo is it, so foo"), 2);
    }

    #[test]
    fn a_list_without_a_limit_or_with_another_line_is_refused() {
        assert!(WordList::parse("foo => bar").unwrap_err().contains("limit"));
        for line in ["foo", "limit x", "limit -1", "=> bar", "foo =>", "allow foo"] {
            let failure = WordList::parse(&format!("limit 1\n\n{line}\n")).unwrap_err();
            assert!(failure.contains("words.txt:3"), "{failure}");
        }
    }

    #[test]
    fn an_exception_names_a_file_and_a_phrase() {
        let list = WordList::parse("limit 1\nfoo => bar\nallow docs/a.md: foo\n").unwrap();
        assert!(list.allows("docs/a.md", "foo"));
        assert!(!list.allows("docs/a.md", "bar") && !list.allows("docs/b.md", "foo"));
    }
}
