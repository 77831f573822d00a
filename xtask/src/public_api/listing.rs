//! Finds the public items of a source text, from its tokens and braces, without parsing Rust.

use crate::imports::tokens;
use std::iter::Peekable;
use std::vec::IntoIter;

/// Returns the public items of a source text, with their signatures.
pub(super) fn items(text: &str) -> Vec<String> {
    let mut lister = Lister { tokens: tokens(text).into_iter().peekable(), items: Vec::new() };
    lister.block("", Block::Items);
    lister.items
}

/// The kind of content between two braces.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Block {
    /// Items of a module or an inherent implementation, or fields of a struct: those that are `pub` count.
    Items,
    /// Variants of a public enum, methods of a public trait, or the arguments of a macro: all count.
    All,
}

struct Lister {
    tokens: Peekable<IntoIter<String>>,
    items: Vec<String>,
}

/// The tokens of an item up to its block, semicolon or comma.
struct Head {
    tokens: Vec<String>,
    /// The token that ended it.
    end: String,
    is_test: bool,
}

impl Lister {
    /// Lists the items of a block to its closing brace. `context` is the item that the block belongs to.
    fn block(&mut self, context: &str, block: Block) {
        loop {
            let head = self.head();
            self.item(&head, context, block);
            if head.end == "}" {
                return;
            }
        }
    }

    /// Reads the tokens of the next item up to its block or its end.
    fn head(&mut self) -> Head {
        let mut head = Head { tokens: Vec::new(), end: "}".to_owned(), is_test: false };
        let mut depth = 0_usize;
        while let Some(token) = self.tokens.next() {
            let is_import = head.tokens.iter().find(|token| *token != "pub").is_some_and(|token| token == "use");
            match token.as_str() {
                "{" if is_import => depth += 1,
                "}" if is_import => depth = depth.saturating_sub(1),
                "#" if head.tokens.is_empty() => head.is_test |= self.attribute(),
                "{" | "}" | ";" | "," if depth == 0 && !is_between_angles(&head.tokens, &token) => {
                    head.end = token;
                    return head;
                }
                "(" | "[" => depth += 1,
                ")" | "]" => depth = depth.saturating_sub(1),
                _ => {}
            }
            if token != "#" || !head.tokens.is_empty() {
                head.tokens.push(token);
            }
        }
        head
    }

    /// Reads an attribute; returns whether it is `#[cfg(test)]` or alike.
    fn attribute(&mut self) -> bool {
        let (mut depth, mut is_cfg, mut is_test) = (0_usize, false, false);
        for token in self.tokens.by_ref() {
            match token.as_str() {
                "[" => depth += 1,
                "]" => depth -= 1,
                "cfg" => is_cfg = true,
                "test" => is_test = true,
                _ => {}
            }
            if depth == 0 && token == "]" {
                break;
            }
        }
        is_cfg && is_test
    }

    fn item(&mut self, head: &Head, context: &str, block: Block) {
        let words: Vec<&str> = head.tokens.iter().map(String::as_str).collect();
        let is_public = words.first() == Some(&"pub") && words.get(1) != Some(&"(");
        let keyword = words.iter().find(|word| KEYWORDS.contains(word)).copied().unwrap_or_default();
        let is_trait_implementation = keyword == "impl" && words.contains(&"for") && !is_higher_ranked(&words);
        let is_listed = !head.is_test && !words.is_empty() && (is_public || block == Block::All);
        let signature = signature(&words, keyword);
        let name = if context.is_empty() { signature.clone() } else { format!("{context} {{ {signature} }}") };
        if is_listed || is_trait_implementation && !head.is_test {
            self.items.push(name);
        }
        if head.end != "{" {
            return;
        }
        match keyword {
            "impl" if !is_trait_implementation && !head.is_test => self.block(&signature, Block::Items),
            "mod" if !head.is_test => self.block(&signature, Block::Items),
            "struct" if is_listed => self.block(&signature, Block::Items),
            "enum" | "trait" if is_listed => self.block(&signature, Block::All),
            "" if words.last() == Some(&"!") => self.block(&signature, Block::All),
            _ => self.skip(),
        }
    }

    /// Skips to the end of a block that was entered.
    fn skip(&mut self) {
        let mut depth = 1_usize;
        while depth > 0 {
            match self.tokens.next().as_deref() {
                Some("{") => depth += 1,
                Some("}") => depth -= 1,
                Some(_) => {}
                None => return,
            }
        }
    }
}

const KEYWORDS: [&str; 9] = ["impl", "fn", "struct", "enum", "trait", "mod", "type", "const", "use"];

/// Returns whether a comma belongs to generic arguments; a block or a semicolon never does.
fn is_between_angles(tokens: &[String], token: &str) -> bool {
    let mut depth = 0_i32;
    for (index, other) in tokens.iter().enumerate() {
        match other.as_str() {
            "<" => depth += 1,
            ">" if index == 0 || tokens[index - 1] != "-" => depth -= 1,
            _ => {}
        }
    }
    // The bounds of a `where` clause are separated by commas too.
    token == "," && (depth > 0 || tokens.iter().any(|token| token == "fn" || token == "impl" || token == "where"))
}

/// Returns whether the only `for` is that of a bound, `for<'a>`.
fn is_higher_ranked(words: &[&str]) -> bool {
    words.windows(2).filter(|pair| pair[0] == "for").all(|pair| pair[1] == "<")
}

/// Returns the text of an item's tokens, without its value.
fn signature(words: &[&str], keyword: &str) -> String {
    let end = words.iter().position(|word| *word == "=").filter(|_| keyword == "const").unwrap_or(words.len());
    let mut text = String::new();
    let mut before = "";
    for word in &words[..end] {
        if needs_space(before, word) {
            text.push(' ');
        }
        text.push_str(word);
        before = word;
    }
    text
}

fn needs_space(before: &str, word: &str) -> bool {
    let is_word = |text: &str| text.chars().all(|c| c.is_alphanumeric() || c == '_');
    match (before, word) {
        ("", _) => false,
        ("-", ">") => false,
        (":" | "=" | ";", _) => true,
        ("," | "+" | ">", _) if is_word(word) || word == "&" || word == "'" => true,
        (_, "=" | "+" | "-") => true,
        (")" | "]", _) | (_, "#") => is_word(word),
        (_, "&" | "'" | "[" | "(") => before == "," || before == ":" || before == ">" && word != "(",
        _ => is_word(before) && is_word(word),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_that_are_public_are_listed_with_their_signatures() {
        let text = "mod inner; pub(crate) struct Hidden { pub field: u8 } \
                    /// Docs.\n #[derive(Debug)] pub struct Shown<'a> { pub name: &'a str, private: u8 } \
                    impl<'a> Shown<'a> { pub fn get<K, V>(&self, key: K) -> Option<V> where K: AsRef<[u8]> { { } } fn no() {} } \
                    pub const LIMIT: usize = 7; pub use inner::{One, Two};";
        assert_eq!(
            items(text),
            [
                "pub struct Shown<'a>",
                "pub struct Shown<'a> { pub name: &'a str }",
                "impl<'a> Shown<'a> { pub fn get<K, V>(&self, key: K) -> Option<V> where K: AsRef<[u8]> }",
                "pub const LIMIT: usize",
                "pub use inner::{One, Two}",
            ]
        );
    }

    #[test]
    fn variants_methods_of_traits_and_implementations_are_listed() {
        let text = "pub enum Choice { One, Two(u8) } pub trait Act { fn act(&self); } impl Act for Choice { fn act(&self) {} }";
        assert_eq!(
            items(text),
            [
                "pub enum Choice",
                "pub enum Choice { One }",
                "pub enum Choice { Two(u8) }",
                "pub trait Act",
                "pub trait Act { fn act(&self) }",
                "impl Act for Choice",
            ]
        );
    }

    #[test]
    fn tests_are_not_part_of_the_api() {
        assert!(items("#[cfg(test)] mod tests { pub fn helper() {} }").is_empty());
    }
}
