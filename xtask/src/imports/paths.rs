//! Finds the module paths in a source file, from its tokens, without parsing Rust.

use std::iter::Peekable;
use std::vec::IntoIter;

/// A path below the crate's root: modules, and optionally an item.
pub(crate) type Path = Vec<String>;

/// The paths in a source file.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Paths within the crate, resolved from its root.
    pub(super) imports: Vec<Path>,
    /// Modules that are compiled for tests only.
    pub(super) tests: Vec<Path>,
}

impl Scan {
    /// Scans the source text of a module.
    pub(super) fn new(module: &[String], text: &str) -> Self {
        let mut scan = Self::default();
        let children = children(text);
        Scanner { tokens: tokens(text).into_iter().peekable(), children, scan: &mut scan }.block(module);
        scan
    }
}

/// Returns the names that follow `mod` in a source text.
fn children(text: &str) -> Vec<String> {
    let tokens = tokens(text);
    tokens.windows(2).filter(|pair| pair[0] == "mod").map(|pair| pair[1].clone()).collect()
}

struct Scanner<'s> {
    tokens: Peekable<IntoIter<String>>,
    /// The file's own child modules, which paths may begin with.
    children: Vec<String>,
    scan: &'s mut Scan,
}

impl Scanner<'_> {
    /// Scans to the end of a block, in which `module` is the current module.
    fn block(&mut self, module: &[String]) {
        let mut depth = 0_usize;
        let mut is_test = false;
        let mut before = String::new();
        while let Some(token) = self.tokens.next() {
            match token.as_str() {
                "{" => (depth, is_test) = (depth + 1, false),
                "}" if depth == 0 => return,
                "}" => depth -= 1,
                "#" if self.tokens.peek().is_some_and(|next| next == "[") => is_test |= self.attribute(),
                "mod" => {
                    let name = self.tokens.next().unwrap_or_default();
                    self.child(&[module, &[name]].concat(), std::mem::take(&mut is_test));
                }
                ";" => is_test = false,
                _ if before != "::" && self.tokens.peek().is_some_and(|next| next == "::") => {
                    self.path(&token, module);
                }
                _ => {}
            }
            before = token;
        }
    }

    /// Reads an attribute; returns whether it is `#[cfg(test)]`, alone or among other conditions.
    fn attribute(&mut self) -> bool {
        let mut words = Vec::new();
        for token in self.tokens.by_ref().take_while(|token| token != "]") {
            words.push(token);
        }
        words.iter().any(|word| word == "cfg")
            && words.iter().any(|word| word == "test")
            && !words.iter().any(|word| word == "not")
    }

    /// Scans what follows `mod NAME`: a block, or a semicolon.
    fn child(&mut self, module: &[String], is_test: bool) {
        if is_test {
            self.scan.tests.push(module.to_owned());
        }
        if self.tokens.next().is_none_or(|token| token != "{") {
            return;
        }
        let imports = self.scan.imports.len();
        self.block(module);
        if is_test {
            self.scan.imports.truncate(imports);
        }
    }

    /// Reads a path that starts with this token, if it is within the crate.
    fn path(&mut self, first: &str, module: &[String]) {
        let base = match first {
            "crate" => Vec::new(),
            "self" => module.to_owned(),
            "super" => parent(module),
            name if self.children.iter().any(|child| child == name) => [module, &[name.to_owned()]].concat(),
            _ => return,
        };
        self.tokens.next();
        self.tree(base);
    }

    /// Reads what follows `::`: names, and groups in braces.
    fn tree(&mut self, mut path: Path) {
        loop {
            match self.tokens.next_if(|token| token == "{") {
                Some(_) => return self.group(&path),
                None => match self.tokens.next() {
                    Some(token) if token == "super" => path = parent(&path),
                    Some(token) if token == "self" || token == "*" || token == "<" => {}
                    Some(token) => path.push(token),
                    None => {}
                },
            }
            if self.tokens.next_if(|token| token == "::").is_none() {
                return self.scan.imports.push(path);
            }
        }
    }

    /// Reads the paths of a group to its closing brace.
    fn group(&mut self, base: &Path) {
        while self.tokens.peek().is_some_and(|token| token != "}") {
            self.tree(base.clone());
            // A new name for an import, and the comma.
            while self.tokens.peek().is_some_and(|token| token != "," && token != "}") {
                self.tokens.next();
            }
            self.tokens.next_if(|token| token == ",");
        }
        self.tokens.next();
    }
}

fn parent(module: &[String]) -> Path {
    module.split_last().map(|(_, parent)| parent.to_owned()).unwrap_or_default()
}

/// Splits a source text into words, `::` and single characters; leaves out comments and the content of strings.
pub(crate) fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if first.is_whitespace() {
            first.len_utf8()
        } else if let Some(length) = skipped(rest) {
            length
        } else {
            let length = token(rest, first);
            tokens.push(rest[..length].to_owned());
            length
        };
        rest = &rest[length..];
    }
    tokens
}

/// Returns the length of the token at the start of a text.
fn token(text: &str, first: char) -> usize {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    match first {
        c if is_word(c) => text.find(|c| !is_word(c)).unwrap_or(text.len()),
        ':' if text.starts_with("::") => 2,
        c => c.len_utf8(),
    }
}

/// Returns the length of the comment, string or character literal at the start of a text.
fn skipped(text: &str) -> Option<usize> {
    let raw = text.trim_start_matches('b');
    if text.starts_with("//") {
        Some(text.find('\n').unwrap_or(text.len()))
    } else if text.starts_with("/*") {
        Some(text.find("*/").map_or(text.len(), |end| end + 2))
    } else if raw.starts_with("r\"") || raw.starts_with("r#") {
        raw_string(text)
    } else if text.starts_with('"') {
        Some(quoted(text, '"'))
    } else if text.starts_with("'\\") || text.chars().nth(2) == Some('\'') && text.starts_with('\'') {
        Some(quoted(text, '\''))
    } else {
        None
    }
}

/// Returns the length of a string of the form `r#"…"#`; `None` for a raw identifier.
fn raw_string(text: &str) -> Option<usize> {
    let quote = text.find('"')?;
    let hashes = text[..quote].matches('#').count();
    if text[..quote].contains(|c: char| !matches!(c, 'b' | 'r' | '#')) {
        return None;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    let body = quote + 1;
    Some(text[body..].find(&end).map_or(text.len(), |at| body + at + end.len()))
}

/// Returns the length of a literal between two of these quotes, with backslash escapes.
fn quoted(text: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            c if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    text.len()
}
